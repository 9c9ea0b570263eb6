"""Figure: answered against true values, and how far off the answers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgewright.pipeline.reporting.answers import ValueAnswers
from edgewright.pipeline.reporting.drawing import Drawing, legend_below, new_figure, shortened, style
from edgewright.pipeline.reporting.palette import INK, MUTED, RIGHT, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 40
_REFERENCE = SERIES[7]  # a picture keeps its colours: this one can be seen on light and on dark
# More points than this are drawn as a picture inside the SVG, which keeps the page small.
_MOST_MARKS = 400


def draw(title: str, names: tuple[str, str], reference: ValueAnswers, chosen: ValueAnswers) -> Drawing:
    """Answered against true for both models on equal axes, and both histograms of errors.

    Args:
        title: Says of what.
        names: Name of the reference and of the chosen variant.
        reference: The reference's answers.
        chosen: The chosen variant's answers.
    """
    figure = new_figure(f"{title}: answers", 10.2, 3.9)
    left, middle, right = figure.subplots(1, 3)
    unit = f" ({chosen.unit})" if chosen.unit else ""
    every = np.concatenate([reference.true, reference.answered, chosen.answered])
    room = 0.04 * (float(np.ptp(every)) or 1.0)
    limits = (float(every.min()) - room, float(every.max()) + room)
    _scatter(left, f"{names[0]} (reference)", reference, _REFERENCE, limits, unit)
    _scatter(middle, names[1], chosen, RIGHT, limits, unit)
    style(right, f"error: answered less true{unit}", "% of the samples")
    errors = [each.answered - each.true for each in (reference, chosen)]
    joined = np.concatenate(errors)
    edges = np.histogram_bin_edges(joined, _BINS)
    for error, color, name in zip(errors, (_REFERENCE, RIGHT), (f"{names[0]} (reference)", names[1]), strict=True):
        weights = np.full(len(error), 100 / max(len(error), 1))
        right.hist(
            error,
            bins=edges.tolist(),
            weights=weights,
            histtype="step",
            color=color,
            linewidth=1.6,
            label=shortened(name, 30),
        )
    right.axvline(0, color=MUTED, linewidth=0.9, linestyle=":")
    legend_below(figure, right, 2)
    caption = (
        f"Left and middle: answered {chosen.quantity} against the true one, per test sample; on the line it is "
        "right. Right: how far off the answers are."
    )
    return Drawing("answers", caption, figure)


def _scatter(axes: Axes, title: str, answers: ValueAnswers, color: str, limits: tuple[float, float], unit: str) -> None:
    style(axes, f"true {shortened(answers.quantity, 30)}{unit}", f"answered{unit}")
    axes.set_title(shortened(title, 34), fontsize=9.5, color=INK, loc="left")
    axes.plot(limits, limits, color=MUTED, linewidth=1, zorder=1)
    many = len(answers.true) > _MOST_MARKS
    axes.scatter(
        answers.true,
        answers.answered,
        s=7 if many else 16,
        color=color,
        alpha=0.35 if many else 0.6,
        linewidths=0,
        rasterized=many,
        zorder=2,
    )
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
