"""Figure: what each variant loses of each class, against the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgewright.pipeline.reporting.content import TargetReport
from edgewright.pipeline.reporting.drawing import Drawing, legend_below, new_figure, shortened, style
from edgewright.pipeline.reporting.palette import INK, MUTED, SERIES, SURFACE, WRONG

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CLASSES = 30
_MARKERS = "oD^sv<>P"


@dataclass(frozen=True)
class Series:
    """What one model loses of each class.

    Attributes:
        label: What it is called.
        drops: Points that it loses, by class name.
        bounds: Lower and upper bound of them, where they are known.
        leading: Whether it is the one that the figure is about; the first such one settles the order of equals.
    """

    label: str
    drops: Mapping[str, float]
    bounds: Mapping[str, tuple[float, float]]
    leading: bool = False


def draw(model: str, target: TargetReport, class_samples: Mapping[str, int]) -> Drawing | None:
    """Drop per class and variant of a build; the class that loses most stands at the top.

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
    series = [
        Series(
            shortened(each.name) + (" (chosen)" if each.name == target.chosen else ""),
            class_drops(each.class_pct, reference.class_pct),
            each.class_drop_bounds,
            each.name == target.chosen,
        )
        for each in variants
    ]
    return draw_series(f"{model} on {target.target}: drop per class", series, class_samples, target.class_margin_points)


def draw_series(
    title: str, series: Sequence[Series], class_samples: Mapping[str, int], margin_points: float | None = None
) -> Drawing:
    """Drop per class of several models, each against its own reference.

    Args:
        title: Title of the figure.
        series: At least one.
        class_samples: Number of test samples by class name, shown beside the name; may be empty.
        margin_points: What the gate lets a class lose; None where it does not ask.
    """
    first = next((each for each in series if each.leading), series[0])
    names = dict.fromkeys(name for each in series for name in each.drops)
    every = sorted(names, key=lambda name: (-_worst(name, series), -first.drops.get(name, 0.0), name))
    shown = every[:MOST_CLASSES]
    row_in = max(0.30, 0.07 * len(series) + 0.10)
    figure = new_figure(title, height_in=1.9 + row_in * len(shown))
    axes = figure.add_subplot()
    style(axes, "drop of the class's recall against the reference (points) · more is worse", "", grid="x")
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    if margin_points is not None:
        label = f"margin of a class: {margin_points:g} points"
        axes.axvline(margin_points, color=WRONG, linewidth=1.4, linestyle="--", zorder=1, label=label)
    for index, each in enumerate(series):
        offset = (index - (len(series) - 1) / 2) * 0.62 / len(series)
        _mark(axes, each, shown, offset, index)
    axes.set_yticks(range(len(shown)), [_tick(name, class_samples) for name in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for row in range(1, len(shown)):
        axes.axhline(row - 0.5, color=MUTED, linewidth=0.3, zorder=0)
    legend_below(figure, axes)
    return Drawing("class_drops", _caption(len(every), len(shown)), figure)


def class_drops(own: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    """What a model loses of each class that both have, in points; both in percent by class name."""
    return {name: pct - own[name] for name, pct in reference.items() if name in own}


def _worst(name: str, series: Sequence[Series]) -> float:
    return max((each.drops[name] for each in series if name in each.drops), default=float("-inf"))


def _mark(axes: Axes, series: Series, names: Sequence[str], offset: float, index: int) -> None:
    color, marker = SERIES[index % len(SERIES)], _MARKERS[index % len(_MARKERS)]
    rows = [(row + offset, name) for row, name in enumerate(names) if name in series.drops]
    for y, name in rows:
        if name in series.bounds:
            axes.plot(series.bounds[name], [y, y], color=color, linewidth=1.2, alpha=0.7, zorder=2)
    axes.scatter(
        [series.drops[name] for _, name in rows],
        [y for y, _ in rows],
        marker=marker,
        s=46 if series.leading else 26,
        facecolors=color if series.leading else SURFACE,
        edgecolors=color,
        linewidths=1.3,
        zorder=3,
        label=series.label,
    )


def _tick(name: str, samples: Mapping[str, int]) -> str:
    return f"{shortened(name)} · {samples[name]:,}" if name in samples else shortened(name)


def _caption(classes: int, shown: int) -> str:
    cut = f" The {shown} of {classes} classes that lose most are shown." if shown < classes else ""
    return (
        "What each variant loses of each class against the reference, worst class first; beside the name, the class's test "
        f"samples. Right of zero is a loss. The filled mark is the chosen variant; lines are intervals, where known.{cut}"
    )
