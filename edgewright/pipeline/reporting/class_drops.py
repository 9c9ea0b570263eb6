"""Figure: what each variant loses of each class, against the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgewright.pipeline.reporting.content import TargetReport, VariantReport
from edgewright.pipeline.reporting.drawing import Drawing, legend_below, new_figure, shortened, style
from edgewright.pipeline.reporting.palette import INK, MUTED, SERIES, SURFACE, WRONG

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 30
_MARKERS = "oD^sv<>P"


def draw(model: str, target: TargetReport, class_samples: Mapping[str, int]) -> Drawing | None:
    """Drop per class and variant; the class that loses most stands at the top.

    Args:
        model: Name of the model.
        target: The target.
        class_samples: Number of test samples by class name, shown beside the name; may be empty.

    Returns:
        The drawing; None where there are no classes or nothing to compare.
    """
    reference = target.reference
    variants = [each for each in target.variants if not each.is_reference and each.class_pct]
    if not reference.class_pct or not variants:
        return None
    drops = {each.name: class_drops(each, reference) for each in variants}
    leading = target.chosen if target.chosen in drops else variants[0].name
    every = sorted(reference.class_pct, key=lambda name: (-_worst(name, drops), -drops[leading].get(name, 0.0), name))
    shown = every[:MOST_CLASSES]
    row_in = max(0.30, 0.07 * len(variants) + 0.10)
    figure = new_figure(f"{model} on {target.target}: drop per class", height_in=1.9 + row_in * len(shown))
    axes = figure.add_subplot()
    style(axes, "drop of the class's recall against the reference (points) · more is worse", "", grid="x")
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    if target.class_margin_points is not None:
        label = f"margin of a class: {target.class_margin_points:g} points"
        axes.axvline(target.class_margin_points, color=WRONG, linewidth=1.4, linestyle="--", zorder=1, label=label)
    for index, variant in enumerate(variants):
        offset = (index - (len(variants) - 1) / 2) * 0.62 / len(variants)
        _series(axes, variant, drops[variant.name], shown, offset, index, target.chosen)
    axes.set_yticks(range(len(shown)), [_tick(name, class_samples) for name in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for row in range(1, len(shown)):
        axes.axhline(row - 0.5, color=MUTED, linewidth=0.3, zorder=0)
    legend_below(figure, axes)
    return Drawing("class_drops", _caption(len(every), len(shown)), figure)


def class_drops(variant: VariantReport, reference: VariantReport) -> dict[str, float]:
    """What the variant loses of each class that both have, in points."""
    return {
        name: pct - variant.class_pct[name] for name, pct in reference.class_pct.items() if name in variant.class_pct
    }


def _worst(name: str, drops: Mapping[str, Mapping[str, float]]) -> float:
    return max((each[name] for each in drops.values() if name in each), default=float("-inf"))


def _series(
    axes: Axes,
    variant: VariantReport,
    drops: Mapping[str, float],
    names: Sequence[str],
    offset: float,
    index: int,
    chosen: str,
) -> None:
    color, marker = SERIES[index % len(SERIES)], _MARKERS[index % len(_MARKERS)]
    rows = [(row + offset, name) for row, name in enumerate(names) if name in drops]
    for y, name in rows:
        if name in variant.class_drop_bounds:
            axes.plot(variant.class_drop_bounds[name], [y, y], color=color, linewidth=1.2, alpha=0.7, zorder=2)
    is_chosen = variant.name == chosen
    axes.scatter(
        [drops[name] for _, name in rows],
        [y for y, _ in rows],
        marker=marker,
        s=46 if is_chosen else 26,
        facecolors=color if is_chosen else SURFACE,
        edgecolors=color,
        linewidths=1.3,
        zorder=3,
        label=shortened(variant.name) + (" (chosen)" if is_chosen else ""),
    )


def _tick(name: str, samples: Mapping[str, int]) -> str:
    return f"{shortened(name)} · {samples[name]:,}" if name in samples else shortened(name)


def _caption(classes: int, shown: int) -> str:
    cut = f" The {shown} of {classes} classes that lose most are shown." if shown < classes else ""
    return (
        "What each variant loses of each class against the reference, worst class first; beside the name, the class's test "
        f"samples. Right of zero is a loss. The filled mark is the chosen variant; lines are intervals, where known.{cut}"
    )
