"""Differences of paired 0/1 scores: as published, as scipy and statsmodels have them, right at the edges."""

import numpy as np
import pytest
from scipy.special import ndtri
from statsmodels.stats.contingency_tables import mcnemar

from lift_core.evaluation.statistics.paired import (
    PairedCounts,
    count_pairs,
    mcnemar_p_value,
    regression_p_value,
    tango_interval,
    tango_intervals,
    tango_scores,
)

# Both right, only the first, only the second, neither; the published difference is the first minus the
# second, ours the adapter (n01) minus the base (n10). The papers' figures are taken from the tests of the R
# package ratesci, which cite them.
PUBLISHED = [
    # Tango 1998, at 90 % and at 95 %.
    ((43, 0, 1, 0), 0.05, (-0.096, 0.037), 3),
    ((4, 9, 3, 16), 0.025, (-0.027, 0.390), 3),
    # Agresti and Min 2005.
    ((53, 16, 8, 9), 0.025, (-0.020, 0.207), 3),
    # Fagerland, Lydersen and Laake 2014, table V.
    ((1, 1, 7, 12), 0.025, (-0.517, -0.026), 3),
    # Tests of the R package contingencytables, data of Cavo et al. 2012.
    ((59, 6, 16, 80), 0.025, (-0.1240, -0.0054), 4),
    # scoreci.mp(25, 28, 618, 0.9) of the R package PropCIs, which counts the second minus the first.
    ((0, 28, 25, 565), 0.05, (-0.0148, 0.0247), 4),
]


@pytest.mark.parametrize(("table", "level", "published", "digits"), PUBLISHED)
def test_the_interval_is_the_published_one(table, level, published, digits):
    both, first, second, neither = table
    counts = PairedCounts(n11=both, n01=first, n10=second, n00=neither)
    assert [round(end, digits) for end in tango_interval(counts, level)] == list(published)


def test_base_and_adapter_swapped_mirror_the_interval():
    low, high = tango_interval(PairedCounts(n11=50, n10=12, n01=5, n00=33), 0.01)
    mirrored = tango_interval(PairedCounts(n11=50, n10=5, n01=12, n00=33), 0.01)
    assert mirrored == pytest.approx((-high, -low))


@pytest.mark.parametrize("items", [1, 10, 14_042])
def test_without_a_changed_item_the_interval_has_its_known_form(items):
    z2 = float(ndtri(0.975)) ** 2
    interval = tango_interval(PairedCounts(n11=items, n10=0, n01=0, n00=0), 0.025)
    assert interval == pytest.approx((-z2 / (items + z2), z2 / (items + z2)))


def test_all_items_lost_or_gained_end_at_one():
    assert tango_interval(PairedCounts(n11=0, n10=30, n01=0, n00=0), 0.025).low == pytest.approx(-1)
    assert tango_interval(PairedCounts(n11=0, n10=0, n01=30, n00=0), 0.025).high == pytest.approx(1)
    assert -1 <= tango_interval(PairedCounts(n11=0, n10=0, n01=1, n00=0), 0.001).low < 0


def test_every_small_table_has_an_interval_about_its_difference_that_the_score_test_agrees_with():
    gained, lost = (grid.ravel() for grid in np.meshgrid(np.arange(21), np.arange(21)))
    gained, lost = gained[gained + lost <= 20], lost[gained + lost <= 20]
    low, high = tango_intervals(gained, lost, 20, 0.025)
    observed = (gained - lost) / 20
    assert np.all((low >= -1) & (low <= observed) & (observed <= high) & (high <= 1))
    inside = (low > -1 + 1e-9) & (observed > -1)
    assert tango_scores(gained, lost, 20, low)[inside] == pytest.approx(-ndtri(0.025), abs=1e-6)
    for number in range(0, len(gained), 17):
        one = PairedCounts(
            n11=20 - gained[number] - lost[number], n10=lost[number], n01=gained[number], n00=0
        )
        assert tango_interval(one, 0.025) == pytest.approx((low[number], high[number]))


@pytest.mark.parametrize("lost", range(0, 31, 3))
def test_the_p_value_is_below_a_level_where_the_interval_is_below_the_margin(lost):
    counts = PairedCounts(n11=60, n10=lost, n01=5, n00=35)
    for level in (0.001, 0.025, 0.1):
        assert (regression_p_value(counts, 0.05) < level) == (tango_interval(counts, level).high < -0.05)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """100,000 tables of 400 items and a true difference of -3 points: each end misses in about 2.5 %."""
    drawn = np.random.default_rng(1).multinomial(400, (0.5, 0.115, 0.085, 0.3), size=100_000)
    low, high = tango_intervals(drawn[:, 2], drawn[:, 1], 400, 0.025)
    assert np.mean(low > -0.03) == pytest.approx(0.025, abs=0.003)
    assert np.mean(high < -0.03) == pytest.approx(0.025, abs=0.003)


@pytest.mark.parametrize("table", [(50, 12, 5, 33), (0, 0, 7, 0), (9, 3, 3, 2), (5000, 310, 250, 4000)])
def test_mcnemar_is_that_of_statsmodels(table):
    n11, n10, n01, n00 = table
    theirs = mcnemar([[n11, n10], [n01, n00]], exact=True).pvalue
    assert mcnemar_p_value(PairedCounts(n11=n11, n10=n10, n01=n01, n00=n00)) == pytest.approx(theirs)


def test_mcnemar_has_nothing_to_say_where_no_item_changed():
    assert mcnemar_p_value(PairedCounts(n11=5, n10=0, n01=0, n00=5)) == 1


def test_scores_are_counted_item_by_item():
    counts = count_pairs([1, 1, 0, 0, True], [1, 0, 1, 0, False])
    assert counts == PairedCounts(n11=1, n10=2, n01=1, n00=1)
    assert (counts.items, counts.base_right, counts.adapter_right) == (5, 3, 2)


def test_scores_that_are_not_paired_are_refused():
    with pytest.raises(ValueError, match="not paired"):
        count_pairs([1, 0], [1])
    with pytest.raises(ValueError, match=r"0 or 1, not 0\.5"):
        count_pairs([1, 0.5], [1, 0])
    with pytest.raises(ValueError, match="without items"):
        tango_interval(PairedCounts(n11=0, n10=0, n01=0, n00=0), 0.025)
    with pytest.raises(ValueError, match=r"between 0 and 0\.5"):
        tango_interval(PairedCounts(n11=1, n10=0, n01=0, n00=0), 0.95)
