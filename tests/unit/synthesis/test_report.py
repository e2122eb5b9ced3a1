"""The report on a document's pairs."""

import pytest

from lift_core.records import GenerationCost, JudgedPair, QAPair, Segment
from lift_core.synthesis.report import estimate, report_of, sample_of

SEGMENTS = [Segment(number=n, start=0, end=9, text="It burns.") for n in range(2)]


def judged(n, reason=None):
    pair = QAPair(segment=n % 2, question=f"What is {n}?", answer="x")
    return JudgedPair(pair=pair, kept=reason is None, reason=reason)


def test_counts_by_reason_the_most_frequent_first():
    found = [judged(0), judged(1, "form"), judged(2, "invented"), judged(3, "invented")]
    report = report_of(SEGMENTS, found, cost=GenerationCost(requests=7))
    assert (report.segments, report.pairs, report.kept, report.kept_share) == (2, 4, 1, 0.25)
    assert list(report.rejected.items()) == [("invented", 2), ("form", 1)]
    assert report.coverage.segments == 0.5
    assert report.cost.requests == 7
    assert report.faithfulness is None


def test_no_pairs_at_all():
    report = report_of(SEGMENTS, [])
    assert (report.pairs, report.kept_share, report.rejected) == (0, 0, {})


@pytest.mark.parametrize(
    ("successes", "sample", "low", "high"),
    [(45, 50, 0.7864, 0.9565), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)],
)
def test_wilson_intervals(successes, sample, low, high):
    found = estimate(successes, sample, "reader")
    assert (found.share, found.sample, found.by) == (successes / sample, sample, "reader")
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_no_sample_no_estimate():
    assert estimate(0, 0, "reader") is None


def test_the_sample_depends_on_pairs_and_seed_alone():
    pairs = [judged(n).pair for n in range(200)]
    chosen = sample_of(pairs, 64, seed=1)
    assert chosen == sample_of(pairs[::-1], 64, seed=1)
    assert len(set(chosen)) == 64
    assert chosen != sample_of(pairs, 64, seed=2)
    assert len(sample_of(pairs[:10], 64)) == 10
