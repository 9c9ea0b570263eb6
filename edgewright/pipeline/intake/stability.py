"""The population stability index: how far two distributions are apart, and how far chance alone takes them.

PSI = sum over bins of (p - q) ln(p / q), with the bins' shares p of the new and q of the known samples. Without any drift
it is about chi-squared with bins - 1 degrees of freedom, times 1/n + 1/m (B. Yurdakul and J. Naranjo, "Statistical
properties of the population stability index", Journal of Risk Model Validation 14(4), 2020): with few samples it is large
whatever they are. Samples that come in groups (people, machines) vary by groups: there, chance is how far known groups are
from the other known groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.folds import LEAST_GROUPS

BINS = 10
# An empty bin would make the index infinite: every bin counts half a sample more than it holds.
_HALF = 0.5
_DRAWS = 400

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def stability_index(new: npt.NDArray[Any], known: npt.NDArray[Any]) -> Floats:
    """PSI of counts.

    Args:
        new: Counts of the new samples, ``[..., bins]``.
        known: Counts of the known samples, of the same shape.
    """
    p = (new + _HALF) / (new + _HALF).sum(axis=-1, keepdims=True)
    q = (known + _HALF) / (known + _HALF).sum(axis=-1, keepdims=True)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


@dataclass(frozen=True, eq=False)
class Binned:
    """Samples as the numbers of bins.

    Attributes:
        of_new: Bin of every new sample, ``[N]``.
        of_known: Bin of every known sample, ``[M]``.
        bins: How many there are.
    """

    of_new: Ints
    of_known: Ints
    bins: int

    @cached_property
    def index(self) -> float:
        """The population stability index."""
        return float(stability_index(self._count(self.of_new), self._count(self.of_known)))

    def counts_by(self, units: Ints, count: int) -> Ints:
        """Known samples by unit and bin: ``[count, bins]``."""
        return np.bincount(units * self.bins + self.of_known, minlength=count * self.bins).reshape(count, self.bins)

    @property
    def filled(self) -> int:
        """How many bins hold known samples."""
        return int(np.count_nonzero(self._count(self.of_known)))

    def _count(self, bins: Ints) -> Ints:
        return np.bincount(bins, minlength=self.bins)


def by_deciles(new: Floats, known: Floats) -> Binned:
    """Bins between the deciles of the known samples; where many are equal there are fewer."""
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
    return Binned(np.searchsorted(edges, new), np.searchsorted(edges, known), len(edges) + 1)


def by_class(new: Ints, known: Ints, classes: int) -> Binned:
    """One bin per class."""
    return Binned(new, known, classes)


@dataclass(frozen=True, eq=False)
class Chance:
    """How large an index becomes without any drift.

    Attributes:
        new: How many new samples.
        known: How many known ones.
        new_groups: How many groups the new ones come in; None where samples stand alone.
        of_known: Number of every known sample's group, ``[M]``; None where samples stand alone, or in too few groups.
    """

    new: int
    known: int
    new_groups: int | None = None
    of_known: Ints | None = None

    @classmethod
    def of(cls, new: int, known: int, new_groups: Sequence[str] | None, known_groups: Sequence[str] | None) -> Chance:
        """From the groups' names, one per sample."""
        if new_groups is None or known_groups is None:
            return cls(new, known)
        names, numbers = np.unique(np.array(known_groups), return_inverse=True)
        enough = len(names) >= LEAST_GROUPS
        return cls(new, known, len(set(new_groups)), numbers.astype(np.int64) if enough else None)

    def level(self, features: Sequence[Binned], risk: float) -> list[float]:
        """The level that an index of any of the features exceeds without drift with at most this probability, by feature."""
        alone = [self._of_samples(feature.filled, risk / len(features)) for feature in features]
        if self.of_known is None:
            return alone
        among_groups = float(np.quantile(self._of_groups(features), 1 - risk))
        return [max(level, among_groups) for level in alone]

    def needed(self, bins: int, limit: float, risk: float) -> int | None:
        """How many new samples would bring the level down to the limit; None where no number does, or groups decide."""
        if self.of_known is not None or self.new_groups is not None:
            return None
        left = limit / _chi_squared(bins, risk) - 1 / self.known
        return math.ceil(1 / left) if left > 0 else None

    def draws(self) -> list[npt.NDArray[np.bool_]]:
        """Sets of known groups, as many as the new samples come in: bool ``[groups]`` each, always the same ones."""
        assert self.of_known is not None and self.new_groups is not None
        count = int(self.of_known.max()) + 1
        size = max(1, min(self.new_groups, count // 2))
        random = np.random.default_rng(0)
        drawn = []
        for _ in range(_DRAWS):
            chosen = np.zeros(count, dtype=np.bool_)
            chosen[random.permutation(count)[:size]] = True
            drawn.append(chosen)
        return drawn

    def _of_samples(self, bins: int, risk: float) -> float:
        return _chi_squared(bins, risk) * (1 / self.new + 1 / self.known)

    def _of_groups(self, features: Sequence[Binned]) -> Floats:
        """The largest index of any feature, between drawn groups and the others, by draw."""
        assert self.of_known is not None
        count = int(self.of_known.max()) + 1
        draws = self.draws()
        largest = np.zeros(len(draws))
        for feature in features:
            counts = feature.counts_by(self.of_known, count)
            total = counts.sum(axis=0)
            drawn = np.array([counts[chosen].sum(axis=0) for chosen in draws])
            largest = np.maximum(largest, stability_index(drawn, total - drawn))
        return largest


def _chi_squared(bins: int, risk: float) -> float:
    """The value that a chi-squared variable of bins - 1 degrees of freedom exceeds with this probability."""
    from scipy.stats import chi2  # takes a second to import

    return float(chi2.isf(risk, max(1, bins - 1)))
