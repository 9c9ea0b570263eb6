"""Figure: which class is taken for which, by the reference and by the chosen variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgewright.pipeline.reporting.answers import ClassAnswers
from edgewright.pipeline.reporting.drawing import Drawing, legend, new_figure, plain, shortened, style, whole_numbers
from edgewright.pipeline.reporting.palette import INK, MUTED, RIGHT, SERIES, WRONG

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# With more classes than this, the cells of a table become too small to read.
MOST_CLASSES = 20
MOST_PAIRS = 20
# Up to this many classes a cell has room for the share below the count.
_CLASSES_WITH_SHARES = 11


def draw(title: str, names: tuple[str, str], reference: ClassAnswers, chosen: ClassAnswers) -> Drawing:
    """Two tables side by side; bars of the most confused pairs where there are too many classes.

    Args:
        title: Says of what.
        names: Name of the reference and of the chosen variant.
        reference: The reference's answers.
        chosen: The chosen variant's answers, over the same classes.
    """
    if len(reference.class_names) > MOST_CLASSES:
        return _pairs(title, names, reference, chosen)
    classes = len(reference.class_names)
    longest = max(len(shortened(name, 18)) for name in reference.class_names)
    cell_in = 0.40 if classes > _CLASSES_WITH_SHARES else 0.52
    side_in = max(cell_in * classes, 1.8)
    figure = new_figure(f"{title}: confusion", 2 * side_in + 1.3 + longest * 0.085, side_in + 1.2 + longest * 0.06)
    left, right = figure.subplots(1, 2, sharey=True)
    _table(left, f"{names[0]} (reference)", reference, "true class")
    _table(right, names[1], chosen, "")
    caption = (
        "Rows are true classes, columns what was answered. In each cell the number of samples"
        + (" and its share of the row in percent" if classes <= _CLASSES_WITH_SHARES else "")
        + ". Blue is right, orange wrong; the colour deepens with the square root of the share, so that rare errors show."
    )
    return Drawing("confusion", caption, figure)


def most_confused(
    reference: ClassAnswers, chosen: ClassAnswers, most: int = MOST_PAIRS
) -> list[tuple[str, str, int, int]]:
    """The pairs that either model confuses most.

    Returns:
        (true class, answered class, count of the reference, count of the chosen variant), most confused first.
    """
    names = reference.class_names
    before, after = np.asarray(reference.counts), np.asarray(chosen.counts)
    pairs = [
        (names[i], names[j], int(before[i, j]), int(after[i, j]))
        for i, j in zip(*np.nonzero(before + after), strict=True)
        if i != j
    ]
    return sorted(pairs, key=lambda pair: (-max(pair[2], pair[3]), -pair[3], pair[0], pair[1]))[:most]


def _table(axes: Axes, title: str, answers: ClassAnswers, y_label: str) -> None:
    from matplotlib.patches import Rectangle

    counts = np.asarray(answers.counts)
    classes = len(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    style(axes, "answered class", y_label, grid="none")
    axes.set_title(shortened(title, 40), fontsize=10, color=INK)
    for i, j in zip(*np.nonzero(counts), strict=True):
        strength = float(np.sqrt(shares[i, j]))
        color = RIGHT if i == j else WRONG
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=color, alpha=strength, linewidth=0))
        text = f"{counts[i, j]}"
        if classes <= _CLASSES_WITH_SHARES:
            text += f"\n{_share(float(shares[i, j]))}"
        # Words follow the reader's light or dark setting; on a deep cell only white is legible in both.
        axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color="#ffffff" if strength > 0.7 else INK)
    labels = [shortened(name, 18) for name in answers.class_names]
    upright = max(map(len, labels)) <= 3
    axes.set_xticks(range(classes), labels, rotation=0 if upright else 55, ha="center" if upright else "right")
    axes.set_yticks(range(classes), labels)
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, classes - 0.5)
    axes.set_ylim(classes - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.spines[["left", "bottom"]].set_color(MUTED)


def _share(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 99.95 or percent < 0.05 else f"{percent:.1f} %"


def _pairs(title: str, names: Sequence[str], reference: ClassAnswers, chosen: ClassAnswers) -> Drawing:
    pairs = most_confused(reference, chosen)
    figure = new_figure(f"{title}: most confused pairs", height_in=1.7 + 0.34 * max(len(pairs), 1))
    axes = figure.add_subplot()
    style(axes, "test samples that were confused", "", grid="x")
    rows = np.arange(len(pairs))
    before, after = [pair[2] for pair in pairs], [pair[3] for pair in pairs]
    axes.barh(rows - 0.19, before, 0.36, color=SERIES[7], label=plain(f"{names[0]} (reference)"))
    axes.barh(rows + 0.19, after, 0.36, color=RIGHT, label=plain(names[1]))
    axes.set_yticks(rows, [f"{shortened(true)} → {shortened(answered)}" for true, answered, _, _ in pairs])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(len(pairs), 1) - 0.4, -0.6)
    axes.set_xlim(0, max([*before, *after, 1]) * 1.08)
    whole_numbers(axes.xaxis)
    if pairs:
        legend(axes, "lower right")
    else:
        axes.text(0.5, 0.5, "neither confuses any sample", transform=axes.transAxes, ha="center", color=INK)
    caption = (
        f"True class → what was answered: the {len(pairs)} pairs that either model confuses most, of "
        f"{len(reference.class_names)} classes."
    )
    return Drawing("confusion", caption, figure)
