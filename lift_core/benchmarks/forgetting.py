"""Benchmark ``forgetting``: how often the forgetting guard errs, and how many items it needs.

Pairs of a base and an adapter are drawn with a known true drop in accuracy, and judged as the guard judges:
look by look, by the same functions. No model runs. The fast mode's size is read off the result, see
``fast_mode_items``.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift_core.benchmarks.report import Report
from lift_core.evaluation.statistics.looks import (
    FAST_MODE_ITEMS,
    ONE_SIDED_LEVEL,
    Spending,
    look_sizes,
    plan_looks,
)
from lift_core.evaluation.statistics.paired import tango_intervals
from lift_core.evaluation.statistics.verdicts import ACCURACY_MARGIN, can_fall, verdicts_of

PAIRS = 10_000
QUICK_PAIRS = 1_000
MMLU = 14_042
GSM8K = 1_319
POWER = 0.9
DESIGN_DROP = 0.05
DESIGN_DISCORDANCE = 0.2
_DROPS = (0.0, 0.01, 0.02, 0.05)
_DISCORDANCES = (0.1, 0.2, 0.3)
_FULL_SETS = (500, 1_000, GSM8K, 2_000, 4_000, 8_000, MMLU)
_FIRST_LOOKS = tuple(range(500, 6_001, 250))
_BASE_ACCURACY = 0.5
_FLOOR_ACCURACIES = (0.25, 0.27, 0.29, 0.32, 0.4)
_CHANCE = 0.25
_STEPS = tuple(step / 1000 for step in range(5, 151, 5))

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Scenario:
    """What is true of the pairs, and how they are looked at. Shares, not points of 100."""

    sizes: tuple[int, ...]
    """Items at each look; the last is the full set."""
    drop: float
    discordance: float
    """Share of the items that only one of base and adapter answers right."""
    base_accuracy: float = _BASE_ACCURACY
    spending: Spending = "pocock"
    margin: float = ACCURACY_MARGIN


@dataclass(frozen=True)
class Outcome:
    """Where the pairs of a scenario ended, as shares of all pairs."""

    passed: float
    regressed: float
    undecided: float
    uninformative: float
    passed_at_once: float
    regressed_at_once: float
    mean_items: float


def simulate(scenario: Scenario, pairs: int, seed: int) -> Outcome:
    """Draw ``pairs`` base/adapter pairs and judge each as the guard does, until it decides or has no more.

    Raises:
        ValueError: no pair can have that drop, discordance and base accuracy.
    """
    lost = (scenario.discordance + scenario.drop) / 2
    gained = (scenario.discordance - scenario.drop) / 2
    shares = (scenario.base_accuracy - lost, lost, gained, 1 - scenario.base_accuracy - gained)
    if min(shares) < 0:
        raise ValueError(f"no pair of base and adapter is {scenario}")
    generator = np.random.default_rng(seed)
    plan = plan_looks(scenario.sizes, spending=scenario.spending)
    counts = np.zeros((pairs, 4), dtype=np.int64)
    verdicts = np.full(pairs, "undecided", dtype="<U13")
    items = np.zeros(pairs, dtype=np.int64)
    shown = 0
    at_once = verdicts
    for number, look in enumerate(plan.looks):
        asked = np.isin(verdicts, ("undecided", "uninformative"))
        counts += generator.multinomial(look.items - shown, shares, size=pairs)
        shown = look.items
        items[asked] = shown
        verdicts[asked] = _judge(counts[asked], shown, look.one_sided_level, scenario.margin)
        if number == 0:
            at_once = verdicts.copy()
    return Outcome(
        passed=_share(verdicts, "pass"),
        regressed=_share(verdicts, "regressed"),
        undecided=_share(verdicts, "undecided"),
        uninformative=_share(verdicts, "uninformative"),
        passed_at_once=_share(at_once, "pass"),
        regressed_at_once=_share(at_once, "regressed"),
        mean_items=float(items.mean()),
    )


def run(*, quick: bool, on_progress: Callable[[str], None]) -> tuple[Report, str]:
    """Simulate all scenarios; ``quick``: with a tenth of the pairs. Returns the report and its plot, SVG."""
    pairs = QUICK_PAIRS if quick else PAIRS
    seeds = itertools.count()
    rows: list[dict[str, Any]] = []

    def add(name: str, scenario: Scenario) -> dict[str, Any]:
        # Each scenario draws by a seed of its own, or all would be wrong by the same chance.
        on_progress(f"{name}: {scenario.sizes[-1]} items, {100 * scenario.drop:g} points")
        return _row(name, scenario, simulate(scenario, pairs, next(seeds)), pairs)

    rows += [add(_FAST, each) for each in _first_looks()]
    fast = fast_mode_items(rows)
    others = (*_by_full_set(), *_by_spending(fast), *_at_the_floor(fast))
    rows += [add(name, each) for name, each in others]
    for name, series in _searches(fast):
        # The first that has the power; each series ends with what certainly has it.
        rows.append(next(row for row in (add(name, each) for each in series) if row["power"] >= POWER))
    settings = {
        "pairs": pairs,
        "level of each end": ONE_SIDED_LEVEL,
        "fast mode": f"{fast} items",
        "in use": f"{FAST_MODE_ITEMS} items",
    }
    report = Report(name="forgetting", settings=settings, rows=rows)
    return report, draw(report)


def fast_mode_items(rows: Sequence[dict[str, Any]]) -> int:
    """The fewest items of a first look that find the design's drop with its power, however many more.

    The design: 5 points, power 0.9, 20 % discordance, the whole of MMLU behind it.

    Raises:
        ValueError: no number of items that was tried has that power.
    """
    tried = [row for row in rows if row["name"] == _FAST and row["discordance"] == DESIGN_DISCORDANCE]
    too_few = max((row["items"] for row in tried if row["power at first look"] < POWER), default=0)
    enough = [row["items"] for row in tried if row["items"] > too_few]
    if not enough:
        raise ValueError(
            f"a first look at {too_few} items finds {DESIGN_DROP:.0%} with less than {POWER:.0%}"
        )
    return int(min(enough))


def draw(report: Report) -> str:
    """The report as a plot, SVG: power, errors at the margin, and the size of the first look."""
    import matplotlib
    from matplotlib.figure import Figure

    fast = fast_mode_items(report.rows)
    # The same figures make the same file: no random ids, no date, text as text.
    with matplotlib.rc_context({"svg.hashsalt": report.name, "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(12, 4), layout="constrained")
        found, errors, first = figure.subplots(1, 3)
        for number, discordance in enumerate(_DISCORDANCES):
            style = {"color": f"C{number}", "label": f"{discordance:.0%} discordance", "marker": "."}
            full_sets = [
                row for row in report.rows if row["name"] == _FULL and row["discordance"] == discordance
            ]
            damaged = [row for row in full_sets if row["true drop"] == DESIGN_DROP]
            _line(found, damaged, "full set", "power", style)
            healthy = {**style, "linestyle": "--", "label": None}
            _line(found, [row for row in full_sets if row["true drop"] == 0], "full set", "power", healthy)
            at_margin = [row for row in full_sets if row["true drop"] == ACCURACY_MARGIN]
            _line(errors, at_margin, "full set", "false alarms", style)
            _line(errors, at_margin, "full set", "wrong passes", healthy)
            tried = [row for row in report.rows if row["name"] == _FAST and row["discordance"] == discordance]
            _line(first, tried, "items", "power at first look", style)
        found.set(
            title="Drop of 5 points found (line),\nno drop passed (dashed)",
            ylabel="share of pairs",
            ylim=(0, 1),
        )
        errors.set(
            title="True drop at the margin: false alarms (line),\nwrong passes (dashed)",
            ylabel="share of pairs",
            ylim=(0, 2 * ONE_SIDED_LEVEL),
        )
        errors.axhline(ONE_SIDED_LEVEL, color="grey", linewidth=1)
        first.set(
            title=f"Drop of 5 points found at the first look\nof MMLU; fast mode: {fast} items",
            xlabel="items of the first look",
            ylim=(0, 1),
        )
        first.axhline(POWER, color="grey", linewidth=1)
        first.axvline(fast, color="grey", linewidth=1)
        for axes in (found, errors):
            axes.set(xscale="log", xlabel="items of the full set, looks at 1/4, 1/2 and all")
        for axes in (found, errors, first):
            axes.legend()
        page = io.StringIO()
        figure.savefig(page, format="svg", metadata={"Date": None})
    return page.getvalue()


_FAST = "first look"
_FULL = "full set"


def _judge(counts: Counts, items: int, level: float, margin: float) -> NDArray[np.str_]:
    both, lost, gained, _ = counts.T
    low, high = tango_intervals(gained, lost, np.full_like(lost, items), level)
    informative = can_fall(both + lost, items, _CHANCE + margin, level)
    return np.where(informative, verdicts_of(low, high, margin), "uninformative")


def _share(verdicts: NDArray[np.str_], verdict: str) -> float:
    return float((verdicts == verdict).mean())


def _first_looks() -> Iterator[Scenario]:
    for discordance in _DISCORDANCES:
        for first in _FIRST_LOOKS:
            yield Scenario(look_sizes(first, MMLU), DESIGN_DROP, discordance)


def _by_full_set() -> Iterator[tuple[str, Scenario]]:
    for full in _FULL_SETS:
        for discordance in _DISCORDANCES:
            for drop in _DROPS:
                yield _FULL, Scenario((full // 4, full // 2, full), drop, discordance)


def _by_spending(fast: int) -> Iterator[tuple[str, Scenario]]:
    """The guard's own looks at MMLU: both spending functions, and one look for all."""
    for drop in _DROPS:
        looks = look_sizes(fast, MMLU)
        yield "looks, pocock", Scenario(looks, drop, DESIGN_DISCORDANCE)
        yield "looks, obrien-fleming", Scenario(looks, drop, DESIGN_DISCORDANCE, spending="obrien-fleming")
        yield "one look", Scenario((MMLU,), drop, DESIGN_DISCORDANCE)


def _at_the_floor(fast: int) -> Iterator[tuple[str, Scenario]]:
    for accuracy in _FLOOR_ACCURACIES:
        for drop in (0.0, DESIGN_DROP):
            yield "near the floor", Scenario(look_sizes(fast, MMLU), drop, DESIGN_DISCORDANCE, accuracy)


def _searches(fast: int) -> Iterator[tuple[str, Iterator[Scenario]]]:
    """What a full set can show at all: ever larger drops to be found, ever larger margins to be passed."""
    for full in (GSM8K, 2_000, 4_000, MMLU):
        sizes = look_sizes(fast, full)
        for share in _DISCORDANCES:
            drops = (Scenario(sizes, round(ACCURACY_MARGIN + step, 3), share) for step in _STEPS)
            yield "smallest drop found", drops
            margins = (Scenario(sizes, 0.0, share, margin=step) for step in _STEPS)
            yield "smallest margin passed without a drop", margins


def _row(name: str, scenario: Scenario, outcome: Outcome, pairs: int) -> dict[str, Any]:
    above, below = scenario.drop > scenario.margin, scenario.drop < scenario.margin
    power = outcome.regressed if above else outcome.passed if below else None
    at_once = outcome.regressed_at_once if above else outcome.passed_at_once if below else None
    return {
        "name": name,
        "unit": "share",
        "n": pairs,
        "items": scenario.sizes[0],
        "full set": scenario.sizes[-1],
        "base accuracy": scenario.base_accuracy,
        "discordance": scenario.discordance,
        "margin": scenario.margin,
        "true drop": scenario.drop,
        "power": power,
        "power at first look": at_once,
        "false alarms": None if above else outcome.regressed,
        "wrong passes": None if below else outcome.passed,
        "undecided": outcome.undecided,
        "uninformative": outcome.uninformative,
        "mean items": round(outcome.mean_items),
    }


def _line(axes: Any, rows: Sequence[dict[str, Any]], across: str, up: str, style: dict[str, Any]) -> None:
    axes.plot([row[across] for row in rows], [row[up] for row in rows], **style)
