"""The mean difference of paired values: covers what it says, leans as its sample, knows its limits."""

import math

import numpy as np
import pytest
from scipy import stats

from lift_core.evaluation.statistics.bootstrap import FEWEST_ITEMS, mean_difference


def drawn(differences, seed=0, resamples=9_999):
    return mean_difference([0.0] * len(differences), list(differences), seed=seed, resamples=resamples)


def test_the_difference_is_adapter_minus_base_and_the_seed_settles_the_rest():
    generator = np.random.default_rng(0)
    base, adapter = generator.normal(-2, 1, 300), generator.normal(-2.1, 1, 300)
    found = mean_difference(base, adapter, seed=5)
    assert found.mean == pytest.approx(adapter.mean() - base.mean())
    assert found.standard_error == pytest.approx(stats.sem(adapter - base))
    assert found.interval(0.025) == mean_difference(base, adapter, seed=5).interval(0.025)
    assert found.interval(0.025) != mean_difference(base, adapter, seed=6).interval(0.025)


def test_normal_values_get_students_interval():
    values = np.random.default_rng(2).normal(-0.1, 0.5, 1_000)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert drawn(values).interval(0.025) == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_a_skewed_sample_gets_about_the_interval_of_scipys_bca():
    values = -np.random.default_rng(3).exponential(0.3, 2_000)
    theirs = stats.bootstrap(
        (values,), np.mean, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    ours = drawn(values).interval(0.025)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.001)
    assert values.mean() - ours.low > ours.high - values.mean()


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """2,000 samples of 100 items in which few carry the damage: each end misses in about 5 %.

    The plain interval of mean and standard error is much too short on the side of the damage here.
    """
    generator = np.random.default_rng(4)
    low, high, plain = [], [], []
    for number in range(2_000):
        values = -generator.lognormal(-2, 1, 100)
        found = drawn(values, seed=number, resamples=999)
        ends = found.interval(0.05)
        low.append(ends.low)
        high.append(ends.high)
        plain.append(found.mean + float(stats.norm.ppf(0.05)) * found.standard_error)
    truth = -math.exp(-2 + 0.5)
    assert np.mean(np.array(low) > truth) < 0.08
    assert np.mean(np.array(plain) > truth) > 0.10
    assert 0.02 < np.mean(np.array(high) < truth) < 0.07


def test_the_p_value_is_at_most_a_level_where_the_interval_is_below_the_margin():
    values = np.random.default_rng(6).normal(-0.1, 0.4, 200)
    found = drawn(values)
    for margin in (0.02, 0.05, 0.06, 0.07, 0.1):
        for level in (0.001, 0.01, 0.025, 0.1):
            assert (found.regression_p_value(margin) <= level) == (found.interval(level).high < -margin)


def test_an_adapter_that_changes_nothing_differs_by_exactly_nothing():
    found = mean_difference([-1.25] * 50, [-1.25] * 50, seed=0)
    assert found.interval(0.001) == (0, 0)
    assert found.regression_p_value(0.05) == 1


def test_the_same_loss_on_every_item_is_no_accident():
    found = drawn([-0.25] * 50)
    assert found.interval(0.001) == (-0.25, -0.25)
    assert found.regression_p_value(0.05) == pytest.approx(0.0001)


def test_a_single_damaged_item_bounds_the_damage_on_no_side_that_it_could_lie_on():
    low, high = drawn([-3.0] + [0.0] * 49).interval(0.025)
    assert low == -math.inf
    assert high == pytest.approx(0, abs=0.1)


def test_a_level_finer_than_the_resamples_has_no_bound():
    values = np.random.default_rng(7).normal(0, 1, 100)
    assert drawn(values, resamples=999).interval(0.0005) == (-math.inf, math.inf)


def test_what_cannot_be_resampled_is_refused():
    with pytest.raises(ValueError, match="not paired"):
        mean_difference([0.0] * 30, [0.0] * 29, seed=0)
    with pytest.raises(ValueError, match=f"at least {FEWEST_ITEMS}"):
        drawn([0.0] * (FEWEST_ITEMS - 1))
    with pytest.raises(ValueError, match="item 7 has no finite value"):
        drawn([0.0] * 7 + [math.nan] + [0.0] * 30)
