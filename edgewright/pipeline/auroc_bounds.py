"""Bounds of an AUROC, and of how much lower it is than another model's on the same samples, by paired bootstrap."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgewright.pipeline.bootstrap import Floats, Ranking, resamples_for, weights
from edgewright.pipeline.estimate import Estimate, student_quantile


def over_samples(candidate: Ranking, other: Ranking | None, confidence: float, rng: np.random.Generator) -> Estimate:
    """Bounds of the drop where every sample stands by itself.

    The test set may lack the kind of sample on which the candidate fails. So every resample holds, besides the samples,
    one anomaly and one normal sample that are as bad as can be, with a random weight like any other's. For a share of
    right answers that gives Clopper and Pearson's bound exactly; for other bounded means it is Gaffke's bound.

    Source: E. Learned-Miller, P. S. Thomas, arXiv 1905.06208 (Gaffke's bound).

    Args:
        candidate: Ranking of the model under judgement.
        other: Ranking of the model it is compared with; None for a perfect one, whose AUROC is 1.
        confidence: Of each bound.
        rng: Generator of the weights.

    Returns:
        Shares; the upper bound is at most 1, the lower at least -1, or 0 against a perfect model.
    """
    anomalies, normal = len(candidate.anomalous), len(candidate.normal)
    resamples = resamples_for(confidence)
    drops = np.concatenate(
        [_drop(candidate, other, portion) for portion in weights(rng, anomalies + normal, resamples)]
    )
    seen = (1 - rng.beta(1, anomalies, resamples)) * (1 - rng.beta(1, normal, resamples))
    worst, best = 1.0, 0.0 if other is None else -1.0
    figure = float(_drop(candidate, other, np.ones(anomalies + normal)))
    high, high_seen = (_upper(each, confidence) for each in (seen * drops + (1 - seen) * worst, drops))
    low, low_seen = (-_upper(-each, confidence) for each in (seen * drops + (1 - seen) * best, drops))
    return Estimate(
        figure,
        min(low, figure),
        max(high, figure),
        lambda times: (figure - low_seen) / math.sqrt(times) + (low_seen - low) / times,
        lambda times: (high_seen - figure) / math.sqrt(times) + (high - high_seen) / times,
    )


def over_groups(
    candidate: Ranking,
    other: Ranking | None,
    group: NDArray[np.int64],
    units: int,
    confidence: float,
    rng: np.random.Generator,
) -> Estimate:
    """Bounds of the drop where groups count and samples do not.

    Student's t with the bootstrap's standard error, and on the side of the long tail the first term of the expansion by
    skewness (Cornish, Fisher): where groups shift scores, few of them make up most of a drop.

    Args:
        candidate: Ranking of the model under judgement.
        other: Ranking of the model it is compared with; None for a perfect one.
        group: int64 [N], position of each sample's group.
        units: How many groups hold the label that fewer of them hold.
        confidence: Of each bound.
        rng: Generator of the weights.

    Returns:
        Shares.
    """
    groups = int(group.max()) + 1
    figure = float(_drop(candidate, other, np.ones(len(group))))
    drops = np.concatenate(
        [
            _drop(candidate, other, part[:, group])
            for portion in weights(rng, groups, resamples_for(confidence))
            for part in np.array_split(portion, -(-portion.shape[0] * len(group) // 2_000_000))
        ]
    )
    # Random weights of G groups spread a mean by sqrt((G - 1) / (G + 1)) of its standard error, and skew it twice as much.
    spread = float(np.sqrt(np.mean((drops - figure) ** 2)))
    error = spread * math.sqrt((units + 1) / (units - 1))
    skewness = float(np.mean((drops - figure) ** 3)) / (2 * spread**3) if spread > 0 else 0.0

    def reach(times: float, skewed: float) -> float:
        quantile = student_quantile(confidence, units * times - 1)
        tail = (2 * quantile**2 + 1) / 6 * max(skewed, 0.0) / math.sqrt(times)
        return error / math.sqrt(times) * (quantile + tail)

    return Estimate(
        figure,
        figure - reach(1.0, -skewness),
        figure + reach(1.0, skewness),
        lambda times: reach(times, -skewness),
        lambda times: reach(times, skewness),
    )


def _drop(candidate: Ranking, other: Ranking | None, weight: Floats) -> Floats:
    best: Floats | float = 1.0 if other is None else other.auroc(weight)
    return np.asarray(best - candidate.auroc(weight))


def _upper(values: Floats, confidence: float) -> float:
    return float(np.quantile(values, confidence, method="higher"))
