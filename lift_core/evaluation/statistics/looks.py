"""Looking more than once: which levels the intervals of the looks take so that all of them together hold.

After the first items the guard looks, and asks more only where it cannot decide yet. Each look is one more
chance to be wrong, so the level of each end of the interval is spent over the looks (Lan and DeMets 1983).
The intervals are repeated confidence intervals (Jennison and Turnbull 1989): whatever makes the guard stop,
each end of all of them together is wrong with no more than the plan's level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lift_core.records import Record

Spending = Literal["pocock", "obrien-fleming"]

FAST_MODE_ITEMS = 3_000
"""Items of the first look in fast mode. Not chosen but found: ``lift bench forgetting``."""
ONE_SIDED_LEVEL = 0.025
"""How often each end of the intervals may be wrong, all looks of one measure together."""

_NODES = 400
# In standard deviations. What lies beyond the first is less than a float can add to 1; beyond the second a
# probability is no float any more.
_INTEGRATED = 9.0
_FARTHEST = 38.0
_SMALLEST_P = 1e-12


class Look(Record):
    """One look: after how many items, and the level that each end of its interval takes there."""

    items: int = Field(gt=0)
    fraction: float = Field(gt=0, le=1)
    """Share of the full set's items."""
    spent: float
    """How much of the plan's level is spent up to and with this look."""
    one_sided_level: float
    """The level of each end of this look's interval."""

    @property
    def confidence(self) -> float:
        """Confidence of the look's interval, both ends together."""
        return 1 - 2 * self.one_sided_level


class LookPlan(Record):
    """The looks at one measure of one task, in order; the last one is at the full set."""

    spending: Spending
    one_sided_level: float
    looks: tuple[Look, ...]

    def p_value(self, look: int, nominal: float) -> float:
        """The p-value of look ``look``, counted from 0, with all looks paid for.

        ``nominal`` is the p-value of that look's items alone. The answer is the smallest level at which the
        plan would have decided there, so it may be used however the guard came to stop at that look. Never
        below 1e-12.
        """
        from scipy.optimize import brentq

        fractions = tuple(each.fraction for each in self.looks[: look + 1])

        def excess(exponent: float) -> float:
            return _nominal_levels(fractions, 10**exponent, self.spending)[-1] - nominal

        low, high = math.log10(_SMALLEST_P), math.log10(0.5)
        if excess(high) <= 0:
            return 1.0
        if excess(low) >= 0:
            return _SMALLEST_P
        return float(10 ** brentq(excess, low, high, xtol=1e-6))


def look_sizes(first: int, full: int) -> tuple[int, ...]:
    """The items of each look: ``first``, doubled while that stays well below ``full``, then ``full``.

    A look so near the full set that it would save little is left out.

    Raises:
        ValueError: a number is not positive.
    """
    if first < 1 or full < 1:
        raise ValueError(f"{first} items of {full} are no look; both are at least 1")
    sizes = []
    while first * math.sqrt(2) <= full:
        sizes.append(first)
        first *= 2
    return (*sizes, full)


def plan_looks(
    sizes: Sequence[int], *, one_sided_level: float = ONE_SIDED_LEVEL, spending: Spending = "pocock"
) -> LookPlan:
    """The level of each look at ``sizes`` items; the last size is the full set.

    Raises:
        ValueError: the sizes do not grow, or the level is not between 0 and 0.5.
    """
    if not sizes or sizes[0] < 1 or any(later <= earlier for earlier, later in pairwise(sizes)):
        raise ValueError(f"looks at {list(sizes)} items: each must have more items than the one before")
    if not 0 < one_sided_level < 0.5:
        raise ValueError(f"the level of one end lies between 0 and 0.5, not at {one_sided_level}")
    fractions = tuple(size / sizes[-1] for size in sizes)
    levels = _nominal_levels(fractions, one_sided_level, spending)
    looks = (
        Look(
            items=size,
            fraction=fraction,
            spent=_SPENDING[spending](one_sided_level, fraction),
            one_sided_level=level,
        )
        for size, fraction, level in zip(sizes, fractions, levels, strict=True)
    )
    return LookPlan(spending=spending, one_sided_level=one_sided_level, looks=tuple(looks))


def _pocock(level: float, fraction: float) -> float:
    return level * math.log(1 + (math.e - 1) * fraction)


def _obrien_fleming(level: float, fraction: float) -> float:
    from scipy.special import ndtr, ndtri

    return 2 * float(ndtr(ndtri(level / 2) / math.sqrt(fraction)))


_SPENDING: dict[Spending, Callable[[float, float], float]] = {
    "pocock": _pocock,
    "obrien-fleming": _obrien_fleming,
}


@lru_cache(maxsize=4096)
def _nominal_levels(fractions: tuple[float, ...], level: float, spending: Spending) -> tuple[float, ...]:
    """The one-sided level of each look, by recursive integration (Armitage, McPherson and Rowe 1969).

    The statistic of look k is B(t)/sqrt(t) of a Brownian motion B. ``density`` is that of B at the last
    look where no look before it decided; the bound of the next one leaves out just what it may spend.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    levels = [_SPENDING[spending](level, fractions[0])]
    bound = min(-float(ndtri(levels[0])), _FARTHEST) * math.sqrt(fractions[0])
    place, density = np.zeros(1), np.ones(1)
    before, spent = 0.0, levels[0]
    for fraction, following in pairwise(fractions):
        end = _INTEGRATED * math.sqrt(fraction)
        middle, half = (min(bound, end) - end) / 2, (min(bound, end) + end) / 2
        reached = middle + half * nodes
        density = half * weights * (_normal_density(reached, place, fraction - before) @ density)
        place, before = reached, fraction
        step = math.sqrt(following - fraction)
        spend = _SPENDING[spending](level, following) - spent
        spent += spend

        def excess(
            candidate: float,
            place: NDArray[np.float64] = place,
            density: NDArray[np.float64] = density,
            step: float = step,
            spend: float = spend,
        ) -> float:
            return float(ndtr((place - candidate) / step) @ density) - spend

        farthest = _FARTHEST * math.sqrt(following)
        bound = float(brentq(excess, -farthest, farthest, xtol=1e-12))
        levels.append(float(ndtr(-bound / math.sqrt(following))))
    return tuple(levels)


def _normal_density(
    places: NDArray[np.float64], means: NDArray[np.float64], variance: float
) -> NDArray[np.float64]:
    """Density at each of ``places`` (rows) of normal distributions about ``means`` (columns)."""
    distance = places[:, None] - means[None, :]
    density: NDArray[np.float64] = np.exp(-(distance**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    return density
