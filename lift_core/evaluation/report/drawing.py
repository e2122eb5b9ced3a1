"""What all plots share: the canvas, its file, intervals with endless ends, and axes with one row a thing."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lift_core.evaluation.report.colours import ink
from lift_core.evaluation.report.words import SYMBOLS, shorten
from lift_core.evaluation_records import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 5.0
"""Of every plot, in inches: on a phone its text is still as large as small print."""
_MARKERS: dict[Verdict, str] = {"pass": "o", "regressed": "v", "undecided": "D", "uninformative": "s"}
_LONGEST_LABEL = 34


def draw(name: str, height: float, paint: Callable[[Figure], None]) -> bytes:
    """The SVG that ``paint`` makes on a figure of ``height`` inches; ``name`` seeds the ids in the file."""
    import matplotlib
    from matplotlib.figure import Figure

    # The same figures make the same file: no random ids, no date, text as text.
    style: Any = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.unicode_minus": False,
        "axes.edgecolor": ink("muted"),
        "text.color": ink("text"),
        "axes.labelcolor": ink("text"),
        "xtick.color": ink("muted"),
        "ytick.color": ink("muted"),
        "xtick.labelcolor": ink("text"),
        "ytick.labelcolor": ink("text"),
        "text.parse_math": False,
        "timezone": "UTC",
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # Names in other scripts are in the file as text, for the fonts of whoever looks at it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure)
        file = io.BytesIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=metadata)
    return file.getvalue()


def bare(axes: Axes) -> None:
    """Take the frame away but for the axis below."""
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


def rows(axes: Axes, labels: Sequence[str]) -> None:
    """One row for each label, the first on top."""
    bare(axes)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)


def label(text: str, length: int = _LONGEST_LABEL) -> str:
    """A name from outside, as a row has room for it."""
    return shorten(text, length)


def limits(values: Iterable[float]) -> tuple[float, float]:
    """From and to where an axis shows all finite ``values``, with air around them, and more for an arrow."""
    given = list(values)
    finite = [value for value in given if math.isfinite(value)]
    low, high = min(finite), max(finite)
    span = high - low or 1.0
    below = 0.25 if -math.inf in given else 0.08
    above = 0.25 if math.inf in given else 0.08
    return low - below * span, high + above * span


def mark(axes: Axes, x: float, y: float, verdict: Verdict) -> None:
    """The verdict's shape, in its colour; hollow where nothing could be told."""
    axes.plot(
        x,
        y,
        marker=_MARKERS[verdict],
        markersize=7,
        color=ink(verdict),
        markerfacecolor=ink("ground") if verdict == "uninformative" else ink(verdict),
        zorder=3,
    )


def interval(axes: Axes, low: float, high: float, at: float, verdict: Verdict, *, upright: bool) -> None:
    """A line from ``low`` to ``high`` at ``at``; an endless end is an arrow to the edge of the axes.

    The limits of the axes must be set before.
    """
    edge_low, edge_high = sorted(axes.get_ylim() if upright else axes.get_xlim())
    start, end = max(low, edge_low), min(high, edge_high)
    line = axes.vlines if upright else axes.hlines
    line(at, start, end, color=ink(verdict), linewidth=2)
    for value, edge, other in ((low, edge_low, end), (high, edge_high, start)):
        if math.isinf(value):
            tip, tail = ((at, edge), (at, other)) if upright else ((edge, at), (other, at))
            arrow = {"arrowstyle": "-|>", "color": ink(verdict), "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", xy=tip, xytext=tail, arrowprops=arrow, annotation_clip=False)


def verdict_label(verdict: Verdict) -> str:
    """The verdict's shape and word."""
    return f"{SYMBOLS[verdict]} {verdict}"
