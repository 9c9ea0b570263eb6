"""A figure between two bounds, and how far the bounds would reach if more were measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Distance of a bound from the figure, when this many times as much is measured at the same rates.
Reach = Callable[[float], float]
_MOST_UNITS = 10_000_000


@dataclass(frozen=True)
class Estimate:
    """A figure with two one-sided bounds.

    Attributes:
        figure: What was observed.
        low: Lower bound.
        high: Upper bound.
        low_reach: Distance of the lower bound from the figure, by how many times as much is measured.
        high_reach: The same of the upper bound.
    """

    figure: float
    low: float
    high: float
    low_reach: Reach
    high_reach: Reach

    def no_narrower_than(self, other: Estimate) -> Estimate:
        """The same figure, its bounds at least as far away as those of ``other`` are from its own figure."""
        mine, theirs = self, other
        low = max(mine.figure - mine.low, theirs.figure - theirs.low)
        high = max(mine.high - mine.figure, theirs.high - theirs.figure)
        return Estimate(
            mine.figure,
            mine.figure - low,
            mine.figure + high,
            lambda times: max(mine.low_reach(times), theirs.low_reach(times)),
            lambda times: max(mine.high_reach(times), theirs.high_reach(times)),
        )

    @property
    def short_of_one(self) -> Estimate:
        """The estimate of 1 less this figure: a drop below the perfect model becomes a level, and the reverse."""
        return Estimate(1 - self.figure, 1 - self.high, 1 - self.low, self.high_reach, self.low_reach)

    def needed(self, limit: float, units: int) -> int | None:
        """About how many units (samples, groups) would decide on which side of ``limit`` the figure lies.

        Returns:
            The number; ``units`` where the bounds decide already; None where the figure is the limit itself or more
            than 10 million would be needed.
        """
        if self.high <= limit or self.low >= limit:
            return units
        distance, reach = abs(limit - self.figure), self.high_reach if self.figure < limit else self.low_reach
        low, high = 1.0, 1.0
        while reach(high) > distance:
            low, high = high, 2 * high
            if high * units > _MOST_UNITS:
                return None
        while (high - low) * units > max(0.01, 0.001 * high * units):
            middle = (low + high) / 2
            low, high = (low, middle) if reach(middle) <= distance else (middle, high)
        return max(units + 1, math.ceil(high * units))


def t_estimate(values: NDArray[np.float64], confidence: float) -> Estimate:
    """Student's t bounds of a mean.

    Args:
        values: float64 [n], one independent value each, n at least 2.
        confidence: Of each bound.
    """
    count, mean, deviation = len(values), float(values.mean()), float(values.std(ddof=1))
    return t_around(mean, deviation / math.sqrt(count), count, confidence)


def t_around(figure: float, standard_error: float, units: int, confidence: float) -> Estimate:
    """Student's t bounds around a figure whose standard error comes from ``units`` independent units."""

    def reach(times: float) -> float:
        return student_quantile(confidence, units * times - 1) * standard_error / math.sqrt(times)

    return Estimate(figure, figure - reach(1.0), figure + reach(1.0), reach, reach)


def student_quantile(confidence: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, confidence))
