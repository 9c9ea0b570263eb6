"""Figure: loss and validation figure of every epoch, of the base model and of every fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgewright.pipeline.reporting.content import Curve
from edgewright.pipeline.reporting.drawing import Drawing, legend_below, new_figure, shortened, style, whole_numbers
from edgewright.pipeline.reporting.palette import SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "oD^sv<>P"


def draw(model: str, curves: Sequence[Curve], quality_word: str = "validation accuracy") -> Drawing | None:
    """One colour for each training; in the loss, dashed is training and drawn through validation.

    Args:
        model: Name of the model.
        curves: The trainings; those without an epoch are left out.
        quality_word: What the validation figure is called.

    Returns:
        The drawing; None where nothing was trained.
    """
    trained = [curve for curve in curves if curve.points]
    if not trained:
        return None
    has_quality = any(point.validation_pct is not None for curve in trained for point in curve.points)
    figure = new_figure(f"{model}: training", 9.0 if has_quality else 6.0, 3.9)
    panels = figure.subplots(1, 2 if has_quality else 1, squeeze=False)[0]
    style(panels[0], "epoch", "loss")
    for index, curve in enumerate(trained):
        color, marker = SERIES[index % len(SERIES)], _MARKERS[index % len(_MARKERS)]
        _loss(panels[0], curve, color, marker)
        if has_quality:
            _quality(panels[1], curve, color, marker)
    if has_quality:
        style(panels[1], "epoch", f"{quality_word} (%)")
    for axes in panels:
        whole_numbers(axes.xaxis)
    legend_below(figure, panels[0], 5)
    caption = (
        "Loss of each epoch (dashed: training samples, drawn through: validation samples)"
        + (f", and {quality_word}" if has_quality else "")
        + ". The ringed epoch is the one whose weights were kept."
    )
    return Drawing("training_curves", caption, figure)


def _loss(axes: Axes, curve: Curve, color: str, marker: str) -> None:
    epochs = [point.epoch for point in curve.points]
    losses = [point.train_loss for point in curve.points]
    seen = [(point.epoch, point.validation_loss) for point in curve.points if point.validation_loss is not None]
    axes.plot(epochs, losses, color=color, linestyle="--", linewidth=1.2, label="" if seen else shortened(curve.name))
    if seen:
        _line(axes, [epoch for epoch, _ in seen], [loss for _, loss in seen], curve, color, marker)


def _quality(axes: Axes, curve: Curve, color: str, marker: str) -> None:
    seen = [(point.epoch, point.validation_pct) for point in curve.points if point.validation_pct is not None]
    if seen:
        _line(axes, [epoch for epoch, _ in seen], [quality for _, quality in seen], curve, color, marker)


def _line(axes: Axes, xs: list[int], ys: list[float], curve: Curve, color: str, marker: str) -> None:
    axes.plot(xs, ys, color=color, marker=marker, markersize=4, linewidth=1.6, label=shortened(curve.name))
    if curve.best_epoch in xs:
        best = ys[xs.index(curve.best_epoch)]
        ring = axes.plot([curve.best_epoch], [best], marker="o", markersize=10, color=color, markerfacecolor="none")
        ring[0].set_label("_kept")
        ring[0].set_markeredgecolor(color)
