"""The verdict on an adapter: per measure of a task against a margin, then over all of them.

A verdict is about one look. ``regressed`` and ``pass`` are each wrong with no more than the plan's level,
all looks of a measure together; ``undecided`` asks for more items, as long as there are more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lift_core.evaluation.statistics import bootstrap, paired
from lift_core.evaluation.statistics.families import any_of
from lift_core.evaluation.statistics.looks import LookPlan
from lift_core.evaluation_records import Judgement, Measure, Measurement, Verdict

ACCURACY_MARGIN = 0.02
"""The drop in accuracy that is still borne, as a share: 2 points of 100."""
LOG_LIKELIHOOD_MARGIN = 0.05
"""The drop in a gold answer's mean log-likelihood that is still borne, in nats a token.

At it a token of the gold answers has 95 % of the probability that the base gave it, as a geometric mean.
"""


def verdicts_of(low: ArrayLike, high: ArrayLike, margin: float) -> NDArray[np.str_]:
    """``pass``, ``regressed`` or ``undecided`` for many intervals at once, in their shape."""
    return np.select(
        [np.asarray(low) > -margin, np.asarray(high) < -margin], ["pass", "regressed"], default="undecided"
    )


def can_fall(base_right: ArrayLike, items: ArrayLike, floor: float, level: float) -> NDArray[np.bool_]:
    """Whether the base's accuracy is above ``floor``, by the exact one-sided binomial test at ``level``.

    For many tables at once, in their shape.
    """
    from scipy.stats import binom

    surprise = binom.sf(np.asarray(base_right) - 1, np.asarray(items), floor)
    return np.asarray(surprise <= level)


def judge_accuracy(
    task: str, counts: paired.PairedCounts, *, chance: float, margin: float, plan: LookPlan, look: int
) -> Measurement:
    """Judge right and wrong answers at look ``look`` of ``plan``, counted from 0.

    ``chance`` is the accuracy of one who knows nothing: 0.25 with four choices, 0 with open answers. Where
    the base is not above ``chance + margin``, by the exact binomial test at the look's level, an adapter that
    lost all it knew would not have lost more than the margin: the verdict is ``uninformative``.

    Raises:
        ValueError: there are not as many items as the look has, or the margin leaves no room to fall.
    """
    level = _level(task, counts.items, plan, look)
    _check_room(task, chance, margin)
    interval = paired.tango_interval(counts, level)
    verdict = _verdict(interval, margin)
    if not can_fall(counts.base_right, counts.items, chance + margin, level):
        verdict = "uninformative"
    return Measurement(
        task=task,
        measure="accuracy",
        n=counts.items,
        base=counts.base_right / counts.items,
        adapter=counts.adapter_right / counts.items,
        difference=(counts.n01 - counts.n10) / counts.items,
        low=interval.low,
        high=interval.high,
        confidence=plan.looks[look].confidence,
        margin=margin,
        p_value=plan.p_value(look, paired.regression_p_value(counts, margin)),
        mcnemar_p_value=paired.mcnemar_p_value(counts),
        verdict=verdict,
    )


def floor_accuracy(
    task: str, base_right: int, items: int, *, chance: float, margin: float, plan: LookPlan, look: int
) -> Measurement | None:
    """The ``uninformative`` measurement that the base's answers alone bring about; None if it can fall.

    Answers of the adapter could not change the verdict, so where they are dear they are not asked for.

    Raises:
        ValueError: as :func:`judge_accuracy`.
    """
    level = _level(task, items, plan, look)
    _check_room(task, chance, margin)
    if can_fall(base_right, items, chance + margin, level):
        return None
    return Measurement(
        task=task,
        measure="accuracy",
        n=items,
        base=base_right / items,
        adapter=None,
        difference=None,
        low=None,
        high=None,
        confidence=plan.looks[look].confidence,
        margin=margin,
        p_value=1.0,
        verdict="uninformative",
    )


def judge_log_likelihood(
    task: str,
    base: Sequence[float],
    adapter: Sequence[float],
    *,
    margin: float,
    plan: LookPlan,
    look: int,
    seed: int,
) -> Measurement:
    """Judge the gold answers' log-likelihoods, one value an item in nats a token, at a look of ``plan``.

    Raises:
        ValueError: there are not as many items as the look has, too few to resample, or one without a
            finite value; or the margin is not positive.
    """
    level = _level(task, len(base), plan, look)
    if margin <= 0:
        raise ValueError(f"{task}: the margin is {margin}; it must be positive")
    difference = bootstrap.mean_difference(base, adapter, seed=seed)
    interval = difference.interval(level)
    return Measurement(
        task=task,
        measure="log-likelihood",
        n=difference.items,
        base=float(np.mean(base)),
        adapter=float(np.mean(adapter)),
        difference=difference.mean,
        low=interval.low,
        high=interval.high,
        confidence=plan.looks[look].confidence,
        margin=margin,
        p_value=plan.p_value(look, difference.regression_p_value(margin)),
        verdict=_verdict(interval, margin),
    )


def judge_adapter(measurements: Sequence[Measurement]) -> Judgement:
    """Combine the measures of all tasks.

    In each task accuracy decides, and where it is uninformative the log-likelihood does. The adapter
    ``regressed`` if a task did, and passes if every task does. It is ``uninformative`` if none of its tasks
    could say anything, and otherwise ``undecided``.

    Raises:
        ValueError: there is no measurement, or two of one measure of one task.
    """
    if not measurements:
        raise ValueError("an adapter that was measured on no task cannot be judged")
    tasks: dict[str, dict[Measure, Measurement]] = {}
    for each in measurements:
        measures = tasks.setdefault(each.task, {})
        if each.measure in measures:
            raise ValueError(f"{each.task} has two measurements of {each.measure}; a look has one")
        measures[each.measure] = each
    deciding = [_deciding(measures) for measures in tasks.values()]
    verdict = _combined([each.verdict for each in deciding])
    # What keeps an adapter undecided is whatever did not pass.
    decided_by = tuple(
        each
        for each in deciding
        if each.verdict == verdict or (verdict == "undecided" != each.verdict != "pass")
    )
    silent = [each for each in measurements if each not in deciding and each.verdict == "regressed"]
    sentence = f"{_CLAUSES[verdict]}: " + "; ".join(_words(each, tasks[each.task]) for each in decided_by)
    if silent:
        named = " and ".join(f"{each.measure} of {each.task}" for each in silent)
        sentence += f". Beyond its margin, but not what decides: {named}"
    # A task whose measures say nothing must not raise an alarm, but counts as a test that was made.
    p_values = [1.0 if each.verdict == "uninformative" else each.p_value for each in deciding]
    return Judgement(
        verdict=verdict, decided_by=decided_by, sentence=sentence + ".", p_value=any_of(p_values)
    )


_CLAUSES: dict[Verdict, str] = {
    "pass": "Passed",
    "regressed": "Regressed",
    "undecided": "Undecided",
    "uninformative": "Nothing could be told",
}


def _level(task: str, items: int, plan: LookPlan, look: int) -> float:
    if not 0 <= look < len(plan.looks):
        raise ValueError(f"{task}: the plan has {len(plan.looks)} looks, and none of number {look}")
    if items != plan.looks[look].items:
        raise ValueError(f"{task}: {items} items at a look that has {plan.looks[look].items}")
    return plan.looks[look].one_sided_level


def _check_room(task: str, chance: float, margin: float) -> None:
    if not 0 <= chance < chance + margin < 1 or margin <= 0:
        raise ValueError(f"{task}: chance {chance} and margin {margin} must be positive and below 1 together")


def _verdict(interval: paired.Interval, margin: float) -> Verdict:
    return cast(Verdict, verdicts_of(interval.low, interval.high, margin).item())


def _deciding(measures: dict[Measure, Measurement]) -> Measurement:
    accuracy, likelihood = measures.get("accuracy"), measures.get("log-likelihood")
    if accuracy is None or (accuracy.verdict == "uninformative" and likelihood is not None):
        # One of the two is there: a task has at least one measurement.
        return measures["log-likelihood"]
    return accuracy


def _combined(verdicts: Sequence[Verdict]) -> Verdict:
    if "regressed" in verdicts:
        return "regressed"
    if len(set(verdicts)) == 1:
        return verdicts[0]
    return "undecided"


def _words(deciding: Measurement, measures: dict[Measure, Measurement]) -> str:
    why = ""
    accuracy = measures.get("accuracy")
    if accuracy is not None and accuracy is not deciding:
        why = f" (the base's accuracy, {accuracy.base:.1%}, is not above the floor)"
    if deciding.difference is None or deciding.low is None or deciding.high is None:
        size, margin = (
            f"the base's {deciding.base:.1%} is not above the floor",
            f"{100 * deciding.margin:g} points",
        )
    elif deciding.measure == "accuracy":
        size = (
            f"{100 * deciding.difference:+.1f} points [{100 * deciding.low:+.1f}, {100 * deciding.high:+.1f}]"
        )
        margin = f"{100 * deciding.margin:g} points"
    else:
        size = f"{deciding.difference:+.3f} nats a token [{deciding.low:+.3f}, {deciding.high:+.3f}]"
        margin = f"{deciding.margin:g}"
    return f"{deciding.task} by {deciding.measure}{why}, {size} on {deciding.n} items, margin {margin}"
