"""Two adapters on the same items: the paired difference that a reader of two reports cannot see."""

from __future__ import annotations

from lift_core.evaluation.measuring import Measuring
from lift_core.evaluation.statistics import bootstrap, paired
from lift_core.evaluation_records import Evaluation, ItemResult, Measure
from lift_core.records import Record
from lift_core.registry import AdapterRegistry
from lift_core.store import ObjectStore

ONE_SIDED_LEVEL = 0.025
_FEWEST = 20


class Comparison(Record):
    """One measure of one task: ``difference`` is the second adapter minus the first."""

    task: str
    measure: Measure
    n: int
    first: float
    second: float
    difference: float
    low: float
    high: float


def compare(
    registry: AdapterRegistry, store: ObjectStore, bucket: str, first: str, second: str
) -> list[Comparison]:
    """Compare two adapters under every set of conditions that both were measured under.

    Items that only one of them was asked are left out; fewer than 20 common ones are not compared.

    Raises:
        NotFoundError: there is no such adapter.
        LiftError: stored results are not those that were committed.
    """
    others = {each.conditions.digest: each for each in registry.evaluations_of(second)}
    rows = []
    for each in registry.evaluations_of(first):
        other = others.get(each.conditions.digest)
        common = min(each.done, other.done) if other else 0
        if other is None or common < _FEWEST:
            continue
        one, two = (Measuring(registry, store, bucket, e).results(common) for e in (each, other))
        rows += _measures(each, one, two)
    return rows


def _measures(evaluation: Evaluation, one: list[ItemResult], two: list[ItemResult]) -> list[Comparison]:
    task, found = evaluation.conditions.task, []
    if evaluation.conditions.asks in ("answers", "both"):
        counts = paired.PairedCounts.of((bool(a.right), bool(b.right)) for a, b in zip(one, two, strict=True))
        interval = paired.tango_interval(counts, ONE_SIDED_LEVEL)
        shares = counts.base_right / counts.items, counts.adapter_right / counts.items
        found.append(_comparison(task, "accuracy", counts.items, *shares, interval))
    if evaluation.conditions.asks in ("likelihood", "both"):
        values = [
            [each.gold_log_likelihood for each in side if each.gold_log_likelihood is not None]
            for side in (one, two)
        ]
        means = [sum(side) / len(side) for side in values]
        interval = bootstrap.mean_difference(*values, seed=0).interval(ONE_SIDED_LEVEL)
        found.append(_comparison(task, "log-likelihood", len(one), means[0], means[1], interval))
    return found


def _comparison(
    task: str, measure: Measure, n: int, first: float, second: float, interval: paired.Interval
) -> Comparison:
    return Comparison(
        task=task,
        measure=measure,
        n=n,
        first=first,
        second=second,
        difference=second - first,
        low=interval.low,
        high=interval.high,
    )
