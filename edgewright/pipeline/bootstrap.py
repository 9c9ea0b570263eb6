"""Bounds by a paired bootstrap with random weights, for figures that are no mean of the samples: AUROC.

Instead of drawing samples again, every sample (or group) gets a random weight: exponential, so that the weights of n of
them are spread uniformly over all ways to share out 1 (Rubin's Bayesian bootstrap). No label ever vanishes from a
resample, scores are sorted once, and both models get the same weights.

Source: D. B. Rubin, Annals of Statistics 9 (1981) 130-134.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import GateError

Floats = NDArray[np.float64]

RESAMPLES = 2000
MOST_RESAMPLES = 40_000
# So many weights are held at a time: 16 MB.
_WEIGHTS_AT_ONCE = 2_000_000


def seeded(sample_sha256: Sequence[str]) -> np.random.Generator:
    """A generator that follows from the samples alone: the same test set is resampled the same way for every model."""
    return np.random.default_rng(np.frombuffer(hashlib.sha256("".join(sample_sha256).encode()).digest(), np.uint32))


def resamples_for(confidence: float) -> int:
    """How many resamples: enough that 40 of them lie beyond a bound, and 1 for the most confident bound allowed.

    Raises:
        GateError: A bound of this confidence would need more resamples than are drawn.
    """
    if (1 - confidence) * MOST_RESAMPLES < 1:
        raise GateError(f"confidence {confidence}: a bootstrap of {MOST_RESAMPLES} resamples shows at most 0.999975")
    return min(max(RESAMPLES, math.ceil(40 / (1 - confidence))), MOST_RESAMPLES)


def weights(rng: np.random.Generator, units: int, resamples: int) -> Iterator[Floats]:
    """Exponential weights in portions: float64 [portion, units] each, ``resamples`` rows in all."""
    portion = max(1, _WEIGHTS_AT_ONCE // units)
    for start in range(0, resamples, portion):
        yield rng.standard_exponential((min(portion, resamples - start), units))


@dataclass(frozen=True, eq=False)
class Ranking:
    """Where the anomalies of one model stand among its normal samples.

    Attributes:
        normal: int64 [normal samples], positions of the normal samples by rising score.
        anomalous: int64 [anomalies], positions of the anomalies.
        below: int64 [anomalies], how many normal samples score lower than each anomaly.
        upto: int64 [anomalies], how many score no higher.
    """

    normal: NDArray[np.int64]
    anomalous: NDArray[np.int64]
    below: NDArray[np.int64]
    upto: NDArray[np.int64]

    @classmethod
    def of(cls, anomalous: NDArray[np.bool_], score: NDArray[np.floating]) -> Ranking:
        """Sort once."""
        positions, normal = np.flatnonzero(anomalous), np.flatnonzero(~anomalous)
        normal = normal[np.argsort(score[normal], kind="stable")]
        below, upto = (np.searchsorted(score[normal], score[positions], side) for side in ("left", "right"))
        return cls(normal, positions, below, upto)

    def auroc(self, weight: Floats) -> Floats:
        """AUROC under sample weights: float64 [..., N] -> float64 [...]; equal scores count half."""
        passed = np.cumsum(weight[..., self.normal], axis=-1)
        passed = np.concatenate([np.zeros_like(passed[..., :1]), passed], axis=-1)
        own = weight[..., self.anomalous]
        above = np.einsum("...i,...i->...", own, (passed[..., self.below] + passed[..., self.upto]) / 2)
        result: Floats = above / (own.sum(axis=-1) * passed[..., -1])
        return result
