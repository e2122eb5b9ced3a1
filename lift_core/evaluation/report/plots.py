"""The plots of an adapter's page and of a run's, as SVG.

Colours and shapes of verdicts are those of the text around them. What needs exact figures is in the tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

from lift_core.evaluation.report import drawing
from lift_core.evaluation.report.colours import ink
from lift_core.evaluation.report.words import in_units, scale
from lift_core.evaluation_records import AdapterVerdict, Measure, Measurement, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

MOST_ROWS = 60
"""What one plot shows of subjects of a task, or adapters of a run: MMLU has 57 subjects."""
_SMALLEST_P = 1e-6
Dashes = Literal["-", "--", ":", "-."]
_DASHES: tuple[Dashes, ...] = get_args(Dashes)
_DAY = 24 * 60 * 60
_TITLES: dict[Measure, str] = {
    "accuracy": "Accuracy, difference in points",
    "log-likelihood": "Log-likelihood, difference in nats a token",
}
Subjects = Mapping[str, tuple[int, float, float]]


def measures(measurements: Sequence[Measurement]) -> bytes:
    """Each measure's difference with its interval, against minus the margin and zero."""
    panels = _by_measure(measurements)

    def paint(figure: Figure) -> None:
        heights = [len(panel) + 0.6 for panel in panels.values()]
        grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
        for axes, (measure, panel) in zip(grid[:, 0], panels.items(), strict=True):
            axes.set_title(_TITLES[measure])
            _measure_rows(axes, panel, scale(measure))
        figure.legend(
            handles=[_line("-", "no difference"), _line("--", "minus the margin: left of it, more was lost")],
            loc="outside lower center",
            frameon=False,
            ncols=2,
        )

    return drawing.draw("measures", 0.6 + sum(0.75 + 0.45 * len(panel) for panel in panels.values()), paint)


def trend(verdicts: Sequence[AdapterVerdict]) -> bytes:
    """Verdicts and differences over time, oldest first; lines end where the conditions changed."""
    measured = [each for verdict in verdicts for each in verdict.measurements]
    # Where the adapter was not asked there is nothing to draw; the strip of verdicts has it all the same.
    panels = _by_measure([each for each in measured if in_units(each)])
    tasks = sorted({each.task for each in measured})
    dashes = {task: _DASHES[number % len(_DASHES)] for number, task in enumerate(tasks)}

    def paint(figure: Figure) -> None:
        import matplotlib.dates

        date: Any = matplotlib.dates
        times = [verdict.created_at.timestamp() / _DAY for verdict in verdicts]
        heights = [1.0] + [2.0] * len(panels)
        grid = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights, sharex=True)[:, 0]
        # A day of air at least: verdicts of one hour would else be labelled by the second.
        air = max(0.06 * (times[-1] - times[0]), 1.0)
        grid[0].set_xlim(times[0] - air, times[-1] + air)
        _verdict_strip(grid[0], times, verdicts)
        for axes, measure in zip(grid[1:], panels, strict=True):
            axes.set_title(_TITLES[measure])
            _trend_lines(axes, times, verdicts, measure, dashes)
        locator = date.AutoDateLocator(minticks=2, maxticks=6)
        grid[-1].xaxis.set_major_locator(locator)
        grid[-1].xaxis.set_major_formatter(date.ConciseDateFormatter(locator))
        handles = [_line(style, drawing.label(f"on {task}")) for task, style in dashes.items()]
        handles.append(_line("", "minus the margin", marker="_"))
        figure.legend(handles=handles, loc="outside lower center", frameon=False, ncols=2)

    return drawing.draw("trend", 1.7 + 0.1 * len(tasks) + 1.9 * len(panels), paint)


def subjects(tasks: Mapping[str, Subjects]) -> bytes:
    """The differences of single subjects, sorted, task by task."""
    panels = {task: fallen_first(found)[:MOST_ROWS] for task, found in sorted(tasks.items())}

    def paint(figure: Figure) -> None:
        heights = [len(panel) + 3 for panel in panels.values()]
        grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
        for axes, (task, panel) in zip(grid[:, 0], panels.items(), strict=True):
            axes.set_title(f"{drawing.label(task, 20)}: accuracy, difference in points")
            # A subject's name is long, and the room is the dots'.
            labels = [
                f"{drawing.label(name.replace('_', ' '), 32)} ({items:,})" for name, (items, _, _) in panel
            ]
            drawing.rows(axes, labels)
            points = [100 * (adapter - base) for _, (_, base, adapter) in panel]
            axes.axvline(0, color=ink("text"), linewidth=1)
            axes.hlines(range(len(points)), 0, points, color=ink("line"), linewidth=1.5)
            axes.plot(points, range(len(points)), "o", color=ink("text"), markersize=4)
            axes.tick_params(axis="y", labelsize=7.5)
            axes.tick_params(axis="x", top=True, labeltop=True)

    return drawing.draw("subjects", sum(0.8 + 0.17 * len(panel) for panel in panels.values()), paint)


def family(verdicts: Sequence[AdapterVerdict], rate: float | None) -> bytes:
    """The adapters' adjusted p-values against the rate at which alerts go out, in the order given."""
    shown = verdicts[:MOST_ROWS]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        drawing.rows(axes, [drawing.label(each.adapter, 26) for each in shown])
        axes.set(xscale="log", xlim=(_SMALLEST_P / 20, 2))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_title("p-value of a regression, adjusted for the family")
        if rate is not None:
            axes.axvspan(_SMALLEST_P / 20, rate, color=ink("shade"), linewidth=0, zorder=0)
            axes.axvline(rate, color=ink("text"), linewidth=1, linestyle="--")
            axes.set_xlabel(f"alerts: at or left of {rate:g}, the false discovery rate")
        for row, each in enumerate(shown):
            p_value = each.adjusted_p_value
            if p_value < _SMALLEST_P:
                drawing.interval(axes, -math.inf, _SMALLEST_P, row, each.verdict, upright=False)
            drawing.mark(axes, max(p_value, _SMALLEST_P), row, each.verdict)
            said = drawing.verdict_label(each.verdict) + (", alert" if each.alerted else "")
            beside = axes.get_yaxis_transform()
            axes.text(1.02, row, said, transform=beside, va="center", color=ink(each.verdict))

    return drawing.draw("family", 1.0 + 0.24 * len(shown), paint)


def fallen_first(found: Subjects) -> list[tuple[str, tuple[int, float, float]]]:
    """The subjects sorted by their differences, the largest loss first."""
    return sorted(found.items(), key=lambda each: (each[1][2] - each[1][1], each[0]))


def _by_measure(measurements: Sequence[Measurement]) -> dict[Measure, list[Measurement]]:
    """The measurements of each measure that there are any of."""
    found = {
        measure: [each for each in measurements if each.measure == measure] for measure in get_args(Measure)
    }
    return {measure: panel for measure, panel in found.items() if panel}


def _measure_rows(axes: Axes, panel: Sequence[Measurement], factor: float) -> None:
    drawing.rows(
        axes, [f"{drawing.label(each.task, 24)}\n{drawing.verdict_label(each.verdict)}" for each in panel]
    )
    for tick, each in zip(axes.get_yticklabels(), panel, strict=True):
        tick.set_color(ink(each.verdict))
    ends = [in_units(each) for each in panel]
    bounds = [-factor * each.margin for each in panel]
    axes.set_xlim(*drawing.limits([0.0, *bounds, *(value for found in ends if found for value in found)]))
    left = axes.get_xlim()[0]
    axes.axvline(0, color=ink("text"), linewidth=1)
    for row, (each, bound, found) in enumerate(zip(panel, bounds, ends, strict=True)):
        if found is None:
            axes.text(left, row, " the adapter was not asked", va="center", color=ink(each.verdict))
            continue
        axes.barh(row, left - bound, left=bound, height=1, color=ink("shade"), linewidth=0, zorder=0)
        axes.vlines(bound, row - 0.5, row + 0.5, color=ink("text"), linewidth=1, linestyle="--")
        low, difference, high = found
        drawing.interval(axes, low, high, row, each.verdict, upright=False)
        drawing.mark(axes, difference, row, each.verdict)


def _verdict_strip(axes: Axes, times: Sequence[float], verdicts: Sequence[AdapterVerdict]) -> None:
    order: tuple[Verdict, ...] = get_args(Verdict)
    axes.set_title("Verdict")
    drawing.rows(axes, [drawing.verdict_label(each) for each in order])
    for tick, each in zip(axes.get_yticklabels(), order, strict=True):
        tick.set_color(ink(each))
    axes.hlines(range(len(order)), 0, 1, transform=axes.get_yaxis_transform(), color=ink("shade"), zorder=0)
    for time, verdict in zip(times, verdicts, strict=True):
        drawing.mark(axes, time, order.index(verdict.verdict), verdict.verdict)


def _trend_lines(
    axes: Axes,
    times: Sequence[float],
    verdicts: Sequence[AdapterVerdict],
    measure: Measure,
    dashes: Mapping[str, Dashes],
) -> None:
    points = [
        (time, verdict.policy.get("fingerprint"), each, ends)
        for time, verdict in zip(times, verdicts, strict=True)
        for each in verdict.measurements
        if each.measure == measure and (ends := in_units(each))
    ]
    bounds = [-scale(measure) * each.margin for _, _, each, _ in points]
    drawing.bare(axes)
    axes.set_ylim(*drawing.limits([0.0, *bounds, *(value for *_, ends in points for value in ends)]))
    axes.axhline(0, color=ink("text"), linewidth=1)
    left, right = axes.get_xlim()
    for number, (task, style) in enumerate(dashes.items()):
        # Side by side, so that the intervals of two tasks can be told apart.
        aside = 0.02 * (right - left) * (number - (len(dashes) - 1) / 2)
        of_task = [point for point in points if point[2].task == task]
        for (begin, under, _, start), (end, then_under, _, stop) in pairwise(of_task):
            if under == then_under:
                across = [begin + aside, end + aside]
                axes.plot(across, [start[1], stop[1]], color=ink("muted"), linestyle=style, linewidth=1)
        for time, _, each, (low, difference, high) in of_task:
            drawing.interval(axes, low, high, time + aside, each.verdict, upright=True)
            drawing.mark(axes, time + aside, difference, each.verdict)
            bound = -scale(measure) * each.margin
            axes.plot(time + aside, bound, marker="_", markersize=12, color=ink("text"))


def _line(dashes: Dashes | Literal[""], text: str, marker: str = "") -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=ink("text"), linestyle=dashes, marker=marker, linewidth=1, label=text)
