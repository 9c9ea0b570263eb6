"""Figure: how far anomalies stand apart from what is normal, for the reference and the chosen variant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgewright.pipeline.reporting.answers import AnomalyAnswers
from edgewright.pipeline.reporting.drawing import Drawing, legend, legend_below, new_figure, shortened, style
from edgewright.pipeline.reporting.palette import INK, MUTED, RIGHT, WRONG

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 40


def draw(title: str, names: tuple[str, str], reference: AnomalyAnswers, chosen: AnomalyAnswers) -> Drawing:
    """Histograms of both models' scores with their thresholds, and both receiver operating characteristics.

    Args:
        title: Says of what.
        names: Name of the reference and of the chosen variant.
        reference: The reference's scores.
        chosen: The chosen variant's scores.
    """
    figure = new_figure(f"{title}: anomaly scores", 9.6, 4.6)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1))
    both = np.concatenate([reference.scores, chosen.scores, [reference.threshold, chosen.threshold]])
    upper = figure.add_subplot(grid[0, 0])
    lower = figure.add_subplot(grid[1, 0], sharex=upper)
    edges = _edges(both)
    _histogram(upper, f"{names[0]} (reference)", reference, edges)
    _histogram(lower, names[1], chosen, edges)
    if both.min() > 0:
        upper.set_xscale("log")
    upper.set_xlabel("")
    upper.tick_params(labelbottom=False)
    roc = figure.add_subplot(grid[:, 1])
    style(roc, "false alarms (% of the normal samples)", "found (% of the anomalies)")
    roc.plot([0, 100], [0, 100], color=MUTED, linewidth=0.8, linestyle=":")
    _roc(roc, f"{names[0]} (reference)", reference, INK, "--")
    _roc(roc, names[1], chosen, RIGHT, "-")
    roc.set_xlim(-2, 102)
    roc.set_ylim(-2, 102)
    roc.set_aspect("equal")
    legend(roc, "lower right")
    legend_below(figure, upper, 3, "outside lower left")
    caption = (
        "Left: scores of normal samples and of anomalies, each as a share of its own kind; the line is the threshold. Right: "
        "what is found against what false alarms it costs, over all thresholds; the dot is the threshold in use."
    )
    return Drawing("anomaly_scores", caption, figure)


def operating_points(answers: AnomalyAnswers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The receiver operating characteristic: one point for each distinct score, equal scores taken together.

    Returns:
        Share of normal samples called anomalies and share of anomalies found, float64 in percent, both from 0 to 100.
    """
    order = np.argsort(-answers.scores, kind="stable")
    scores, anomaly = answers.scores[order], answers.is_anomaly[order]
    last_of_equals = np.append(np.nonzero(np.diff(scores))[0], len(scores) - 1)
    found, alarms = np.cumsum(anomaly)[last_of_equals], np.cumsum(~anomaly)[last_of_equals]
    alarms_pct = 100 * np.append(0, alarms) / max(int((~anomaly).sum()), 1)
    found_pct = 100 * np.append(0, found) / max(int(anomaly.sum()), 1)
    return alarms_pct, found_pct


def _edges(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        return np.linspace(low - 0.5, high + 0.5, _BINS + 1)
    return np.geomspace(low, high, _BINS + 1) if low > 0 else np.linspace(low, high, _BINS + 1)


def _histogram(axes: Axes, title: str, answers: AnomalyAnswers, edges: NDArray[np.float64]) -> None:
    style(axes, "anomaly score", "% of its kind")
    axes.set_title(shortened(title, 40), fontsize=9.5, color=INK, loc="left")
    kinds = ((~answers.is_anomaly, RIGHT, "normal"), (answers.is_anomaly, WRONG, "anomalous"))
    for chosen, color, label in kinds:
        count = int(chosen.sum())
        if count:
            weights = np.full(count, 100 / count)
            axes.hist(
                answers.scores[chosen], bins=edges.tolist(), weights=weights, color=color, alpha=0.55, label=label
            )
    axes.axvline(answers.threshold, color=INK, linewidth=1.4, linestyle="--", label="threshold")


def _roc(axes: Axes, name: str, answers: AnomalyAnswers, color: str, line: str) -> None:
    alarms, found = operating_points(answers)
    axes.plot(alarms, found, color=color, linestyle=line, linewidth=1.7, label=shortened(name, 40))
    flagged = answers.scores > answers.threshold
    normal, anomaly = ~answers.is_anomaly, answers.is_anomaly
    at = [100 * float(flagged[kind].mean()) if kind.any() else 0.0 for kind in (normal, anomaly)]
    axes.plot(at[:1], at[1:], marker="o", markersize=7, color=color, label="_threshold")
