"""Bounds of a mean of single samples whose distribution may be skewed, as errors' differences are.

Student's t is too sure of itself on the side of the long tail. Hall's transformation takes out the skewness that was
seen; one more sample, as far out as the farthest seen, stands for the tail that was not. The wider of both bounds is
used, so that a skewness that the sample happens to show never narrows a bound.

Source: P. Hall, Journal of the Royal Statistical Society B 54 (1992) 221-228.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgewright.pipeline.estimate import Estimate, student_quantile


def mean_estimate(values: NDArray[np.float64], confidence: float) -> Estimate:
    """Bounds of the mean of independent values.

    Args:
        values: float64 [n], n at least 2.
        confidence: Of each bound.
    """
    mean, upper, lower = float(values.mean()), _Tail.of(values), _Tail.of(-values)

    def high_reach(times: float) -> float:
        return upper.reach(times, confidence)

    def low_reach(times: float) -> float:
        return lower.reach(times, confidence)

    return Estimate(mean, mean - low_reach(1.0), mean + high_reach(1.0), low_reach, high_reach)


@dataclass(frozen=True)
class _Tail:
    """Values and their largest once more: how far its mean lies above theirs, its spread and its skewness."""

    count: int
    shift: float
    deviation: float
    skewness: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> _Tail:
        more = np.append(values, values.max())
        mean, deviation = float(more.mean()), float(more.std())
        skewness = float(np.mean(((more - mean) / deviation) ** 3)) if deviation > 0 else 0.0
        return cls(len(values), max(mean - float(values.mean()), 0.0), deviation, skewness)

    def reach(self, times: float, confidence: float) -> float:
        """Distance of the upper bound from the mean."""
        return self.shift / times + self.deviation * _reach(self.skewness, self.count * times, confidence)


def _reach(skewness: float, count: float, confidence: float) -> float:
    """Distance of the upper bound from the mean, in standard deviations."""
    quantile = student_quantile(confidence, count - 1)
    plain = quantile / math.sqrt(count - 1)
    if abs(skewness) < 1e-6:
        return plain
    inner = 1 + skewness * (-quantile / math.sqrt(count - 1) - skewness / (6 * count))
    return max(plain, -3 / skewness * (math.cbrt(inner) - 1))
