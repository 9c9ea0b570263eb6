"""By which figure a model's answers are judged: in percent, higher is better, whatever was asked of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import DataError
from edgewright.pipeline.predictions import Predictions

Metric = Literal["accuracy", "balanced_accuracy", "auroc", "skill"]

_WORDS: dict[Metric, str] = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
    "skill": "skill",
}

# Squares of errors beyond this many times the naive error would leave the range of numbers.
_ABSURD = 1e100


@dataclass(frozen=True)
class Quality:
    """A figure of answers.

    ``accuracy`` is the share of right answers; ``balanced_accuracy`` the mean of the recalls of the classes that occur;
    ``auroc`` the chance that an anomaly scores above a normal sample, equal scores counting half; ``skill`` how much of
    the error of the best constant answer the model takes away: 100 is perfect, 0 no better than that constant.

    Attributes:
        metric: Which figure.
        naive_error: Mean absolute error of the best constant answer, in the value's own unit: for ``skill`` alone.

    Raises:
        DataError: ``skill`` lacks a positive ``naive_error``, or another figure has one.
    """

    metric: Metric
    naive_error: float | None = None

    def __post_init__(self) -> None:
        """Refuse a figure that cannot be computed."""
        if self.metric not in _WORDS:
            raise DataError(f"{self.metric!r} is no figure; use one of {', '.join(_WORDS)}")
        error = self.naive_error
        if (self.metric == "skill") != (error is not None):
            raise DataError(
                f"{self.metric} with a naive error of {error}: skill needs one, the other figures have none"
            )
        if error is not None and not (math.isfinite(error) and error > 0):
            raise DataError(f"naive error is {error}: skill needs training values that differ from one another")

    @property
    def word(self) -> str:
        """The figure's name for people."""
        return _WORDS[self.metric]

    @property
    def key(self) -> str:
        """The figure's name in metric keys: ``<key>_pct``, ``<key>_drop_points``."""
        return self.metric

    def of(self, predictions: Predictions, groups: Sequence[str] | None = None) -> float:
        """Compute the figure.

        Args:
            predictions: The answers.
            groups: Name of every sample's group. Accuracy and skill are then means over groups, each counting alike, as
                their bounds are; the other figures pool the samples, since a group need not hold every class.

        Returns:
            Percent, higher is better; skill may be negative.

        Raises:
            DataError: The figure is not defined for these answers: none at all, of the wrong kind, without scores, or
                for AUROC without both labels.
        """
        obstacle = self.obstacle(predictions)
        if obstacle is not None:
            raise DataError(f"{self.word}: {obstacle}")
        if groups is not None and self.metric in ("accuracy", "skill"):
            group = np.unique(np.array(groups), return_inverse=True)[1]
            return float(np.mean([self.of(predictions.take(members)) for members in class_members(group)]))
        if self.naive_error is not None:
            return 100.0 * (1.0 - float(np.mean(absolute_errors(predictions))) / self.naive_error)
        if self.metric == "auroc" and predictions.score is not None:
            return 100.0 * auroc(predictions.labels == 1, predictions.score)
        if self.metric == "balanced_accuracy":
            right = predictions.correct
            return 100.0 * float(np.mean([right[members].mean() for members in class_members(predictions.labels)]))
        return predictions.accuracy_pct

    def obstacle(self, predictions: Predictions) -> str | None:
        """Why the figure is not defined for these answers; None where it is."""
        if not len(predictions):
            return "not defined for 0 samples; evaluate at least one sample"
        if (self.metric == "skill") != predictions.has_values:
            return (
                f"the answers are {'values' if predictions.has_values else 'classes'}; choose a figure for such answers"
            )
        if self.naive_error is not None:
            largest = float(absolute_errors(predictions).max())
            absurd = not largest < _ABSURD * self.naive_error
            return (
                f"an error of {largest:.3g} has no place beside {self.naive_error:.3g}; look at that sample"
                if absurd
                else None
            )
        if self.metric != "auroc":
            return None
        if predictions.score is None:
            return "these answers were kept without scores; evaluate the model again"
        anomalies, normal = (int(np.count_nonzero(predictions.labels == label)) for label in (1, 0))
        if anomalies + normal != len(predictions):
            return f"label {predictions.labels.max()}: needs 0 for normal and 1 for anomalies only"
        if min(anomalies, normal) == 0:
            return f"needs normal samples and anomalies, found {normal} and {anomalies}; add samples of both"
        return None


def absolute_errors(predictions: Predictions) -> NDArray[np.float64]:
    """How far each answered value lies from the true one: float64 [N]; infinite where that leaves the range of numbers."""
    with np.errstate(over="ignore"):
        return np.abs(np.asarray(predictions.predicted - predictions.labels, dtype=np.float64))


def class_members(labels: NDArray[np.generic]) -> list[NDArray[np.int64]]:
    """Positions of the samples of each class that occurs, by rising label."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def auroc(anomalous: NDArray[np.bool_], score: NDArray[np.floating]) -> float:
    """Chance that an anomaly scores above a normal sample, by the mean of ranks; equal scores count half.

    Args:
        anomalous: bool [N], at least one of each.
        score: [N], higher is more anomalous.
    """
    _, rank, count = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    anomalies = int(np.count_nonzero(anomalous))
    above = float(mean_rank[rank][anomalous].sum()) - anomalies * (anomalies + 1) / 2
    return above / (anomalies * (len(score) - anomalies))
