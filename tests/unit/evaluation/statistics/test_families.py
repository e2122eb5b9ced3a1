"""Alerts over many adapters: as statsmodels has them, and false ones stay rare."""

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from lift_core.evaluation.statistics.families import adjusted_p_values, alerts, any_of


@pytest.mark.parametrize("size", [1, 2, 17, 500])
def test_adjusted_p_values_and_alerts_are_those_of_statsmodels(size):
    values = np.random.default_rng(size).beta(0.4, 2, size)
    values[size // 2 :: 5] = values[0]  # ties
    family = {f"adapter-{number}": float(value) for number, value in enumerate(values)}
    rejected, adjusted, *_ = multipletests(values, alpha=0.05, method="fdr_bh")
    assert list(adjusted_p_values(family).values()) == pytest.approx(adjusted)
    assert list(alerts(family, 0.05)) == [name for name, flag in zip(family, rejected, strict=True) if flag]


def test_the_family_keeps_its_order_and_an_empty_one_alerts_nothing():
    assert alerts({"b": 0.001, "a": 0.9, "c": 0.0005}, 0.05) == ("b", "c")
    assert alerts({}, 0.05) == ()


def test_false_alerts_are_a_share_below_the_rate_though_the_adapters_share_their_items():
    """1,000 families of 40 adapters, 10 damaged; errors correlated by half, as they share the base."""
    generator = np.random.default_rng(0)
    truth = np.repeat([-3.0, 0.0], [10, 30])
    shares, found = [], []
    for _ in range(1_000):
        noise = np.sqrt(0.5) * generator.normal() + np.sqrt(0.5) * generator.normal(size=40)
        family = {str(number): float(p) for number, p in enumerate(norm.cdf(truth + noise))}
        flagged = [int(name) for name in alerts(family, 0.1)]
        shares.append(sum(number >= 10 for number in flagged) / max(1, len(flagged)))
        found.append(sum(number < 10 for number in flagged))
    assert np.mean(shares) < 0.1
    assert np.mean(found) > 5


def test_an_adapters_p_value_pays_for_its_tasks():
    assert any_of([0.01, 0.4]) == pytest.approx(0.02)
    assert any_of([0.9, 0.8]) == 1
    with pytest.raises(ValueError, match="no task"):
        any_of([])


def test_what_is_no_p_value_is_named():
    with pytest.raises(ValueError, match=r"the p-value of x is nan"):
        adjusted_p_values({"x": float("nan")})
