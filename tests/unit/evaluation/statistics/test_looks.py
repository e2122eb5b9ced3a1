"""The looks are paid for: bounds as others compute them, errors within the level, p-values that agree."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import multivariate_normal

from lift_core.evaluation.statistics.looks import look_sizes, plan_looks


def bounds(plan):
    return [-float(ndtri(look.one_sided_level)) for look in plan.looks]


def test_obrien_fleming_bounds_are_those_of_the_package_seqbounds():
    """github.com/PharmCat/SeqBounds.jl, README: four looks, one-sided 0.05; computed on a coarser grid."""
    plan = plan_looks((25, 50, 75, 100), one_sided_level=0.05, spending="obrien-fleming")
    assert bounds(plan) == pytest.approx([3.74955, 2.53993, 2.01604, 1.72014], abs=1e-4)
    assert [look.spent for look in plan.looks] == pytest.approx([8.85754e-5, 0.0055746, 0.0236251, 0.05])


def test_pocock_bound_is_that_of_the_package_seqbounds():
    """Its test: five looks, two-sided 0.05, which is one-sided 0.025 but for crossings of both bounds."""
    plan = plan_looks((20, 40, 60, 80, 100), one_sided_level=0.025, spending="pocock")
    assert bounds(plan)[-1] == pytest.approx(2.385909, abs=2e-4)


@pytest.mark.parametrize("spending", ["pocock", "obrien-fleming"])
@pytest.mark.parametrize(
    "sizes", [(100,), (20, 100), (10, 20, 40, 70, 100), (50, 99, 100), (3000, 6000, 14042)]
)
def test_some_look_errs_with_just_the_level(sizes, spending):
    """The looks' joint normal distribution, integrated by scipy in another way."""
    plan = plan_looks(sizes, one_sided_level=0.025, spending=spending)
    share = np.array([look.fraction for look in plan.looks])
    correlation = np.sqrt(np.minimum.outer(share, share) / np.maximum.outer(share, share))
    none = multivariate_normal(np.zeros(len(share)), correlation, abseps=1e-6, releps=1e-6).cdf(bounds(plan))
    assert 1 - none == pytest.approx(0.025, abs=2e-5)


def test_a_single_look_takes_the_whole_level():
    (look,) = plan_looks((500,), one_sided_level=0.025).looks
    assert (look.items, look.fraction, look.one_sided_level) == (500, 1.0, 0.025)
    assert look.confidence == pytest.approx(0.95)


def test_random_walks_cross_with_the_level():
    """200,000 sums of 400 steps without a drift, looked at five times."""
    plan = plan_looks((50, 100, 200, 300, 400), one_sided_level=0.025)
    generator = np.random.default_rng(0)
    walk, crossed, before = np.zeros(200_000), np.zeros(200_000, dtype=bool), 0
    for look, bound in zip(plan.looks, bounds(plan), strict=True):
        walk += generator.normal(0, np.sqrt(look.items - before), len(walk))
        before = look.items
        crossed |= walk / np.sqrt(before) > bound
    assert crossed.mean() == pytest.approx(0.025, abs=0.0015)


@pytest.mark.parametrize("look", [0, 1, 2])
def test_the_p_value_meets_the_level_where_the_look_decides(look):
    plan = plan_looks((3000, 6000, 14042))
    bound = plan.looks[look].one_sided_level
    assert plan.p_value(look, bound) == pytest.approx(0.025, rel=1e-4)
    assert plan.p_value(look, bound * 0.9) < 0.025 < plan.p_value(look, bound * 1.1)


def test_the_p_value_grows_with_the_nominal_one_and_is_never_smaller():
    plan = plan_looks((1000, 2000, 4000))
    for look in range(3):
        nominal = [1e-15, 1e-9, 1e-4, 0.01, 0.2, 0.6, 1.0]
        found = [plan.p_value(look, each) for each in nominal]
        assert found == sorted(found)
        assert all(paid >= each for paid, each in zip(found, nominal, strict=True))
        assert found[-1] == 1


def test_looks_double_and_end_at_the_full_set():
    assert look_sizes(3000, 14042) == (3000, 6000, 14042)
    assert look_sizes(1000, 16000) == (1000, 2000, 4000, 8000, 16000)
    assert look_sizes(3000, 7017) == (3000, 7017)


@pytest.mark.parametrize("full", [1, 1319, 3000, 4000])
def test_a_set_hardly_larger_than_the_first_look_is_looked_at_once(full):
    assert look_sizes(3000, full) == (full,)


def test_looks_that_do_not_grow_are_refused():
    for sizes in ((), (10, 10), (20, 10), (0, 10)):
        with pytest.raises(ValueError, match="looks at"):
            plan_looks(sizes)
    with pytest.raises(ValueError, match="at least 1"):
        look_sizes(0, 10)
    with pytest.raises(ValueError, match=r"between 0 and 0\.5"):
        plan_looks((10,), one_sided_level=0.95)
