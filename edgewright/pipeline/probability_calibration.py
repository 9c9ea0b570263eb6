"""Whether a classifier is as sure as it is right: the calibration error of the decided classes' probabilities.

The error is a mean of absolute gaps, and the gap of a well calibrated model is noise that never averages out: with 15
bins it shows 3 points at 1,000 samples where the truth is 0. The observed rise of the error over a calibrated reference
is therefore too small, and so is every resample of it. The bound holds gaps with signs against each other instead,
which cancel where both models err alike (``docs/decisions/0012`` has the rates).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import DataError, GateError
from edgewright.pipeline.estimate import Estimate, student_quantile
from edgewright.pipeline.folds import LEAST_GROUPS
from edgewright.pipeline.group_bounds import group_positions, mean_over_classes
from edgewright.pipeline.mean_bounds import mean_estimate
from edgewright.pipeline.paired_quality import Drop, Undecidable
from edgewright.pipeline.predictions import Predictions, check_pair

BINS = 15
# Of fewer samples a bin of 15 holds one or none.
LEAST_SAMPLES = 30
# A gap whose sign is this sure (three standard errors) is no noise.
_SURE_SIGN = 0.99865

Floats = NDArray[np.float64]


def expected_calibration_error(predictions: Predictions, bins: int = BINS) -> float:
    """Mean distance between probability and accuracy over bins of equally many samples.

    Args:
        predictions: A classifier's answers, with the decided class's probability as score.
        bins: How many; equal probabilities share one bin.

    Returns:
        Points, between 0 and 100.

    Raises:
        DataError: There are no samples, no scores, or a score that is no probability.
    """
    return 100.0 * _Binned.of(predictions, bins).error


def rise_bounds(
    candidate: Predictions,
    reference: Predictions,
    groups: tuple[str, ...] | None,
    confidence: float,
    margin_points: float | None = None,
) -> Drop | Undecidable:
    """Bound by how many points the candidate's calibration error is above the reference's.

    Args:
        candidate: Answers of the model under judgement, with probabilities.
        reference: Answers of the model it is compared with.
        groups: Name of every sample's group; None where samples stand by themselves.
        confidence: Of each bound, between 0.5 and 1.
        margin_points: Rise at which a decision will be taken, for ``needed``; None where none will be.

    Raises:
        GateError: The answers do not pair, groups do not fit the samples, or the confidence is out of range.
        DataError: There are no samples, no scores, or a score that is no probability.
    """
    check_pair(candidate, reference, "reference")
    if not 0.5 < confidence < 1:
        raise GateError(f"confidence {confidence} is not between 0.5 and 1")
    if groups is not None and len(groups) != len(candidate):
        raise GateError(
            f"{len(groups)} names of groups for {len(candidate)} samples; give every sample its group's name"
        )
    mine, theirs = _Binned.of(candidate, BINS), _Binned.of(reference, BINS)
    group = np.arange(len(candidate)) if groups is None else group_positions(groups)
    units, least = int(group.max()) + 1, LEAST_SAMPLES if groups is None else LEAST_GROUPS
    figure, word = mine.error - theirs.error, "samples" if groups is None else "groups"
    if units < least:
        return Undecidable(
            f"{units} {word}: fewer than {least} do not show a calibration error",
            f"evaluate on more {word}",
            100 * figure,
            len(candidate),
            None if groups is None else units,
            least,
            "samples" if groups is None else "groups",
        )
    rise, fall = (
        _mean(_above(*models, group), groups is not None, group, confidence)
        for models in ((mine, theirs), (theirs, mine))
    )
    low, high = max(min(-fall.high, figure), -1.0), min(max(rise.high, figure), 1.0)
    bias_low, bias_high = figure + fall.figure, rise.figure - figure
    estimate = Estimate(
        figure,
        low,
        high,
        lambda times: bias_low / math.sqrt(times) + fall.high_reach(times),
        lambda times: bias_high / math.sqrt(times) + rise.high_reach(times),
    )
    return Drop(
        100 * figure,
        100 * low,
        100 * high,
        confidence,
        len(candidate),
        None if groups is None else units,
        None if margin_points is None else estimate.needed(margin_points / 100, units),
        "samples" if groups is None else "groups",
        "t over signed gaps" if groups is None else "t over a jackknife of groups, signed gaps",
    )


@dataclass(frozen=True, eq=False)
class _Binned:
    """Every sample's gap between probability and truth, and the bin it falls into."""

    probability: Floats
    gap: Floats
    bin: NDArray[np.int64]
    bins: int

    @classmethod
    def of(cls, predictions: Predictions, bins: int) -> _Binned:
        score = predictions.score
        if score is None or not len(predictions):
            raise DataError("calibration error: needs at least one sample, with scores; evaluate the model again")
        if score.min() < 0 or score.max() > 1 + 1e-6:
            raise DataError(f"calibration error: scores from {score.min()} to {score.max()} are no probabilities")
        _, position, count = np.unique(score, return_inverse=True, return_counts=True)
        # Halfway through the samples of equal score, so that these stay together.
        middle = (np.cumsum(count) - count / 2)[position]
        bin_of = np.minimum((middle / len(score) * bins).astype(np.int64), bins - 1)
        probability = np.minimum(score.astype(np.float64), 1.0)
        return cls(probability, probability - predictions.correct, bin_of, bins)

    @property
    def sums(self) -> Floats:
        sums: Floats = np.bincount(self.bin, self.gap, self.bins).astype(np.float64)
        return sums

    @property
    def error(self) -> float:
        return float(np.abs(self.sums).sum()) / len(self.gap)

    def spread(self, signs: Floats) -> Floats:
        """Mean over each bin's samples of a sign per sample: float64 [bins]."""
        sums: Floats = np.bincount(self.bin, signs, self.bins).astype(np.float64)
        return sums / np.maximum(np.bincount(self.bin, minlength=self.bins), 1)

    def sure(self, group: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Bins whose gap is surely not 0: bool [bins].

        Held against the spread that is seen between groups and the one that a calibrated model would have, whichever is
        larger, by Bernstein's inequality: a bin of sure answers without an error has no spread at all and says little.
        """
        groups = int(group.max()) + 1
        residual = self.gap - self.spread(self.gap)[self.bin]
        cells = np.bincount(self.bin * groups + group, residual, self.bins * groups).reshape(self.bins, groups)
        seen = (cells**2).sum(axis=1) * groups / (groups - 1)
        calibrated = np.bincount(self.bin, self.probability * (1 - self.probability), self.bins)
        exponent = student_quantile(_SURE_SIGN, groups - 1) ** 2 / 2
        reach = exponent / 3 + np.sqrt((exponent / 3) ** 2 + 2 * exponent * np.maximum(seen, calibrated))
        sure: NDArray[np.bool_] = np.abs(self.sums) > reach
        return sure


def _above(first: _Binned, second: _Binned, group: NDArray[np.int64]) -> Floats:
    """Per sample, what the first model's error has above the second's: float64 [N], whose mean is not below the rise.

    The second model's error is at least its gaps' sum with any signs: with its own, where these are sure; elsewhere with
    those of the first model, so that what both models have in common cancels. The first model's signs are those that
    make the most of the difference: its own may be noise where only the difference is certain.
    """
    sure = second.sure(group)
    own = second.spread(second.gap)
    shared = np.where(sure, 0.0, own)[second.bin]
    signs = np.where(np.bincount(first.bin, first.gap - shared, first.bins) < 0, -1.0, 1.0)[first.bin]
    others = np.where(sure, np.sign(own), second.spread(signs))
    result: Floats = signs * first.gap - others[second.bin] * second.gap
    return result


def _mean(values: Floats, grouped: bool, group: NDArray[np.int64], confidence: float) -> Estimate:
    alone = mean_estimate(values, confidence)
    if not grouped:
        return alone
    return mean_over_classes(values, np.zeros(len(values), np.int64), group, confidence).no_narrower_than(alone)
