"""Calibration: which range of each activation INT8 shall cover.

Three estimators work on one collection of histograms. `minmax` keeps every value. `percentile` keeps a share of them.
`entropy` takes the threshold at which the INT8 values tell most about the float values (least Kullback-Leibler
divergence; Migacz, "8-bit inference with TensorRT", 2017). ONNX Runtime has them too; why these are our own is told in
docs/decisions/0014-calibration.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgewright.errors import CalibrationError
from edgewright.pipeline.activations import BINS, Activation

Method = Literal["minmax", "percentile", "entropy"]
# Where ranges come from: an estimator, or quantization-aware training that learned them.
Origin = Method | Literal["aware"]
LEVELS = 256
# Bins of the whole range that entropy works on: 16 per INT8 level. With as many bins as levels there is nothing to choose.
_ENTROPY_BINS = 4096
# Candidate thresholds lie one level of the whole range apart.
_ENTROPY_STRIDE = _ENTROPY_BINS // LEVELS
# A value that repeats exactly (a background, and what a layer makes of it) is a spike in one bin. The divergence takes
# telling it apart from its neighbours for the most precious information there is, and gives all outer values for it: on
# the digits, that cost 80 points. So no bin counts more than twice the median of those within one level around it.
_SPIKE = 2
# The share of a tensor's values, those that repeat exactly apart, that may fall on one INT8 step.
_LARGEST_SHARE_ON_ONE_STEP = 0.99
# Their outputs lie between 0 and 1 by definition, nearly all next to an end where the network is sure.
_BOUNDED = frozenset({"Softmax", "Sigmoid", "HardSigmoid", "SOFTMAX", "LOGISTIC"})
# What gives narrower ranges where all estimators can be had.
NARROWER = "name entropy or percentile in quantize.calibration, or lower quantize.percentile"


@dataclass(frozen=True)
class Ranges:
    """Ranges: tensor name to lowest and highest value."""

    method: Origin
    low_high: dict[str, tuple[float, float]]


def estimate_ranges(activations: tuple[Activation, ...], method: Method, percentile: float) -> Ranges:
    """Estimates the range of every activation.

    Args:
        activations: From ``observe``.
        method: ``minmax``, ``percentile`` or ``entropy``.
        percentile: Share of values that ``percentile`` keeps, in percent; half of the rest goes at either end.

    Raises:
        CalibrationError: A percentile leaves a range without width; the message names the node.
    """
    return Ranges(method, {each.tensor: _range_of(each, method, percentile) for each in activations})


def clipped_share(activation: Activation, low: float, high: float) -> float:
    """Share, 0 to 1, of a tensor's values on the calibration samples that INT8 with this range would cut off.

    INT8 ranges hold zero: a range above zero is widened down to it before values are counted.
    """
    first, end = activation.bin_of(min(low, 0.0)), activation.bin_of(max(high, 0.0))
    total = int(activation.counts.sum())
    return float(total - int(activation.counts[first:end].sum())) / total


def refuse_absurd(activations: tuple[Activation, ...], ranges: Ranges, remedy: str = NARROWER) -> None:
    """Refuses a range so wide for its values that INT8 no longer tells them apart.

    Args:
        activations: What was seen; those without a range are passed over.
        ranges: Their ranges.
        remedy: What gives narrower ranges, for messages.

    Raises:
        CalibrationError: 99 % of a tensor's different values fall on one INT8 step; the message names the node.
    """
    for each in (each for each in activations if each.tensor in ranges.low_high):
        low, high = ranges.low_high[each.tensor]
        share = share_on_one_step(each, low, high)
        if share >= _LARGEST_SHARE_ON_ONE_STEP and each.operator not in _BOUNDED:
            raise CalibrationError(
                f"the range of {each.place} by {ranges.method} is [{low:g}, {high:g}]: {100 * share:.1f} % of its values "
                "(those that repeat exactly apart) fall on one INT8 step: INT8 cannot tell them apart. Look for samples with "
                f"huge values; {remedy}."
            )


def share_on_one_step(activation: Activation, low: float, high: float) -> float:
    """The largest share, 0 to 1, of a tensor's values that lie within one INT8 step of a range.

    Values that repeat exactly do not count: a background may well be 99 % of an image.
    """
    counts = activation.counts.copy()
    for value, times in activation.repeated.items():
        counts[min(int((value - activation.floor) / activation.bin_width), BINS - 1)] -= times
    counts = np.maximum(counts, 0)  # the same value may be rounded to the next bin
    total = int(counts.sum())
    if total == 0:
        return 0.0
    first, end = activation.bin_of(min(low, 0.0)), activation.bin_of(max(high, 0.0))
    inside = _clipped(counts, first, max(end, first + 1))
    step = max(1, round(len(inside) / (LEVELS - 1)))
    running = np.concatenate([[0], np.cumsum(inside)])
    return float((running[step:] - running[:-step]).max()) / total if len(inside) > step else 1.0


def _range_of(activation: Activation, method: Method, percentile: float) -> tuple[float, float]:
    if method == "minmax":
        return activation.low, activation.high
    if method == "entropy":
        first, end = _least_divergence(activation)
        return activation.edge(first), activation.edge(end)
    first, end = _percentile_bins(activation, percentile)
    if end - first <= 1:
        raise CalibrationError(
            f"the range of {activation.place} at {percentile:g} % is [{activation.edge(first):g}, {activation.edge(end):g}]: "
            "it has no width, though the tensor has values outside it. Raise quantize.percentile, or calibrate by minmax or "
            "entropy alone."
        )
    return activation.edge(first), activation.edge(end)


def _percentile_bins(activation: Activation, percentile: float) -> tuple[int, int]:
    """The narrowest bins with at least the asked share of values in them and at most half of the rest at either side."""
    running = np.cumsum(activation.counts)
    cut = (100.0 - percentile) / 200.0 * running[-1]
    return int(np.searchsorted(running, cut, side="right")), int(np.searchsorted(running, running[-1] - cut)) + 1


def _least_divergence(activation: Activation) -> tuple[int, int]:
    """The bins of the symmetric threshold, cut to what was seen, with the least divergence; the wider one among equals."""
    merged = BINS // _ENTROPY_BINS
    counts = _without_spikes(activation.counts.reshape(-1, merged).sum(axis=1))
    zero = round(-activation.floor / activation.bin_width / merged)
    best, least = (0, _ENTROPY_BINS), np.inf
    for reach in range(max(zero, _ENTROPY_BINS - zero), 0, -_ENTROPY_STRIDE):
        first, end = max(0, zero - reach), min(_ENTROPY_BINS, zero + reach)
        if end - first < LEVELS:  # fewer bins than levels have nothing to lose
            break
        divergence = _divergence(counts, first, end)
        if divergence < least:
            best, least = (first, end), divergence
    return best[0] * merged, best[1] * merged


def _divergence(counts: npt.NDArray[np.int64], first: int, end: int) -> float:
    """Kullback-Leibler divergence between the values, clipped to some bins, and what INT8 with that range makes of them."""
    exact = _clipped(counts, first, end).astype(np.float64)
    inside = counts[first:end].astype(np.float64)
    starts = np.arange(LEVELS) * (end - first) // LEVELS
    filled = exact > 0
    # One level spreads its values evenly over those of its bins that any value falls into.
    per_bin = np.add.reduceat(inside, starts) / np.maximum(np.add.reduceat(filled.astype(np.float64), starts), 1)
    rounded = np.repeat(per_bin, np.diff(np.append(starts, end - first))) * filled
    if (
        not inside.any() or (rounded[filled] == 0).any()
    ):  # clipped values where no value was: no such INT8 value is known
        return np.inf
    p, q = exact[filled] / exact.sum(), rounded[filled] / rounded.sum()
    return float((p * np.log(p / q)).sum())


def _clipped(counts: npt.NDArray[np.int64], first: int, end: int) -> npt.NDArray[np.int64]:
    clipped = counts[first:end].copy()
    clipped[0] += counts[:first].sum()
    clipped[-1] += counts[end:].sum()
    return clipped


def _without_spikes(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    reach = _ENTROPY_STRIDE
    around = np.lib.stride_tricks.sliding_window_view(np.pad(counts, reach, mode="reflect"), 2 * reach + 1)
    usual = np.median(around, axis=1).astype(np.int64)
    flattened: npt.NDArray[np.int64] = np.minimum(counts, np.maximum(1, _SPIKE * usual))
    return flattened
