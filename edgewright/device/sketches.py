"""Figures of fixed size: what a device says about a million answers takes as much room as what it says about ten.

Everything here is plain Python, because the agent's own process has no numpy. Nothing here locks: the owner does.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

RELATIVE_ERROR = 0.02
"""A percentile of latency differs from the exact one by at most this share of it."""
LOWEST_MS, HIGHEST_MS = 0.001, 600_000.0
"""Between these the relative error holds; what lies outside is counted at the bound."""

_PSI_OF_SHIFT = 0.25  # from here on a population stability index is commonly read as a major shift
_TIMES_CHANCE = 3  # and it must be so many times what chance gives
_GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GROWTH = math.log(_GROWTH)
_BUCKETS = math.ceil(math.log(HIGHEST_MS / LOWEST_MS) / _LOG_GROWTH) + 1
_CONFIDENCE_BINS = 20
_MOST_LABELS = 64
_LABEL_CHARACTERS = 100
_OTHER = "(other)"
_REFERENCE_SAMPLES = 500
_DECILES = 10


class LatencyHistogram:
    """Latencies in logarithmic buckets: bucket i holds what lies in (b·g^(i-1), b·g^i], told as the point between.

    Attributes:
        count: How many were added.
        total_ms: Their sum.
        maximum_ms: The greatest, exact.
    """

    def __init__(self) -> None:
        self._buckets = array("Q", bytes(8 * _BUCKETS))
        self.count, self.total_ms, self.maximum_ms = 0, 0.0, 0.0

    def add(self, latency_ms: float) -> None:
        """Count one latency; what is no finite number of at least 0 is left out."""
        if not 0 <= latency_ms < math.inf:
            return
        bounded = min(max(latency_ms, LOWEST_MS), HIGHEST_MS)
        self._buckets[min(_BUCKETS - 1, math.ceil(math.log(bounded / LOWEST_MS) / _LOG_GROWTH))] += 1
        self.count += 1
        self.total_ms += latency_ms
        self.maximum_ms = max(self.maximum_ms, latency_ms)

    def percentile(self, share: float) -> float | None:
        """Give a percentile in ms by the nearest rank, within `RELATIVE_ERROR` of the exact one; None without latencies.

        Args:
            share: From 0 to 1, e.g. 0.95.
        """
        if not self.count:
            return None
        rank, seen = max(1, math.ceil(share * self.count)), 0
        for index, count in enumerate(self._buckets):
            seen += count
            if seen >= rank:
                return 2 * LOWEST_MS * _GROWTH**index / (_GROWTH + 1)
        raise AssertionError("the buckets hold as many as were counted")

    def to_json(self) -> dict[str, Any]:
        """Give percentiles and the buckets that are not empty: two devices' histograms can be added by index."""
        return {
            "count": self.count,
            "mean": _rounded(self.total_ms / self.count) if self.count else None,
            "p50": _rounded(self.percentile(0.50)),
            "p95": _rounded(self.percentile(0.95)),
            "p99": _rounded(self.percentile(0.99)),
            "maximum": _rounded(self.maximum_ms) if self.count else None,
            "relative_error": RELATIVE_ERROR,
            "lowest": LOWEST_MS,
            "buckets": {str(index): count for index, count in enumerate(self._buckets) if count},
        }


class ConfidenceHistogram:
    """Confidences in 20 bins of equal width from 0 to 1."""

    def __init__(self) -> None:
        self.bins = [0] * _CONFIDENCE_BINS

    def add(self, confidence: float) -> None:
        """Count one; what does not lie from 0 to 1 is left out."""
        if 0 <= confidence <= 1:
            self.bins[min(_CONFIDENCE_BINS - 1, int(confidence * _CONFIDENCE_BINS))] += 1


class LabelCounts:
    """How often each label was answered: the first 64 labels by name, all others together."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._other = 0

    def add(self, label: str) -> None:
        """Count one."""
        label = label[:_LABEL_CHARACTERS]
        if label in self._counts or len(self._counts) < _MOST_LABELS:
            self._counts[label] = self._counts.get(label, 0) + 1
        else:
            self._other += 1

    def to_json(self) -> dict[str, int]:
        """Give the counts by label, and the rest under ``(other)``."""
        return {**self._counts, **({_OTHER: self._other} if self._other else {})}


class ValueRange:
    """Values or anomaly scores that were answered: how many, their mean, the least and the greatest."""

    def __init__(self) -> None:
        self._count, self._mean = 0, 0.0
        self._least, self._greatest = math.inf, -math.inf

    def add(self, value: float) -> None:
        """Count one; what is not finite is left out."""
        if math.isfinite(value):
            self._count += 1
            self._mean += (value - self._mean) / self._count
            self._least, self._greatest = min(self._least, value), max(self._greatest, value)

    def to_json(self) -> dict[str, Any]:
        """Give the figures; None where there is no value."""
        some = self._count > 0
        return {
            "count": self._count,
            "mean": _rounded(self._mean) if some else None,
            "minimum": _rounded(self._least) if some else None,
            "maximum": _rounded(self._greatest) if some else None,
        }


class DriftSketch:
    """How far the inputs have moved: a histogram of each sample's mean against the one of the first samples.

    The first 500 means settle the bins (their deciles, and one bin on either side of all of them). From then on windows of
    at least 500 are compared with them by the population stability index (PSI). Two windows of the same distribution
    differ too, by about `noise`: an index is read against it.
    """

    def __init__(self, reference_samples: int = _REFERENCE_SAMPLES) -> None:
        self._wanted = reference_samples
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget the reference: another model's inputs may be others."""
        self._first: list[float] = []
        self._edges: list[float] = []
        self._reference: list[int] = []
        self._current: list[int] = []
        self.psi: float | None = None
        self.noise: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether there is a reference."""
        return bool(self._edges)

    def add(self, mean: float) -> None:
        """Count one sample's mean."""
        if not math.isfinite(mean):
            return
        if self.is_settled:
            self._current[bisect_right(self._edges, mean)] += 1
            return
        self._first.append(mean)
        if len(self._first) >= self._wanted:
            self.settle(self._first)

    def settle(self, means: Sequence[float]) -> None:
        """Take these as the reference, e.g. the means of golden samples."""
        ordered = sorted(means)
        inner = [ordered[len(ordered) * part // _DECILES] for part in range(_DECILES)]
        self._edges = sorted({*inner, math.nextafter(ordered[-1], math.inf)})
        self._reference = [0] * (len(self._edges) + 1)
        for mean in ordered:
            self._reference[bisect_right(self._edges, mean)] += 1
        self._current = [0] * len(self._reference)
        self._first = []

    def close_window(self) -> bool:
        """Compare, if the window has enough samples, and begin the next one; says whether it did."""
        seen, known = sum(self._current), sum(self._reference)
        if not self.is_settled or seen < self._wanted:
            return False
        bins = len(self._reference)
        shares = [
            ((now + 0.5) / (seen + bins / 2), (then + 0.5) / (known + bins / 2))
            for now, then in zip(self._current, self._reference, strict=True)
        ]
        self.psi = sum((now - then) * math.log(now / then) for now, then in shares)
        self.noise = (bins - 1) * (1 / seen + 1 / known)
        self._current = [0] * bins
        return True

    def to_json(self) -> dict[str, Any]:
        """Give the index of the last whole window and how many samples the next one has."""
        return {
            "psi": _rounded(self.psi),
            "noise": _rounded(self.noise),
            "reference_samples": sum(self._reference) if self.is_settled else len(self._first),
            "window_samples": sum(self._current),
            "window_needed": self._wanted,
        }

    def reference(self) -> dict[str, list[float]]:
        """Give what must outlive a restart: a reference learnt anew would take drifted inputs for normal."""
        return {"edges": list(self._edges), "counts": [float(count) for count in self._reference]}

    def restore(self, edges: Sequence[float], counts: Sequence[float]) -> bool:
        """Take up a reference of an earlier run; says whether it is one."""
        ordered = list(edges) == sorted(set(edges)) and all(math.isfinite(edge) for edge in edges)
        if not edges or not ordered or len(counts) != len(edges) + 1 or min(counts) < 0 or sum(counts) < 1:
            return False
        self._edges, self._reference = list(edges), [int(count) for count in counts]
        self._current, self._first = [0] * len(counts), []
        return True


def is_drift(psi: float | None, noise: float | None) -> bool:
    """Say whether an index tells of inputs that have moved: it is large, and far above what chance gives.

    Args:
        psi: The population stability index; None where no window is whole yet.
        noise: What it is about where nothing has moved; None: not known.
    """
    return psi is not None and psi >= _PSI_OF_SHIFT and psi > _TIMES_CHANCE * (noise or 0)


def _rounded(value: float | None) -> float | None:
    """Four digits; None for what JSON has no number for, which sums of the greatest floats are."""
    rounded = math.nan if value is None else float(f"{value:.4g}")
    return rounded if math.isfinite(rounded) else None
