"""The report on a document's pairs: counts by reason, coverage, faithfulness with its sampling error."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from lift_core.records import Estimate, GenerationCost, JudgedPair, PairReport, QAPair, Segment
from lift_core.synthesis.coverage import coverage_of

_Z = 1.959964
"""Standard normal quantile of a two-sided 95 % interval."""


def report_of(
    segments: Sequence[Segment],
    judged: Sequence[JudgedPair],
    *,
    faithfulness: Estimate | None = None,
    cost: GenerationCost | None = None,
) -> PairReport:
    """The report on all pairs of a document, kept and rejected; the same whatever order they come in."""
    kept = [found.pair for found in judged if found.kept]
    counts = Counter(found.reason or "" for found in judged if not found.kept)
    rejected = dict(sorted(counts.items(), key=_most_first))
    return PairReport(
        segments=len(segments),
        pairs=len(judged),
        kept=len(kept),
        rejected=rejected,
        kept_share=len(kept) / len(judged) if judged else 0.0,
        coverage=coverage_of(segments, kept),
        faithfulness=faithfulness,
        cost=cost or GenerationCost(),
    )


def sample_of(pairs: Iterable[QAPair], size: int, seed: int = 0) -> list[QAPair]:
    """``size`` pairs at random, or all where there are fewer; the same ones for the same pairs and seed.

    Chosen by hash, so that neither the order nor another attempt changes the choice.
    """

    def drawn(pair: QAPair) -> bytes:
        return hashlib.sha256(f"{seed}\n{pair.segment}\n{pair.question}\n{pair.answer}".encode()).digest()

    return sorted(pairs, key=drawn)[:size]


def estimate(successes: int, sample: int, by: str) -> Estimate | None:
    """A share with Wilson's 95 % score interval (Wilson 1927); None for an empty sample."""
    if sample == 0:
        return None
    share = successes / sample
    spread = _Z * math.sqrt(share * (1 - share) / sample + (_Z / (2 * sample)) ** 2)
    centre = share + _Z**2 / (2 * sample)
    scale = 1 + _Z**2 / sample
    low, high = max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
    return Estimate(share=share, low=low, high=high, sample=sample, by=by)


def _most_first(counted: tuple[str, int]) -> tuple[int, str]:
    reason, count = counted
    return -count, reason
