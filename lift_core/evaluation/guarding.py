"""One adapter against its base model: look, judge, and ask more only where that cannot decide yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from lift_core.evaluation.forgetting_tasks import ForgettingTask
from lift_core.evaluation.measuring import Measuring, Model
from lift_core.evaluation.statistics.looks import LookPlan, look_sizes, plan_looks
from lift_core.evaluation.statistics.paired import PairedCounts
from lift_core.evaluation.statistics.verdicts import (
    floor_accuracy,
    judge_accuracy,
    judge_log_likelihood,
)
from lift_core.evaluation_records import ItemResult, Measurement

BOOTSTRAP_SEED = 0

Progress = Callable[[str, int, int], None]
"""Told what is measured, how many items are done, and how many this look has."""


@dataclass(frozen=True)
class Side:
    """The base model or the adapter: who answers, and what is measured of it."""

    name: str
    active: Callable[[], AbstractContextManager[Any]]
    """Within it the model in this process is this side's."""
    scorer: Model
    writer: Model
    measuring: dict[str, Measuring]
    """By what is asked: answers and likelihood, or both."""

    def ask(self, task: ForgettingTask, asks: str, items: int, on_progress: Progress) -> list[ItemResult]:
        """Results of the first ``items`` items; what is not there yet is measured."""
        measuring = self.measuring[asks]
        if measuring.done < items:
            what = f"{task.name} {asks if asks != 'both' else 'answers'}, {self.name}"
            with self.active():
                on_progress(what, measuring.done, items)
                measuring.measure(
                    task,
                    self.writer if asks == "answers" else self.scorer,
                    items,
                    lambda done: on_progress(what, done, items),
                )
        return measuring.results(items)


def plan_of(task: ForgettingTask, first: int) -> LookPlan:
    """The looks at a task, the first at so many items, the last at all."""
    return plan_looks(look_sizes(min(first, len(task.items)), len(task.items)))


def measure_task(
    task: ForgettingTask, base: Side, adapter: Side, plan: LookPlan, on_progress: Progress
) -> tuple[list[Measurement], dict[str, tuple[int, float, float]]]:
    """Look at a task until the deciding measure has decided, or all items are asked.

    Returns the measurements of the last look, and by subject items and both accuracies, where both were
    asked for answers.
    """
    for look, size in enumerate(plan.looks):
        measurements, answers = (
            _look_at_choices(task, base, adapter, plan, look, on_progress)
            if task.chooses
            else _look_at_answers(task, base, adapter, plan, look, on_progress)
        )
        accuracy, likelihood = measurements
        deciding = likelihood if accuracy.verdict == "uninformative" else accuracy
        if deciding.verdict != "undecided" or size is plan.looks[-1]:
            break
    return measurements, _by_subject(task, *answers) if answers else {}


def _look_at_choices(
    task: ForgettingTask, base: Side, adapter: Side, plan: LookPlan, look: int, on_progress: Progress
) -> tuple[list[Measurement], tuple[list[ItemResult], list[ItemResult]] | None]:
    items = plan.looks[look].items
    ours = base.ask(task, "both", items, on_progress), adapter.ask(task, "both", items, on_progress)
    return [_accuracy(task, *ours, plan, look), _likelihood(task, *ours, plan, look)], ours


def _look_at_answers(
    task: ForgettingTask, base: Side, adapter: Side, plan: LookPlan, look: int, on_progress: Progress
) -> tuple[list[Measurement], tuple[list[ItemResult], list[ItemResult]] | None]:
    items = plan.looks[look].items
    scores = (
        base.ask(task, "likelihood", items, on_progress),
        adapter.ask(task, "likelihood", items, on_progress),
    )
    base_answers = base.ask(task, "answers", items, on_progress)
    accuracy = floor_accuracy(
        task.name,
        sum(bool(result.right) for result in base_answers),
        items,
        chance=task.chance,
        margin=task.accuracy_margin,
        plan=plan,
        look=look,
    )
    answers = None
    if accuracy is None:
        answers = base_answers, adapter.ask(task, "answers", items, on_progress)
        accuracy = _accuracy(task, *answers, plan, look)
    return [accuracy, _likelihood(task, *scores, plan, look)], answers


def _accuracy(
    task: ForgettingTask,
    base: Sequence[ItemResult],
    adapter: Sequence[ItemResult],
    plan: LookPlan,
    look: int,
) -> Measurement:
    counts = PairedCounts.of(
        (bool(one.right), bool(other.right)) for one, other in zip(base, adapter, strict=True)
    )
    return judge_accuracy(
        task.name, counts, chance=task.chance, margin=task.accuracy_margin, plan=plan, look=look
    )


def _likelihood(
    task: ForgettingTask,
    base: Sequence[ItemResult],
    adapter: Sequence[ItemResult],
    plan: LookPlan,
    look: int,
) -> Measurement:
    return judge_log_likelihood(
        task.name,
        [result.gold_log_likelihood for result in base if result.gold_log_likelihood is not None],
        [result.gold_log_likelihood for result in adapter if result.gold_log_likelihood is not None],
        margin=task.log_likelihood_margin,
        plan=plan,
        look=look,
        seed=BOOTSTRAP_SEED,
    )


def _by_subject(
    task: ForgettingTask, base: Sequence[ItemResult], adapter: Sequence[ItemResult]
) -> dict[str, tuple[int, float, float]]:
    right: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for item, one, other in zip(task.items, base, adapter, strict=False):
        right[item.subject].append((bool(one.right), bool(other.right)))
    return {
        subject: (
            len(pairs),
            sum(one for one, _ in pairs) / len(pairs),
            sum(other for _, other in pairs) / len(pairs),
        )
        for subject, pairs in sorted(right.items())
    }
