"""Figure: the integer range of every layer against what was really seen there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgewright.pipeline.calibration_audit import CalibrationAudit, TensorRange
from edgewright.pipeline.reporting.drawing import Drawing, legend_below, new_figure, shortened, style
from edgewright.pipeline.reporting.palette import INK, MUTED, RIGHT, SERIES, WRONG

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TENSORS = 40
# Decades on each side of zero: enough to compare layers, few enough for the ticks.
_DECADES = 3


def draw(title: str, calibration: CalibrationAudit) -> Drawing | None:
    """Chosen range and observed extremes of each tensor on a symmetric logarithmic axis.

    Args:
        title: Says of what.
        calibration: The audit's figures.

    Returns:
        The drawing; None where there are no ranges.
    """
    if not calibration.tensors:
        return None
    shown = most_notable(calibration.tensors)
    figure = new_figure(f"{title}: ranges ({calibration.method})", height_in=1.9 + 0.24 * len(shown))
    axes = figure.add_subplot()
    style(axes, "value of the activation", "", grid="x")
    bounds = [abs(each) for tensor in shown if is_finite(tensor) for each in _ends(tensor) if each]
    largest = max(bounds, default=1.0)
    axes.set_xscale("symlog", linthresh=10.0 ** (math.ceil(math.log10(largest)) - _DECADES + 1), linscale=0.6)
    for row, tensor in enumerate(shown):
        _row(axes, row, tensor)
    axes.set_yticks(range(len(shown)), [shortened(tensor.node, 34) for tensor in shown])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=0)
    _ticks(axes)
    legend_below(figure, axes)
    cut = (
        f" {len(shown)} of {len(calibration.tensors)} tensors, those clipped most."
        if len(shown) < len(calibration.tensors)
        else ""
    )
    caption = (
        "The bar is the range that eight bits are spread over, the line what calibration saw; at the right, the share of "
        f"values that lie outside of the range and are clipped.{cut}"
    )
    return Drawing("calibration_ranges", caption, figure)


def most_notable(tensors: Sequence[TensorRange], most: int = MOST_TENSORS) -> tuple[TensorRange, ...]:
    """At most ``most`` tensors in the order of the network: what is not finite first to be kept, then the most clipped."""
    if len(tensors) <= most:
        return tuple(tensors)
    order = sorted(range(len(tensors)), key=lambda i: (is_finite(tensors[i]), -tensors[i].clipped_share, i))
    return tuple(tensors[index] for index in sorted(order[:most]))


def is_finite(tensor: TensorRange) -> bool:
    """Whether the range can be drawn."""
    return all(map(math.isfinite, _ends(tensor)))


def _ends(tensor: TensorRange) -> tuple[float, float, float, float]:
    return tensor.low, tensor.high, tensor.observed_low, tensor.observed_high


def _row(axes: Axes, row: int, tensor: TensorRange) -> None:
    if is_finite(tensor):
        named = row == 0
        axes.barh(
            row,
            tensor.high - tensor.low,
            0.62,
            tensor.low,
            color=SERIES[4],
            label="chosen range" if named else "_chosen",
            zorder=1,
        )
        seen = [tensor.observed_low, tensor.observed_high]
        axes.plot(
            seen,
            [row, row],
            color=INK,
            linewidth=1.3,
            marker="|",
            markersize=7,
            label="observed" if named else "_observed",
            zorder=2,
        )
    text, color = _note(tensor)
    axes.annotate(
        text,
        (1.01, row),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8,
        color=color,
        annotation_clip=False,
    )


def _note(tensor: TensorRange) -> tuple[str, str]:
    if not is_finite(tensor):
        return "not finite", WRONG
    if tensor.low == tensor.high:
        return "dead: one value", WRONG
    percent = 100 * tensor.clipped_share
    if percent == 0:
        return "none clipped", MUTED
    return f"{percent:.2g} % clipped" if percent >= 0.001 else "< 0.001 % clipped", RIGHT


def _ticks(axes: Axes) -> None:
    """Whole decades only, and as few as do not touch each other."""
    low, high = axes.get_xlim()
    linear = axes.xaxis.get_transform().linthresh  # type: ignore[attr-defined]
    first, last = math.ceil(math.log10(linear)), math.ceil(math.log10(max(abs(low), abs(high))))
    decades = [10.0**power for power in range(first, last + 1)]
    ticks = [-each for each in reversed(decades)] + [0.0, *decades]
    axes.set_xticks([each for each in ticks if low <= each <= high])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
