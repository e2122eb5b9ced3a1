"""Right and wrong answers of base and adapter to the same items: Tango's interval and exact McNemar.

A difference is always the adapter's accuracy minus the base's, so a drop is negative. Accuracies and
differences are shares, 0 to 1, never points of 100.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from lift_core.records import Record

Floats = NDArray[np.float64]

# Each halving of [-1, 1] gives one binary digit; a float has 53.
_HALVINGS = 54


class PairedCounts(Record):
    """How many items base and adapter both, one of them, or neither answered right.

    The first digit is the base's, the second the adapter's: ``n10`` items were lost, ``n01`` gained.
    """

    n11: int = Field(ge=0)
    n10: int = Field(ge=0)
    n01: int = Field(ge=0)
    n00: int = Field(ge=0)

    @classmethod
    def of(cls, answers: Iterable[tuple[bool, bool]]) -> PairedCounts:
        """Count items by whether base and adapter answered them right."""
        counts = Counter(answers)
        return cls(
            n11=counts[True, True],
            n10=counts[True, False],
            n01=counts[False, True],
            n00=counts[False, False],
        )

    @property
    def items(self) -> int:
        """The number of items."""
        return self.n11 + self.n10 + self.n01 + self.n00

    @property
    def base_right(self) -> int:
        """The items that the base answered right."""
        return self.n11 + self.n10

    @property
    def adapter_right(self) -> int:
        """The items that the adapter answered right."""
        return self.n11 + self.n01


class Interval(NamedTuple):
    """A confidence interval. An end is infinite where the data cannot bound it."""

    low: float
    high: float


def count_pairs(base: Sequence[bool | int], adapter: Sequence[bool | int]) -> PairedCounts:
    """Count per-item scores, 0 or 1, of the same items in the same order.

    Raises:
        ValueError: the two have different lengths, or a score is neither 0 nor 1.
    """
    if len(base) != len(adapter):
        raise ValueError(f"{len(base)} scores of the base and {len(adapter)} of the adapter are not paired")
    strange = {score for score in (*base, *adapter) if score not in (0, 1)}
    if strange:
        raise ValueError(f"a score of a paired table is 0 or 1, not {sorted(strange)[0]!r}")
    both = list(zip(map(bool, base), map(bool, adapter), strict=True))
    return PairedCounts(
        n11=both.count((True, True)),
        n10=both.count((True, False)),
        n01=both.count((False, True)),
        n00=both.count((False, False)),
    )


def tango_interval(counts: PairedCounts, one_sided_level: float) -> Interval:
    """Tango's (1998) score interval of the difference; each end is wrong with ``one_sided_level``.

    0.025 gives the usual 95 % interval.

    Raises:
        ValueError: there is no item, or the level is not between 0 and 0.5.
    """
    low, high = tango_intervals(counts.n01, counts.n10, counts.items, one_sided_level)
    return Interval(float(low), float(high))


def tango_intervals(
    gained: ArrayLike, lost: ArrayLike, items: ArrayLike, one_sided_level: float
) -> tuple[Floats, Floats]:
    """``tango_interval`` of many tables at once: the lower and the upper ends, in the tables' shape.

    Both ends are found by bisection of ``tango_scores``, which falls as the difference grows.

    Raises:
        ValueError: a table has no item, or the level is not between 0 and 0.5.
    """
    from scipy.special import ndtri

    if not 0 < one_sided_level < 0.5:
        raise ValueError(f"the level of one end lies between 0 and 0.5, not at {one_sided_level}")
    up, down, total = np.broadcast_arrays(
        *(np.asarray(each, dtype=np.float64) for each in (gained, lost, items))
    )
    if np.any(total < 1):
        raise ValueError("a table without items has no interval")
    bound = float(-ndtri(one_sided_level))
    observed = (up - down) / total
    low = _crossing(up, down, total, bound, np.full_like(observed, -1.0), observed)
    high = _crossing(up, down, total, -bound, observed, np.full_like(observed, 1.0))
    return low, high


def tango_scores(gained: ArrayLike, lost: ArrayLike, items: ArrayLike, difference: ArrayLike) -> Floats:
    """Tango's score statistic of the hypothesis that the true difference is ``difference``.

    It has about a standard normal distribution under that hypothesis, and is positive where the
    observed difference is larger. Infinite where the hypothesis cannot have made the table.
    """
    up, down, total, delta = (
        np.asarray(each, dtype=np.float64) for each in (gained, lost, items, difference)
    )
    # The likelihood's maximum over the share of lost items, the difference being held: the larger root of
    # 2n q² + linear q + constant.
    linear = (2 * total - up + down) * delta - up - down
    constant = -down * delta * (1 - delta)
    lost_share = (np.sqrt(np.maximum(linear**2 - 8 * total * constant, 0)) - linear) / (4 * total)
    variance = total * np.maximum(2 * lost_share + delta * (1 - delta), 0)
    distance = up - down - total * delta
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, distance / np.sqrt(variance))


def regression_p_value(counts: PairedCounts, margin: float) -> float:
    """How surprising so large a drop is if the true drop is at most ``margin``: one-sided, by Tango's score.

    The hypothesis is "difference >= -margin", the alternative "difference < -margin"; a small value
    speaks for a regression. The upper end of ``tango_interval`` at a level is below ``-margin`` exactly
    where this is below that level.
    """
    from scipy.special import ndtr

    return float(ndtr(tango_scores(counts.n01, counts.n10, counts.items, -margin)))


def mcnemar_p_value(counts: PairedCounts) -> float:
    """McNemar's exact two-sided p-value: is the accuracy the same? 1 where no item changed.

    Shown for readers. It asks for any difference, however small, and knows no margin.
    """
    from scipy.stats import binom

    changed = counts.n10 + counts.n01
    return min(1.0, 2 * float(binom.cdf(min(counts.n10, counts.n01), changed, 0.5)))


def _crossing(up: Floats, down: Floats, total: Floats, bound: float, left: Floats, right: Floats) -> Floats:
    """Where the score falls through ``bound`` between ``left`` and ``right``."""
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        above = tango_scores(up, down, total, middle) > bound
        left = np.where(above, middle, left)
        right = np.where(above, right, middle)
    return (left + right) / 2
