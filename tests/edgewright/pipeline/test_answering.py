"""How each kind of question is put: what answers are held against, and the threshold that calls an anomaly."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgewright.errors import StageError
from edgewright.pipeline.answering import choose_threshold, labels_of, normal_only, with_threshold
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.snapshot import Split
from edgewright.pipeline.task_settings import AnomalySettings, ClassificationSettings, RegressionSettings

CLASSES = ("broken", "normal", "worn")
ANOMALY = AnomalySettings(kind="anomaly", normal="normal")


def digests(count: int) -> tuple[str, ...]:
    return tuple(hashlib.sha256(b"%d" % index).hexdigest() for index in range(count))


def split(labels: list[float], dtype: type = np.int64) -> Split:
    return Split(np.zeros((len(labels), 2), np.float32), np.array(labels, dtype), digests(len(labels)))


def scored(labels: list[int], scores: list[float]) -> Predictions:
    return Predictions(
        digests(len(labels)), np.array(labels), np.zeros(len(labels), np.int64), np.array(scores, np.float32)
    )


def test_whatever_is_not_normal_is_an_anomaly() -> None:
    part = split([0, 1, 2, 1])
    assert labels_of(part, ANOMALY, CLASSES).tolist() == [1, 0, 1, 0]
    assert normal_only(part, ANOMALY, CLASSES).tolist() == [False, True, False, True]


def test_classes_and_values_stay_what_they_are() -> None:
    classes, values = ClassificationSettings(kind="classification"), RegressionSettings(kind="regression")
    assert labels_of(split([0, 2]), classes, CLASSES).tolist() == [0, 2]
    assert labels_of(split([0.5, -3.0], np.float64), values, ()).tolist() == [0.5, -3.0]
    assert normal_only(split([0, 2]), classes, CLASSES).all()


@pytest.mark.parametrize("false_alarm_pct", [1.0, 5.0, 20.0])
def test_no_more_normal_samples_than_asked_lie_above_the_threshold(false_alarm_pct: float) -> None:
    rng = np.random.default_rng(0)
    normal, strange = rng.gamma(2.0, 1.0, 1000), rng.gamma(9.0, 1.0, 50)
    validation = scored([0] * 1000 + [1] * 50, [*normal, *strange])
    decided = with_threshold(validation, choose_threshold(validation, false_alarm_pct))
    alarms = decided.predicted[:1000].mean()
    assert alarms <= false_alarm_pct / 100
    assert alarms >= false_alarm_pct / 100 - 0.002, "and not far fewer, or anomalies would be missed for nothing"
    assert decided.predicted[1000:].mean() > 0.5
    assert decided.score is validation.score or np.array_equal(decided.score, validation.score)


def test_too_few_normal_samples_cannot_say_what_is_rare() -> None:
    with pytest.raises(
        StageError, match=r"has 50 normal samples; a threshold with 1 % false alarms needs at least 100"
    ):
        choose_threshold(scored([0] * 50 + [1] * 100, [1.0] * 150), 1.0)
