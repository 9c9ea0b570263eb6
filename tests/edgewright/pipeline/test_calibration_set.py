"""Which samples calibrate: the choice follows from content alone, and suits the kind of question."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import CalibrationError
from edgewright.pipeline.calibration_set import in_batches, select_calibration_set
from edgewright.pipeline.task_settings import AnomalySettings, ClassificationSettings, RegressionSettings

CLASSES = ("cat", "dog", "eel")
CLASSIFICATION = ClassificationSettings(kind="classification")
ANOMALY = AnomalySettings(kind="anomaly", normal="dog")
REGRESSION = RegressionSettings(kind="regression")


def digests(count: int, seed: int = 0) -> tuple[str, ...]:
    """Digests in no order."""
    return tuple(f"{digest:064x}" for digest in np.random.default_rng(seed).permutation(count))


@settings(max_examples=50, deadline=None)
@given(counts=st.tuples(*[st.integers(1, 30)] * 3), share=st.floats(0.1, 1), seed=st.integers(0, 99))
def test_classes_are_taken_in_turn_and_the_choice_depends_on_content_alone(
    counts: tuple[int, ...], share: float, seed: int
) -> None:
    labels = np.array([label for label, count in enumerate(counts) for _ in range(count)])
    count, names = max(1, int(share * len(labels))), digests(len(labels), seed)
    chosen = select_calibration_set(labels, names, CLASSES, count, CLASSIFICATION)
    assert len(set(chosen.indices)) == count
    assert [names[index] for index in chosen.indices] == list(chosen.sample_sha256)
    found = Counter(CLASSES[labels[index]] for index in chosen.indices)
    assert chosen.coverage == {name: found[name] for name in CLASSES}
    for name, available in zip(CLASSES, counts, strict=True):  # no class gets less than its share while it has more
        assert chosen.coverage[name] >= min(available, count // 3)
    order = np.random.default_rng(seed).permutation(len(labels))
    again = select_calibration_set(labels[order], [names[i] for i in order], CLASSES, count, CLASSIFICATION)
    assert again.sample_sha256 == chosen.sample_sha256


def test_ranges_of_what_is_normal_are_taken_from_normal_samples_alone() -> None:
    labels = np.array([0, 1, 1, 2, 1, 1, 0, 1])
    chosen = select_calibration_set(labels, digests(8), CLASSES, 4, ANOMALY)
    assert set(labels[list(chosen.indices)]) == {1}
    assert chosen.coverage == {"cat": 0, "dog": 4, "eel": 0}
    assert chosen.eligible == 5
    with pytest.raises(CalibrationError, match=r"has 5 'dog' samples, needs at least 6 \(data\.calibration_samples\)"):
        select_calibration_set(labels, digests(8), CLASSES, 6, ANOMALY)


def test_a_split_of_normal_samples_alone_calibrates_as_well() -> None:
    assert select_calibration_set(np.ones(8, np.int64), digests(8), CLASSES, 4, ANOMALY).coverage["dog"] == 4


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=60),
    share=st.floats(0.1, 1),
    resample=st.none() | st.integers(0, 4),
)
def test_values_are_covered_evenly(values: list[float], share: float, resample: int | None) -> None:
    """Of every ``N / count`` neighbours in value, one is taken."""
    labels, count = np.array(values), max(1, int(share * len(values)))
    chosen = select_calibration_set(labels, digests(len(labels)), (), count, REGRESSION, resample)
    assert len(set(chosen.indices)) == count == sum(chosen.coverage.values())
    ranked, taken = np.sort(labels), np.sort(labels[list(chosen.indices)])
    for part in range(count):
        first, end = len(ranked) * part // count, len(ranked) * (part + 1) // count
        assert ranked[first] <= taken[part] <= ranked[end - 1]


@pytest.mark.parametrize("task", [CLASSIFICATION, ANOMALY, REGRESSION], ids=lambda task: task.kind)
def test_other_sets_of_the_same_kind_come_from_salted_digests(
    task: ClassificationSettings | AnomalySettings | RegressionSettings,
) -> None:
    labels: npt.NDArray[np.float64] | npt.NDArray[np.int64] = np.arange(300) % 3
    if task is REGRESSION:
        labels = np.linspace(0, 1, 300)
    kept, first, second, again = (
        select_calibration_set(labels, digests(300), CLASSES, 60, task, resample) for resample in (None, 0, 1, 0)
    )
    assert first == again
    assert len({kept.indices, first.indices, second.indices}) == 3
    assert first.coverage == kept.coverage


def test_too_few_samples_say_how_many_and_where() -> None:
    with pytest.raises(
        CalibrationError, match=r"has 4 samples, needs at least 64 \(data\.calibration_samples\)\. Lower"
    ):
        select_calibration_set(np.array([0, 1, 2, 0]), digests(4), CLASSES, 64, CLASSIFICATION)


def test_a_class_without_a_sample_is_named() -> None:
    with pytest.raises(CalibrationError, match=r"no sample of class 'eel'\. Give the split more"):
        select_calibration_set(np.array([0, 1, 0, 1]), digests(4), CLASSES, 2, CLASSIFICATION)


def test_batches_hold_the_chosen_samples_in_order_and_can_be_asked_twice() -> None:
    raw, indices = np.arange(100).reshape(-1, 1), tuple(range(99, 0, -3))
    batches = in_batches(raw, indices, lambda part: part.astype(np.float32))
    for _ in range(2):
        parts = list(batches())
        assert np.concatenate(parts).ravel().tolist() == list(indices)
        assert max(len(part) for part in parts) < len(indices)
