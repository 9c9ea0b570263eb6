"""Bounds of figures that count right answers, each sample by itself: accuracy, and balanced accuracy over classes.

Balanced accuracy is the mean of the classes' recalls. Its bounds are put together from the classes' own exact bounds by
the method of variance estimates recovery (MOVER): the distances of the classes' bounds, weighted, add up as squares do.

Source: G. Y. Zou, A. Donner, Statistics in Medicine 27 (2008) 1693-1702.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgewright.pipeline.estimate import Estimate
from edgewright.pipeline.statistics import (
    PairedCounts,
    accuracy_lower_bound,
    accuracy_upper_bound,
    drop_interval,
    tango_upper_bound,
)


def drop_estimate(classes: Sequence[PairedCounts], confidence: float, margin: float) -> Estimate:
    """Bounds of the mean of the classes' drops; of one class, the exact test's own bounds.

    Args:
        classes: One comparison per class.
        confidence: Of each bound.
        margin: Share at which the decision will be taken: the classes' bounds are searched from there.

    Returns:
        Shares.
    """
    intervals = [drop_interval(counts, confidence, margin) for counts in classes]
    figure = float(np.mean([counts.drop for counts in classes]))
    if len(classes) == 1:
        low, high = intervals[0].low, intervals[0].high
    else:
        low = figure - _together([interval.point - interval.low for interval in intervals])
        high = figure + _together([interval.high - interval.point for interval in intervals])

    def reach(times: float, swapped: bool) -> float:
        scaled = [counts.scaled_to(round(counts.samples * times)) for counts in classes]
        scaled = [counts.swapped for counts in scaled] if swapped else scaled
        # Tango's closed form: the exact bounds of a search's every step would take minutes.
        return _together([tango_upper_bound(counts, confidence) - counts.drop for counts in scaled])

    return Estimate(figure, low, high, lambda times: reach(times, True), lambda times: reach(times, False))


def recall_estimate(right: Sequence[int], samples: Sequence[int], confidence: float) -> Estimate:
    """Bounds of the mean of the classes' recalls; of one class, Clopper and Pearson's.

    Args:
        right: How many of each class were answered right.
        samples: How many samples each class has.
        confidence: Of each bound.

    Returns:
        Shares.
    """
    rates = [hits / count for hits, count in zip(right, samples, strict=True)]
    figure = float(np.mean(rates))

    def low_reach(times: float) -> float:
        return _together(
            rate - accuracy_lower_bound(rate * count * times, count * times, confidence)
            for rate, count in zip(rates, samples, strict=True)
        )

    def high_reach(times: float) -> float:
        return _together(
            accuracy_upper_bound(rate * count * times, count * times, confidence) - rate
            for rate, count in zip(rates, samples, strict=True)
        )

    return Estimate(figure, figure - low_reach(1.0), figure + high_reach(1.0), low_reach, high_reach)


def class_counts(
    mine_right: NDArray[np.bool_], other_right: NDArray[np.bool_], members: Sequence[NDArray[np.int64]]
) -> list[PairedCounts]:
    """Lost and gained samples of each class, given the positions of its samples."""
    lost, gained = other_right & ~mine_right, mine_right & ~other_right
    return [
        PairedCounts(len(each), int(np.count_nonzero(lost[each])), int(np.count_nonzero(gained[each])))
        for each in members
    ]


def _together(reaches: Iterable[float]) -> float:
    squares = [reach * reach for reach in reaches]
    return math.sqrt(math.fsum(squares)) / len(squares)
