"""Log-likelihoods of the same items under base and adapter: the mean difference, studentised bootstrap.

The resampled statistic is the mean in units of its own standard error, so a skewed sample, in which few
items carry the damage, gets an interval that leans as it should (Efron and Tibshirani 1993, chapter 12).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lift_core.evaluation.statistics.paired import Interval

RESAMPLES = 9_999
"""With one less than a round number, the usual levels fall on a resample."""
FEWEST_ITEMS = 20
"""Below it the spread of the sample itself is too uncertain to be resampled."""
_CHUNK_VALUES = 2_000_000


class MeanDifference(NamedTuple):
    """Mean of adapter minus base over ``items`` items, with what its resamples say of its error."""

    items: int
    mean: float
    standard_error: float
    studentised: NDArray[np.float64]
    """Ascending: each resample's distance from the mean, in its own standard errors."""

    def interval(self, one_sided_level: float) -> Interval:
        """The interval whose ends are each wrong with ``one_sided_level``, in the values' unit.

        An end is infinite where too few items differ, or too few resamples were drawn, to bound it.

        Raises:
            ValueError: the level is not between 0 and 0.5.
        """
        if not 0 < one_sided_level < 0.5:
            raise ValueError(f"the level of one end lies between 0 and 0.5, not at {one_sided_level}")
        if self.standard_error == 0:
            return Interval(self.mean, self.mean)
        # The tolerance keeps 10,000 x 0.025 from falling below 250.
        rank = math.floor((len(self.studentised) + 1) * one_sided_level + 1e-9)
        if rank == 0:
            return Interval(-math.inf, math.inf)
        low = self.mean - float(self.studentised[-rank]) * self.standard_error
        high = self.mean - float(self.studentised[rank - 1]) * self.standard_error
        return Interval(low, high)

    def regression_p_value(self, margin: float) -> float:
        """One-sided p-value of "mean >= -margin" against "mean < -margin".

        Never below one in the number of resamples. The upper end of ``interval`` at a level is below
        ``-margin`` exactly where this is at most that level.
        """
        if self.standard_error == 0:
            return 1 / (len(self.studentised) + 1) if self.mean < -margin else 1.0
        observed = (self.mean + margin) / self.standard_error
        as_far = int(np.searchsorted(self.studentised, observed, side="right"))
        return (as_far + 1) / (len(self.studentised) + 1)


def mean_difference(
    base: Sequence[float], adapter: Sequence[float], *, seed: int, resamples: int = RESAMPLES
) -> MeanDifference:
    """Resample the per-item differences of paired values; the same seed gives the same resamples.

    Raises:
        ValueError: the values are not paired, not finite, or fewer than ``FEWEST_ITEMS``.
    """
    if len(base) != len(adapter):
        raise ValueError(f"{len(base)} values of the base and {len(adapter)} of the adapter are not paired")
    if len(base) < FEWEST_ITEMS:
        raise ValueError(f"{len(base)} items are too few to resample; at least {FEWEST_ITEMS} are needed")
    differences = np.asarray(adapter, dtype=np.float64) - np.asarray(base, dtype=np.float64)
    if not np.all(np.isfinite(differences)):
        raise ValueError(f"item {int(np.argmin(np.isfinite(differences)))} has no finite value")
    items = len(differences)
    mean = float(differences.mean())
    # Exactly, so that equal differences have no spread even after rounding.
    if np.ptp(differences) == 0:
        return MeanDifference(items, mean, 0.0, np.zeros(resamples))
    error = float(differences.std(ddof=1)) / math.sqrt(items)
    return MeanDifference(items, mean, error, np.sort(_studentised(differences - mean, resamples, seed)))


def _studentised(centred: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    items = len(centred)
    rows = max(1, _CHUNK_VALUES // items)
    found = []
    for begin in range(0, resamples, rows):
        drawn = centred[generator.integers(items, size=(min(rows, resamples - begin), items))]
        means = drawn.mean(axis=1)
        errors = drawn.std(axis=1, ddof=1) / math.sqrt(items)
        # A resample of one repeated value knows no error: it says that the mean is unbounded on its side.
        errors[np.ptp(drawn, axis=1) == 0] = 0
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(np.where(means == 0, 0.0, means / errors))
    return np.concatenate(found)
