"""The typed records of the forgetting guard that pass between rooms."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, field_serializer

from lift_core.records import Record

Verdict = Literal["pass", "regressed", "undecided", "uninformative"]
Measure = Literal["accuracy", "log-likelihood"]
Action = Literal["none", "alert", "quarantine", "retrain"]
"""What a verdict brought about; ``alert`` is an event and nothing else."""


class Conditions(Record):
    """All that an item's result hangs on, besides the adapter. Results under different ones never meet."""

    task: str
    task_digest: str
    """sha256 of the harness's definition of the task: prompt, examples, filters, metric."""
    data_digest: str
    """sha256 over the items, in the order in which they are asked."""
    harness: str
    """Name and version of the evaluation harness."""
    base_model: str
    base_revision: str
    engine: str
    """What computes the answers or log-likelihoods, and in which precision."""
    asks: Literal["answers", "likelihood", "both"] = "both"
    """Whether models write or choose answers, score the gold ones, or both."""

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, hexadecimal."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode()).hexdigest()


class ItemResult(Record):
    """What one model made of one item."""

    item: str
    right: bool | None = None
    """Whether the answer is right; None where only the gold one was scored."""
    answer: str | None = None
    """What the model said: the choice that it holds likeliest, or the text it wrote."""
    gold_log_likelihood: float | None = None
    """Of the gold answer's tokens, in nats a token; None where only an answer was asked for."""


class ResultShard(Record):
    """A committed piece of an evaluation: the results of items ``first`` to ``first + count - 1``."""

    first: int = Field(ge=0)
    count: int = Field(gt=0)
    key: str
    sha256: str


class Evaluation(Record):
    """What is measured so far of one model under one set of conditions, in the order of the items."""

    id: int
    conditions: Conditions
    adapter: str | None
    """None: the base model itself."""
    shards: tuple[ResultShard, ...]

    @property
    def done(self) -> int:
        """How many items are measured; the next one to ask has this number."""
        return sum(shard.count for shard in self.shards)


class Measurement(Record):
    """One measure of one task at one look: base and adapter on the same ``n`` items, and the verdict.

    Accuracies are shares from 0 to 1; log-likelihoods are nats a token, averaged over items. ``difference``
    is adapter minus base, and its interval ends at ``low`` and ``high``, which may be infinite. Where the
    base alone shows that accuracy is ``uninformative``, the adapter need not be asked: what would hang on
    its answers is None then.
    """

    task: str
    measure: Measure
    n: int
    base: float
    adapter: float | None
    difference: float | None
    low: float | None
    high: float | None
    confidence: float
    """Of this look's interval alone; the intervals of all looks together have the plan's."""
    margin: float = Field(gt=0)
    p_value: float
    """Of "the true drop is at most the margin", with all looks paid for."""
    mcnemar_p_value: float | None = None
    """Exact, two-sided, of "no difference at all"; for readers, no verdict hangs on it."""
    verdict: Verdict

    @field_serializer("low", "high", when_used="json")
    def _without_infinity(self, end: float | None) -> float | str | None:
        # JSON has no infinite numbers, and PostgreSQL's refuses them; the text is read back as a number.
        return end if end is None or math.isfinite(end) else str(end)


class Judgement(Record):
    """The verdict on an adapter, and what it hangs on."""

    verdict: Verdict
    decided_by: tuple[Measurement, ...]
    """The measurements that brought the verdict about."""
    sentence: str
    p_value: float
    """Of "no task regressed", by Bonferroni over the tasks: what a family of adapters is judged by."""


class Measured(Record):
    """What a run measured of one adapter, before its family is judged."""

    adapter: str
    base_model: str
    judgement: Judgement
    measurements: tuple[Measurement, ...]
    subjects: dict[str, dict[str, tuple[int, float, float]]]
    signs: dict[str, float]
    policy: dict[str, Any]


class AdapterVerdict(Record):
    """What one run of the guard found about one adapter, and what was done about it."""

    adapter: str
    run: str
    """Airflow's run id, or that of ``lift eval run``."""
    base_model: str
    verdict: Verdict
    sentence: str
    decided_by: tuple[tuple[str, Measure], ...]
    """Task and measure of the measurements that brought the verdict about."""
    p_value: float
    adjusted_p_value: float
    """Benjamini and Hochberg's, within the run's family."""
    alerted: bool
    """Whether it is among the family's alerts at the stated false discovery rate."""
    family: int
    """How many adapters the run judged together."""
    measurements: tuple[Measurement, ...]
    subjects: dict[str, dict[str, tuple[int, float, float]]]
    """By task and subject: items, the base's accuracy, the adapter's."""
    signs: dict[str, float]
    """The paper's signs of failure, measured on the adapter's own document; empty where not asked."""
    policy: dict[str, Any]
    """Margins, looks, rate and action that the verdict was given under."""
    action: Action
    report: str | None
    """Prefix of the report in the work bucket: ``report.html``, ``report.md`` and its plots."""
    created_at: datetime


class DueAdapter(Record):
    """An adapter that is to be measured, and why."""

    name: str
    base_model: str
    base_revision: str
    reason: Literal["never measured", "other conditions", "measured long ago", "asked for"]
