"""Statistics of the gate: what a finite test set can and cannot say, with error rates that hold as promised.

A paired comparison on n samples has ``lost`` (the reference is right, the candidate wrong) and ``gained`` (the
reverse); the drop is (lost - gained) / n. Whether the drop is within a margin is decided by the exact unconditional
test: tables are ordered by Tango's score at the margin, and the p-value is the largest probability, over every rate of
gained samples, of a table at least as favourable as the observed one. Its rate of false passes never exceeds what was
asked for, where bootstrap, Wald and the point estimate exceed it (docs/decisions/0003).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import GateError
from edgewright.pipeline.paired_test import TIE, largest_passing, largest_tail, tango_score

# Bounds are found to 1e-5 (0.001 points), finer than the two decimals that are shown; decisions do not depend on it.
_BOUND_TOLERANCE = 1e-5
# Teeth of the p-value are about half a sample wide (measured at n = 3,000 and 10,000).
_TOOTH = 0.4
_MOST_SAMPLES = 10_000_000
# Above this many samples Tango's score and the exact test need about the same number, and the exact test takes longer.
_CONFIRM_BELOW = 5_000


@dataclass(frozen=True)
class Interval:
    """An estimate between two bounds.

    Attributes:
        point: The estimate, in the unit of the figure it describes.
        low: Lower bound.
        high: Upper bound.
        confidence: Probability that both bounds hold together (two-sided), between 0 and 1.

    Raises:
        GateError: A number is not finite, the bounds do not enclose the point, or the confidence is not in (0, 1).
    """

    point: float
    low: float
    high: float
    confidence: float

    def __post_init__(self) -> None:
        """Refuse an interval that says nothing."""
        if not all(map(math.isfinite, (self.point, self.low, self.high, self.confidence))):
            raise GateError(f"interval {self} holds a number that is not finite; measure again")
        if not self.low <= self.point <= self.high or not 0 < self.confidence < 1:
            raise GateError(f"interval {self} needs low <= point <= high and a confidence between 0 and 1")

    @property
    def confidence_of_each_bound(self) -> float:
        """Confidence of either bound by itself (one-sided)."""
        return (1 + self.confidence) / 2


@dataclass(frozen=True)
class PairedCounts:
    """A paired comparison of two models on the same samples.

    Attributes:
        samples: How many samples both models answered.
        lost: Samples that the reference has right and the candidate wrong.
        gained: Samples that the candidate has right and the reference wrong.

    Raises:
        GateError: The counts are negative, or more than the samples, or there are no samples.
    """

    samples: int
    lost: int
    gained: int

    def __post_init__(self) -> None:
        """Refuse counts that no comparison can have."""
        if self.samples < 1 or min(self.lost, self.gained) < 0 or self.lost + self.gained > self.samples:
            raise GateError(f"{self}: needs at least 1 sample, and lost + gained between 0 and samples")

    @property
    def drop(self) -> float:
        """Lost less gained, as a share of the samples: positive when the candidate is worse."""
        return (self.lost - self.gained) / self.samples

    @property
    def swapped(self) -> PairedCounts:
        """The same comparison seen from the other model."""
        return PairedCounts(self.samples, self.gained, self.lost)

    def scaled_to(self, samples: int) -> PairedCounts:
        """The same rates on another number of samples, rounded to whole samples."""
        factor = samples / self.samples
        lost = min(round(self.lost * factor), samples)
        return PairedCounts(samples, lost, min(round(self.gained * factor), samples - lost))


def tango_upper_bound(counts: PairedCounts, confidence: float) -> float:
    """Upper bound of the drop from Tango's score: quick, but its error rate of 5 % is really up to 5.4 %."""
    limit = -_normal_quantile(confidence)
    low, high = counts.drop, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        if float(tango_score(counts.lost, counts.gained, counts.samples, middle)) <= limit:
            high = middle
        else:
            low = middle
    return high


def tango_interval(counts: PairedCounts, confidence: float) -> Interval:
    """Tango's score interval of the drop; ``confidence`` is that of each bound, the interval's is two-sided."""
    upper, lower = tango_upper_bound(counts, confidence), -tango_upper_bound(counts.swapped, confidence)
    return Interval(counts.drop, lower, upper, 2 * confidence - 1)


@functools.lru_cache(maxsize=4096)
def p_drop_below(counts: PairedCounts, margin: float) -> float:
    """Exact unconditional p-value of "the drop is at least ``margin``": small means that the drop is below it.

    Args:
        counts: The comparison.
        margin: Share of the samples, between -1 and 1 exclusive; 0.01 is one point.

    Returns:
        The p-value; 1 when the observed drop is not below the margin.
    """
    score = float(tango_score(counts.lost, counts.gained, counts.samples, _checked_margin(margin)))
    return 1.0 if score >= 0 else largest_tail(counts.samples, margin, score)


def p_drop_above(counts: PairedCounts, margin: float) -> float:
    """Exact unconditional p-value of "the drop is at most ``margin``": small means that the drop is above it."""
    return p_drop_below(counts.swapped, -margin)


def drop_interval(counts: PairedCounts, confidence: float, margin: float) -> Interval:
    """Bounds of the drop by inverting the exact test, coherent with its decision at the margin.

    ``high <= margin`` exactly when ``p_drop_below(counts, margin) <= 1 - confidence``, and ``low >= margin`` exactly
    when ``p_drop_above(counts, margin) <= 1 - confidence``: the margin itself is the first point that is tried.

    Args:
        counts: The comparison.
        confidence: Confidence of each bound by itself, between 0.5 and 1.
        margin: Share of the samples at which the decision is taken.

    Returns:
        The drop and its bounds as shares; the interval's confidence is the two-sided one.
    """
    high = _upper_bound(counts, _checked_confidence(confidence), _checked_margin(margin))
    low = 0.0 - _upper_bound(counts.swapped, confidence, -margin)
    return Interval(counts.drop, low, high, 2 * confidence - 1)


@functools.lru_cache(maxsize=32)
def largest_passing_lost(samples: int, confidence: float, margin: float) -> NDArray[np.int64]:
    """The whole decision as a table: how many samples may be lost, for each number gained.

    Args:
        samples: Number of pairs.
        confidence: Confidence at which the drop must be below the margin.
        margin: Share of the samples.

    Returns:
        int64 [samples + 1], read-only: the largest ``lost`` that passes with ``gained = index``; -1 where none does.
    """
    alpha = 1 - _checked_confidence(confidence)
    low, high = float(tango_score(0.0, float(samples), samples, _checked_margin(margin))), 0.0
    while high - low > TIE:
        middle = (low + high) / 2
        if largest_tail(samples, margin, middle, stop_above=alpha) <= alpha:
            low = middle
        else:
            high = middle
    table = largest_passing(samples, margin, low - TIE).astype(np.int64)
    table.flags.writeable = False
    return table


def samples_to_decide(counts: PairedCounts, margin: float, confidence: float) -> int | None:
    """About how many samples would decide if the rates stay as they are.

    Tango's score grows with the square root of the number of samples; below 5,000 the answer is confirmed with the
    exact test, which moves in whole samples.

    Returns:
        The number, or None where the observed drop is the margin itself or more than 10 million would be needed.
    """
    score = float(tango_score(counts.lost, counts.gained, counts.samples, margin))
    if abs(score) < TIE:
        return None
    if _decides(counts, margin, confidence):
        return counts.samples
    needed = counts.samples * (_normal_quantile(confidence) / score) ** 2
    if needed > _MOST_SAMPLES:
        return None
    whole = max(math.ceil(needed), counts.samples + 1)
    while whole <= _CONFIRM_BELOW and not _decides(counts.scaled_to(whole), margin, confidence):
        whole = math.ceil(1.03 * whole)
    return whole


def accuracy_lower_bound(correct: float, samples: float, confidence: float) -> float:
    """Clopper-Pearson lower bound of an accuracy, as a share; ``confidence`` is one-sided."""
    from scipy.special import betaincinv

    _check_correct(correct, samples)
    return (
        0.0 if correct == 0 else float(betaincinv(correct, samples - correct + 1, 1 - _checked_confidence(confidence)))
    )


def accuracy_upper_bound(correct: float, samples: float, confidence: float) -> float:
    """Clopper-Pearson upper bound of an accuracy, as a share; ``confidence`` is one-sided."""
    return 1.0 - accuracy_lower_bound(samples - correct, samples, confidence)


def accuracy_interval(correct: int, samples: int, confidence: float = 0.95) -> Interval:
    """Clopper-Pearson interval of an accuracy, as shares; ``confidence`` is two-sided, for display as ±."""
    each = (1 + confidence) / 2
    low, high = accuracy_lower_bound(correct, samples, each), accuracy_upper_bound(correct, samples, each)
    return Interval(correct / samples, low, high, confidence)


def samples_to_decide_accuracy(correct: int, samples: int, floor: float, confidence: float) -> int | None:
    """About how many samples would show the accuracy above (or below) ``floor`` if it stays as it is.

    Returns:
        The number, or None where the accuracy is the floor itself or more than 10 million would be needed.
    """
    rate = correct / samples

    def decided(count: int) -> bool:
        low, high = (
            accuracy_lower_bound(rate * count, count, confidence),
            accuracy_upper_bound(rate * count, count, confidence),
        )
        return low >= floor or high < floor

    high = samples
    while not decided(high):
        high *= 2
        if high > _MOST_SAMPLES:
            return None
    low = high // 2 if high > samples else samples
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle + 1, high)
    return high


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Distribution-free interval of a median: two order statistics, with the coverage that they really have.

    Args:
        values: One independent measurement each, e.g. the ratio of two latencies in one process.
        confidence: Least two-sided coverage asked for.

    Returns:
        The narrowest symmetric pair that covers at least ``confidence``, and its true coverage (7 values: smallest and
        largest, 98.4 %); None when even smallest and largest do not (5 values or fewer at 95 %).

    Raises:
        GateError: A value is not finite.
    """
    ordered = sorted(float(value) for value in values)
    if not all(map(math.isfinite, ordered)):
        raise GateError(f"median of {ordered}: a value is not finite; measure again")
    count, best, outside = len(ordered), None, 0.0
    for rank in range((count + 1) // 2):
        outside += math.comb(count, rank) / 2.0 ** (count - 1)
        if 1 - outside < confidence:
            break
        best = (rank, 1 - outside)
    if best is None:
        return None
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Interval(middle, ordered[best[0]], ordered[count - 1 - best[0]], best[1])


def _decides(counts: PairedCounts, margin: float, confidence: float) -> bool:
    return _below(counts, margin, 1 - confidence) or _below(counts.swapped, -margin, 1 - confidence)


def _below(counts: PairedCounts, margin: float, alpha: float, *, low_rates_only: bool = False) -> bool:
    """``p_drop_below(counts, margin) <= alpha``, left early where a coarse grid already says no."""
    score = float(tango_score(counts.lost, counts.gained, counts.samples, margin))
    if score >= 0:
        return False
    return largest_tail(counts.samples, margin, score, stop_above=alpha, low_rates_only=low_rates_only) <= alpha


@functools.lru_cache(maxsize=4096)
def _upper_bound(counts: PairedCounts, confidence: float, margin: float) -> float:
    """The drop above which the test rejects, on that side of the margin which the decision at the margin names."""
    alpha = 1 - confidence
    if margin > counts.drop and _below(counts, margin, alpha):
        low, end = counts.drop, margin
    else:
        low, end = max(counts.drop, margin), 1.0
    guess = tango_upper_bound(counts, confidence)
    # The exact bound mostly lies less than half a sample above Tango's: trying there first saves ten halvings.
    high = _crossing(counts, alpha, low, end, [guess + share / counts.samples for share in (0.0, 0.15, 0.5, 2.5)])
    # Where few samples differ the p-value is a saw over the hypothetical drop: the bound is the far side of its last
    # tooth. Teeth come from low rates of discordance: looking at those is quick.
    for tooth in np.arange(8.0, 0.0, -_TOOTH) / counts.samples:
        probe = high + float(tooth)
        if probe < end and not _below(counts, probe, alpha, low_rates_only=True):
            return _crossing(counts, alpha, probe, end, [probe + _TOOTH / counts.samples])
    return high


def _crossing(counts: PairedCounts, alpha: float, low: float, high: float, probes: list[float]) -> float:
    """A drop between ``low``, not rejected, and ``high``, rejected, where the one turns into the other."""
    while high - low > _BOUND_TOLERANCE:
        probe = probes.pop(0) if probes else (low + high) / 2
        if low < probe < high:
            low, high = (low, probe) if _below(counts, probe, alpha) else (probe, high)
    return high


def _normal_quantile(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(_checked_confidence(confidence)))


def _checked_confidence(confidence: float) -> float:
    if not 0.5 < confidence < 1:
        raise GateError(f"confidence {confidence} is not between 0.5 and 1")
    return confidence


def _checked_margin(margin: float) -> float:
    if not -1 < margin < 1:
        raise GateError(f"margin {margin} is a share of the samples and must lie between -1 and 1")
    return margin


def _check_correct(correct: float, samples: float) -> None:
    if samples < 1 or not 0 <= correct <= samples:
        raise GateError(f"{correct} right of {samples} samples: needs at least 1 sample and 0 <= right <= samples")
