"""How a kind of question is put to a model: what its answers are held against, by which figure, and how they are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import StageError
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.snapshot import Split
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.task_settings import AnomalySettings, ClassificationSettings, RegressionSettings, TaskSettings
from edgewright.postprocessing import AnomalyScore, Classification, Postprocessing, Regression
from edgewright.predictor import Predictor

# Hears how many samples were answered.
BatchListener = Callable[[int], None]
_SAMPLES_PER_BATCH = 1000


def labels_of(split: Split, task: TaskSettings, class_names: tuple[str, ...]) -> npt.NDArray[Any]:
    """What answers are held against.

    Returns:
        ``[N]``: int64 class indices; int64 0 (normal) or 1 for anomalies; float64 values for regression.
    """
    if isinstance(task, AnomalySettings):
        anomalous: npt.NDArray[np.int64] = (split.labels != class_names.index(task.normal)).astype(np.int64)
        return anomalous
    return split.labels


def normal_only(split: Split, task: TaskSettings, class_names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Which samples a network may learn from: bool ``[N]``. For anomalies only the normal ones; else all."""
    if isinstance(task, AnomalySettings):
        return np.asarray(split.labels == class_names.index(task.normal))
    return np.ones(len(split.labels), dtype=np.bool_)


def postprocessing_for(task: TaskSettings, snapshot: SnapshotResult, threshold: float | None = None) -> Postprocessing:
    """Turns the outputs of a network for this question into answers.

    Args:
        task: The question.
        snapshot: The data.
        threshold: Score above which a sample is an anomaly; None where it is still to be chosen (0 stands in).
    """
    if isinstance(task, AnomalySettings):
        return AnomalyScore(0.0 if threshold is None else threshold)
    if isinstance(task, RegressionSettings):
        if snapshot.values is None:
            raise StageError("the snapshot holds classes, a regression needs values. Take the snapshot again.")
        return Regression(snapshot.values.mean, snapshot.values.std, task.quantity, task.unit)
    return Classification(snapshot.class_names)


def quality_for(task: TaskSettings, snapshot: SnapshotResult) -> Quality:
    """The figure by which answers are judged."""
    if isinstance(task, ClassificationSettings):
        return Quality(task.metric)
    if isinstance(task, AnomalySettings):
        return Quality("auroc")
    if snapshot.values is None:
        raise StageError("the snapshot holds classes, a regression needs values. Take the snapshot again.")
    return Quality("skill", snapshot.values.naive_error)


def answer(
    predictor: Predictor,
    raw: npt.NDArray[Any],
    sample_sha256: tuple[str, ...],
    labels: npt.NDArray[Any],
    on_batch: BatchListener | None = None,
) -> Predictions:
    """Lets a model answer raw samples.

    Args:
        predictor: The model with the device's own pre- and postprocessing.
        raw: Raw samples, ``[N, ...]``.
        sample_sha256: Their digests.
        labels: From `labels_of`.
        on_batch: Hears after every thousand samples how many were answered.
    """
    predicted: list[npt.NDArray[Any]] = []
    scores: list[npt.NDArray[np.float32]] = []
    values = predictor.postprocessing.kind == "regression"
    for start in range(0, len(raw), _SAMPLES_PER_BATCH):
        decisions = predictor.predict(raw[start : start + _SAMPLES_PER_BATCH])
        predicted.append(decisions.score.astype(np.float64) if values else decisions.label_index)
        scores.append(decisions.score)
        if on_batch:
            on_batch(start + len(decisions))
    return Predictions(sample_sha256, labels, np.concatenate(predicted), None if values else np.concatenate(scores))


def choose_threshold(validation: Predictions, false_alarm_pct: float) -> float:
    """The anomaly score that so many of the normal validation samples exceed at most.

    Raises:
        StageError: There are too few normal samples to say.
    """
    assert validation.score is not None, "anomaly predictions carry scores"
    normal = validation.score[validation.labels == 0]
    needed = int(np.ceil(100 / false_alarm_pct))
    if len(normal) < needed:
        raise StageError(
            f"the validation split has {len(normal)} normal samples; a threshold with {false_alarm_pct:g} % false alarms "
            f"needs at least {needed}. Raise task.false_alarm_pct or data.validation_share."
        )
    return float(np.quantile(normal.astype(np.float64), 1 - false_alarm_pct / 100, method="higher"))


def with_threshold(predictions: Predictions, threshold: float) -> Predictions:
    """The same scores, decided by another threshold."""
    assert predictions.score is not None, "anomaly predictions carry scores"
    # In float32, as on the device.
    decided = (predictions.score > np.float32(threshold)).astype(np.int64)
    return Predictions(predictions.sample_sha256, predictions.labels, decided, predictions.score)
