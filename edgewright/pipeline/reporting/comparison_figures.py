"""Figures of a comparison: quality against cost over several builds, latencies of fresh processes, drop per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgewright.measurement import Measurement
from edgewright.pipeline.reporting.class_drops import Series, class_drops, draw_series
from edgewright.pipeline.reporting.comparison_content import Compared, ComparedTarget, Comparison
from edgewright.pipeline.reporting.drawing import Drawing, legend_below, new_figure, shortened, style
from edgewright.pipeline.reporting.label_placement import label_points
from edgewright.pipeline.reporting.palette import GRID, INK, MUTED, SERIES, SURFACE
from edgewright.pipeline.reporting.pareto import pareto_front
from edgewright.pipeline.reporting.quality_against_cost import corners, set_cost_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN_OF_A_BUILD = 8


def drawings(comparison: Comparison, target: ComparedTarget) -> tuple[Drawing, ...]:
    """The figures of one target, in the order in which they are shown; those without values are left out."""
    found = (draw_quality(comparison, target), draw_latencies(comparison, target), draw_drops(comparison, target))
    return tuple(drawing for drawing in found if drawing is not None)


def draw_quality(comparison: Comparison, target: ComparedTarget) -> Drawing | None:
    """Every variant's quality against its median latency, or its size where not all latencies are known."""
    quality = f"{target.quality_key}_pct"
    by_latency = all("latency_p50_ms" in each.metrics for each in target.variants)
    key, cost_word, unit = ("latency_p50_ms", "median latency", "ms") if by_latency else ("size_kib", "size", "KiB")
    shown = [each for each in target.variants if key in each.metrics and quality in each.metrics]
    if not shown:
        return None
    figure = new_figure(
        f"{comparison.model} on {target.target}: {target.quality_word} against {cost_word}", height_in=4.8
    )
    axes = figure.add_subplot()
    style(axes, f"{cost_word} ({unit}) · less is better", f"{target.quality_word} (%) · more is better")
    costs, qualities = [each.metrics[key] for each in shown], [each.metrics[quality] for each in shown]
    set_cost_scale(axes, costs)
    front = pareto_front(costs, qualities)
    line = [(costs[index], qualities[index]) for index in front]
    axes.plot(
        *zip(*line, strict=True), color=MUTED, linewidth=1.4, drawstyle="steps-post", label="Pareto front", zorder=2
    )
    for build in comparison.builds:
        for each, cost, level in zip(shown, costs, qualities, strict=True):
            if each.build == build.build:
                _point(axes, comparison, each, cost, level)
    axes.margins(x=0.14, y=0.14)
    legend_below(figure, axes)
    label_points(axes, costs, qualities, [shortened(each.variant) for each in shown], corners(line))
    why = "" if by_latency else " Latency was not measured for every variant: size stands in for it."
    caption = (
        f"Each variant's {target.quality_word} on its build's test split against its {cost_word}, each build in its colour. "
        "A square is a reference, a star what devices run, a diamond what else was put to the gate. What lies on the Pareto "
        f"front is beaten by no other variant in both.{why}"
    )
    return Drawing("comparison_quality", caption, figure)


def draw_latencies(comparison: Comparison, target: ComparedTarget) -> Drawing | None:
    """The latency of each fresh process, by variant; None where none is kept."""
    kept = [(each, each.latency) for each in target.variants if each.latency is not None]
    if not kept:
        return None
    figure = new_figure(
        f"{comparison.model} on {target.target}: latency of fresh processes", height_in=1.7 + 0.36 * len(kept)
    )
    axes = figure.add_subplot()
    style(axes, "latency of one inference (ms) · less is better", "", grid="x")
    for row, (each, latency) in enumerate(kept):
        # Only the first row's marks go into the legend.
        _mark_processes(axes, row, latency, _color(comparison, each), "" if row == 0 else "_")
    axes.set_yticks(
        range(len(kept)), [f"{shortened(each.variant)} · {each.build[:_SHOWN_OF_A_BUILD]}" for each, _ in kept]
    )
    axes.set_ylim(len(kept) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    legend_below(figure, axes)
    without = [each for each in target.variants if each.latency is None]
    missing = f" Not kept for: {_names(without)}." if without else ""
    caption = (
        "Each mark is one fresh process: the same file's latency differs between processes, by how it lies in memory and "
        f"what else the machine does. Beside the name, the build.{missing}"
    )
    return Drawing("comparison_latency", caption, figure)


def draw_drops(comparison: Comparison, target: ComparedTarget) -> Drawing | None:
    """What each released variant loses of each class against its own build's reference; None where classes are unknown."""
    references = {each.build: each for each in target.variants if each.is_reference and each.class_pct}
    judged = [each for each in target.variants if each.class_pct and not each.is_reference and each.build in references]
    shown = [each for each in judged if each.verdict is not None] or judged
    if not shown:
        return None
    series = [
        Series(
            f"{shortened(each.variant)} · {each.build[:_SHOWN_OF_A_BUILD]}",
            class_drops(each.class_pct, references[each.build].class_pct),
            {},
            each.build == comparison.build,
        )
        for each in shown
    ]
    drawing = draw_series(f"{comparison.model} on {target.target}: drop per class", series, target.class_samples)
    caption = (
        "What each variant that was put to the gate loses of each class against the reference of its own build, worst class "
        "first; beside the name, the class's test samples. Right of zero is a loss. Filled marks are of the compared build."
    )
    return Drawing("comparison_drops", caption, drawing.figure)


def _mark_processes(axes: Axes, row: int, latency: Measurement, color: str, hidden: str) -> None:
    middles = [process.latency_p50_ms for process in latency.processes]
    tails = [process.latency_p95_ms for process in latency.processes]
    rows = [row] * len(middles)
    axes.plot([min(middles), max(tails)], [row, row], color=GRID, linewidth=1.2, zorder=1)
    label = f"{hidden}median of a process"
    axes.scatter(middles, rows, s=34, color=color, edgecolors=SURFACE, linewidths=0.6, zorder=3, label=label)
    label = f"{hidden}95th percentile of a process"
    axes.scatter(tails, rows, s=60, marker="|", color=color, linewidths=1.6, zorder=2, label=label)
    label = f"{hidden}median over processes"
    axes.scatter([latency.latency_p50_ms], [row + 0.3], s=26, marker="^", color=INK, zorder=3, label=label)


def _point(axes: Axes, comparison: Comparison, each: Compared, cost: float, level: float) -> None:
    marker, size = ("*", 230) if each.is_champion else ("s", 58) if each.is_reference else ("o", 52)
    if each.verdict is not None and not each.is_champion:
        marker, size = "D", 58
    known = axes.get_legend_handles_labels()[1]
    label = each.build if each.build == comparison.build else f"against {each.build}"
    color = _color(comparison, each)
    # The legend tells the builds apart; the first mark of a build stands for all of them.
    text = f"_{label} {each.variant}" if label in known else label
    axes.scatter([cost], [level], marker=marker, s=size, color=color, edgecolors=SURFACE, zorder=3, label=text)


def _color(comparison: Comparison, each: Compared) -> str:
    return SERIES[[build.build for build in comparison.builds].index(each.build) % len(SERIES)]


def _names(variants: Sequence[Compared]) -> str:
    """Variants by build and by why their latencies are not kept."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in variants:
        groups.setdefault((each.build, each.latency_note), []).append(each.variant)
    return "; ".join(
        f"{', '.join(names)} of {build[:_SHOWN_OF_A_BUILD]} ({note})" for (build, note), names in groups.items()
    )
