"""Figure: quality against latency, or against size where latency was not measured, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from edgewright.pipeline.reporting.content import TargetReport, VariantReport
from edgewright.pipeline.reporting.drawing import Drawing, legend_below, new_figure, shortened, style
from edgewright.pipeline.reporting.label_placement import label_points
from edgewright.pipeline.reporting.palette import GRID, INK, MUTED, RIGHT, SERIES, SURFACE
from edgewright.pipeline.reporting.pareto import pareto_front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Beyond this ratio of the largest to the smallest cost, a linear axis would squeeze the cheap variants together.
_LOG_FROM_RATIO = 12.0


def draw(model: str, quality_word: str, target: TargetReport) -> Drawing:
    """Every variant of a target; the reference and the chosen one are marked.

    Args:
        model: Name of the model.
        quality_word: What the quality is called.
        target: The target.
    """
    by_latency = target.latency_known
    cost_word, unit = ("median latency", "ms") if by_latency else ("size", "KiB")
    figure = new_figure(f"{model} on {target.target}: {quality_word} against {cost_word}", height_in=4.6)
    axes = figure.add_subplot()
    style(axes, f"{cost_word} ({unit}) · less is better", f"{quality_word} (%) · more is better")
    costs = [_cost(variant, by_latency) for variant in target.variants]
    qualities = [variant.quality_pct for variant in target.variants]
    set_cost_scale(axes, costs)
    front = pareto_front(costs, qualities)
    axes.plot(
        [costs[index] for index in front],
        [qualities[index] for index in front],
        color=SERIES[2],
        linewidth=1.6,
        drawstyle="steps-post",
        label="Pareto front",
        zorder=2,
    )
    for variant in target.variants:
        _mark(axes, variant, target, by_latency)
    axes.margins(x=0.14, y=0.14)
    legend_below(figure, axes)
    line = [(costs[index], qualities[index]) for index in front]
    label_points(axes, costs, qualities, [shortened(variant.name) for variant in target.variants], corners(line))
    return Drawing("quality_against_cost", _caption(quality_word, cost_word, target), figure)


def set_cost_scale(axes: Axes, costs: Sequence[float]) -> None:
    """Makes the axis of costs logarithmic where they differ much, with plain numbers at 1, 2 and 5 of each decade."""
    if min(costs) <= 0 or max(costs) / min(costs) <= _LOG_FROM_RATIO:
        return
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def corners(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The line through the points as it is drawn: level until the next point's cost, then up."""
    corners = list(points[:1])
    for before, after in pairwise(points):
        corners += [(after[0], before[1]), after]
    return corners


def _cost(variant: VariantReport, by_latency: bool) -> float:
    return variant.latency_p50_ms if by_latency and variant.latency_p50_ms is not None else variant.size_kib


def _mark(axes: Axes, variant: VariantReport, target: TargetReport, by_latency: bool) -> None:
    cost, quality = _cost(variant, by_latency), variant.quality_pct
    horizontal = (variant.latency_p50_low_ms, variant.latency_p50_high_ms) if by_latency else (None, None)
    vertical = (variant.quality_low_pct, variant.quality_high_pct)
    axes.errorbar(
        [cost],
        [quality],
        xerr=_lengths(cost, *horizontal),
        yerr=_lengths(quality, *vertical),
        fmt="none",
        color=GRID if variant.name != target.chosen else MUTED,
        elinewidth=1.3,
        capsize=3,
        zorder=1,
    )
    # Shape and colour both tell the roles apart, for readers to whom the colours look alike.
    marker, face, size, role = "o", MUTED, 55, "other variants"
    if variant.is_reference:
        marker, face, size, role = "s", INK, 62, "reference"
    if variant.name == target.chosen:
        marker, face, size, role = "*", RIGHT, 230, "chosen"
    known = axes.get_legend_handles_labels()[1]
    label = f"_{variant.name}" if role in known else role
    axes.scatter([cost], [quality], marker=marker, s=size, color=face, edgecolors=SURFACE, zorder=3, label=label)


def _lengths(middle: float, low: float | None, high: float | None) -> list[list[float]] | None:
    if low is None or high is None:
        return None
    return [[max(middle - low, 0.0)], [max(high - middle, 0.0)]]


def _caption(quality_word: str, cost_word: str, target: TargetReport) -> str:
    why = "" if target.latency_known else " Latency was not measured for every variant: size stands in for it."
    return (
        f"Each variant's {quality_word} on the test split against its {cost_word}; bars are intervals. What lies on the "
        f"Pareto front is beaten by no other variant in both.{why}"
    )
