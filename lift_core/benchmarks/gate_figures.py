"""The figures of benchmark ``gate``: recall and precision a fault, with intervals over documents."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lift_core.benchmarks.gate_faults import FAULTS
from lift_core.records import Segment

HALLUCINATIONS = (
    *("number in question", "number in answer", "name in question", "name in answer", "unanswerable"),
    *("hallucinated", "wrong"),
)
"""What states something that the source does not: in the planted set, and in the judged one."""
JUDGED_LABELS = ("hallucinated", "unanswerable", "wrong", "context-bound", "malformed", "duplicate")
CONFIDENCE = 0.95
_RESAMPLES = 2000


@dataclass(frozen=True)
class Case:
    """A labelled pair, and why the ``checks`` alone, and ``all`` of the gate, reject it; empty: kept.

    ``near``, of a wrong name: the source has it too. ``seen``: the embedded model was taught on the document.
    """

    kind: Literal["planted", "judged"]
    document: str
    segment: Segment
    question: str
    answer: str
    label: str
    near: bool = False
    seen: bool = False
    checks: str = ""
    all: str = ""


def rows_of(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """One row a fault and kind of set, the hallucinations together, and the good pairs' own."""
    planted = [case for case in cases if case.kind == "planted"]
    judged = [case for case in cases if case.kind == "judged"]
    unseen = [case for case in planted if not case.seen]
    rows = [
        _row("hallucinations, planted", planted, HALLUCINATIONS, balanced=True),
        _row("hallucinations, planted, documents never taught", unseen, HALLUCINATIONS, balanced=True),
        _row("hallucinations, judged by hand", judged, HALLUCINATIONS, balanced=False),
        _row("all faults, judged by hand", judged, JUDGED_LABELS, balanced=False),
    ]
    for fault in FAULTS:
        rows.append(_row(f"{fault}, planted", planted, (fault,), balanced=True))
    for near, where in ((True, "that the source has too"), (False, "that the source does not have")):
        some = [case for case in planted if case.near == near or not case.label.startswith("name")]
        rows.append(
            _row(f"a name {where}, planted", some, ("name in question", "name in answer"), balanced=True)
        )
    for label in JUDGED_LABELS:
        rows.append(_row(f"{label}, judged by hand", judged, (label,), balanced=False))
    rows += [
        _kept("good, planted", planted),
        _kept("good, planted, documents never taught", unseen),
        _kept("good, judged by hand", judged),
    ]
    return [row for row in rows if row["n"]]


@dataclass(frozen=True)
class _Counts:
    """Of one document: faulty pairs and good ones, and how many of each are rejected."""

    faulty: int
    caught: int
    good: int
    lost: int


def _row(name: str, cases: Iterable[Case], labels: Sequence[str], *, balanced: bool) -> dict[str, Any]:
    mine = [case for case in cases if case.label in labels or case.label == "good"]
    faulty = [case for case in mine if case.label != "good"]
    counts = _counts(mine)
    low, high = _interval(counts, _recall)
    precision = _balanced_precision if balanced else _precision
    precision_low, precision_high = _interval(counts, precision)
    alone = _counts(mine, checks_alone=True)
    return {
        "name": name,
        "n": len(faulty),
        "documents": len({case.document for case in faulty}),
        "recall": _recall(counts),
        "low": low,
        "high": high,
        "precision": precision(counts),
        "its low": precision_low,
        "its high": precision_high,
        "recall of the checks alone": _recall(alone),
        "precision of the checks alone": precision(alone),
        "rejected as": _words(faulty),
    }


def _kept(name: str, cases: Iterable[Case]) -> dict[str, Any]:
    good = [case for case in cases if case.label == "good"]
    low, high = _interval(_counts(good), _kept_share)
    return {
        "name": f"{name}: share kept",
        "n": len(good),
        "documents": len({case.document for case in good}),
        "kept": _kept_share(_counts(good)),
        "kept, low": low,
        "kept, high": high,
        "kept by the checks alone": _kept_share(_counts(good, checks_alone=True)),
        "rejected as": _words(good),
    }


def _words(cases: Iterable[Case]) -> str:
    reasons = Counter(case.all for case in cases if case.all)
    return ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())


def _counts(cases: Iterable[Case], *, checks_alone: bool = False) -> list[_Counts]:
    of: dict[str, list[Case]] = {}
    for case in cases:
        of.setdefault(case.document, []).append(case)
    counts = []
    for some in of.values():
        good = [case for case in some if case.label == "good"]
        faulty = [case for case in some if case.label != "good"]
        lost, caught = (
            sum(bool(case.checks if checks_alone else case.all) for case in each) for each in (good, faulty)
        )
        counts.append(_Counts(len(faulty), caught, len(good), lost))
    return counts


Figure = Callable[[Sequence[_Counts]], float | None]


def _recall(counts: Sequence[_Counts]) -> float | None:
    return _ratio(sum(each.caught for each in counts), sum(each.faulty for each in counts))


def _kept_share(counts: Sequence[_Counts]) -> float | None:
    good = sum(each.good for each in counts)
    return _ratio(good - sum(each.lost for each in counts), good)


def _precision(counts: Sequence[_Counts]) -> float | None:
    caught = sum(each.caught for each in counts)
    return _ratio(caught, caught + sum(each.lost for each in counts))


def _balanced_precision(counts: Sequence[_Counts]) -> float | None:
    """Precision where good and faulty pairs are as many: a planted set says nothing of how many there are."""
    recall = _recall(counts)
    lost = _ratio(sum(each.lost for each in counts), sum(each.good for each in counts))
    return None if recall is None or lost is None else _ratio(recall, recall + lost)


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


def _interval(counts: Sequence[_Counts], figure: Figure) -> tuple[float | None, float | None]:
    """Bounds of a figure: documents are drawn anew, with all their pairs, again and again."""
    dice = random.Random(0)  # noqa: S311 - every run draws the same
    drawn = (figure(dice.choices(counts, k=len(counts))) for _ in range(_RESAMPLES if counts else 0))
    found = sorted(value for value in drawn if value is not None)
    if not found:
        return None, None
    outside = int(len(found) * (1 - CONFIDENCE) / 2)
    return found[outside], found[-1 - outside]
