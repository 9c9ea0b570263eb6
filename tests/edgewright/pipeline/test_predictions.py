"""Predictions per sample: a value with one file form, and pairing that refuses what does not belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import DataError, GateError
from edgewright.pipeline.predictions import Predictions, pair
from edgewright.pipeline.statistics import PairedCounts


def digests(count: int, start: int = 0) -> tuple[str, ...]:
    return tuple(f"{index:064x}" for index in range(start, start + count))


def predictions(labels: list[int], predicted: list[int], start: int = 0) -> Predictions:
    return Predictions(digests(len(labels), start), np.array(labels, np.int64), np.array(predicted, np.int64))


def test_correct_is_where_answer_and_label_agree() -> None:
    value = predictions([0, 1, 2, 3], [0, 1, 1, 3])
    assert value.correct.tolist() == [True, True, False, True]
    assert value.accuracy_pct == 75.0
    assert len(value) == 4


def test_arrays_are_own_and_read_only() -> None:
    labels = np.array([0, 1], np.int64)
    value = Predictions(digests(2), labels, labels)
    labels[0] = 7
    assert value.labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match="read-only"):
        value.labels[0] = 1


@pytest.mark.parametrize(
    ("sample_sha256", "labels", "predicted", "message"),
    [
        (("xyz",), np.zeros(1, np.int64), np.zeros(1, np.int64), r"sample_sha256\[0\] is 'xyz'"),
        (("A" * 64,), np.zeros(1, np.int64), np.zeros(1, np.int64), "lower-case"),
        (digests(1), np.zeros(1, np.int32), np.zeros(1, np.int64), "labels is int32"),
        (digests(1), np.zeros(1, np.int64), np.zeros(1, np.float64), "predicted is float64"),
        (digests(2), np.zeros(2, np.int64), np.zeros(1, np.int64), r"predicted is int64 \(1,\), not int64 \(2,\)"),
        (digests(1), np.zeros((1, 1), np.int64), np.zeros(1, np.int64), r"labels is int64 \(1, 1\)"),
        (digests(1), np.array([-1]), np.zeros(1, np.int64), "labels holds -1"),
    ],
)
def test_a_broken_field_is_named(
    sample_sha256: tuple[str, ...], labels: np.ndarray, predicted: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Predictions(sample_sha256, labels, predicted)


def test_accuracy_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="0 samples"):
        _ = predictions([], []).accuracy_pct


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)), max_size=40))
@settings(deadline=None, max_examples=30)
def test_what_was_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[int, int]]) -> None:
    path = tmp_path_factory.mktemp("predictions") / "answers"
    value = predictions([a for a, _ in pairs], [b for _, b in pairs])
    value.save(path)
    assert Predictions.load(path) == value
    assert hash(Predictions.load(path)) == hash(value)


def test_equal_predictions_give_equal_files(tmp_path: Path) -> None:
    value = predictions([0, 1, 2], [0, 2, 2])
    value.save(tmp_path / "first.npz")
    predictions([0, 1, 2], [0, 2, 2]).save(tmp_path / "second.npz")
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    predictions([0, 1, 2], [0, 2, 2]).save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.npz: not a readable predictions file"):
            Predictions.load(path)


def test_a_file_with_a_flipped_byte_is_refused_or_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "flipped.npz"
    value = predictions([0, 1, 2], [0, 2, 2])
    value.save(path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        try:
            loaded = Predictions.load(path)
        except DataError:
            continue
        assert loaded == value


def test_a_pickle_inside_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "pickled.npz"
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(path, sample_sha256=objects, labels=objects, predicted=objects)
    with pytest.raises(DataError, match="not a readable predictions file"):
        Predictions.load(path)


def test_other_arrays_and_missing_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", labels=np.zeros(1, np.int64))
    with pytest.raises(DataError, match=r"holds \['labels'\]"):
        Predictions.load(tmp_path / "other.npz")
    with pytest.raises(DataError, match=r"missing\.npz"):
        Predictions.load(tmp_path / "missing.npz")
    np.savez(tmp_path / "shape.npz", sample_sha256=np.zeros((1, 3)), labels=np.zeros(1), predicted=np.zeros(1))
    with pytest.raises(DataError, match=r"not uint8 \[N, 32\]"):
        Predictions.load(tmp_path / "shape.npz")


def test_pairing_counts_lost_and_gained_samples() -> None:
    reference = predictions([0] * 6, [0, 0, 0, 1, 1, 2])
    candidate = predictions([0] * 6, [0, 1, 2, 0, 2, 1])
    assert pair(candidate, reference, "reference") == PairedCounts(samples=6, lost=2, gained=1)
    assert pair(reference, candidate, "candidate") == PairedCounts(samples=6, lost=1, gained=2)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            predictions([0, 1], [0, 1]),
            "candidate has 3 samples, champion has 2; first mismatch: sample 2 exists on one",
        ),
        (predictions([0, 1, 2], [0, 1, 2], start=1), f"sample 0 is {0:064x} here and {1:064x} there"),
        (predictions([0, 2, 2], [0, 1, 2]), "label of sample 1 is 1 here and 2 there"),
    ],
)
def test_what_does_not_pair_is_refused_with_counts_and_first_mismatch(other: Predictions, message: str) -> None:
    with pytest.raises(GateError, match=message) as caught:
        pair(predictions([0, 1, 2], [0, 1, 2]), other, "champion")
    assert "evaluate the champion again" in str(caught.value)


class TestValuesAndScores:
    """Regression answers with values; scores are kept where there are any."""

    @staticmethod
    def values(labels: list[float], predicted: list[float], score: list[float] | None = None) -> Predictions:
        scores = None if score is None else np.array(score, np.float32)
        return Predictions(digests(len(labels)), np.array(labels), np.array(predicted), scores)

    def test_values_are_neither_right_nor_wrong(self) -> None:
        answers = self.values([1.5, 2.5], [1.5, 2.0])
        assert answers.has_values
        for figure in ("correct", "accuracy_pct"):
            with pytest.raises(DataError, match="judge them by skill"):
                getattr(answers, figure)

    @pytest.mark.parametrize("score", [None, [0.25, -3.0]])
    @pytest.mark.parametrize("labels", [[0, 1], [0.5, -1.5]])
    def test_what_was_saved_is_loaded(self, tmp_path: Path, labels: list[float], score: list[float] | None) -> None:
        answers = self.values(labels, labels, score)
        answers.save(tmp_path / "answers.npz")
        again = Predictions.load(tmp_path / "answers.npz")
        assert again == answers and again.labels.dtype == answers.labels.dtype
        assert (again.score is None) == (score is None)

    def test_scores_and_kinds_tell_answers_apart(self) -> None:
        one = self.values([0, 1], [0, 1], [0.5, 0.5])
        assert one != self.values([0, 1], [0, 1], [0.5, 0.6])
        assert one != self.values([0, 1], [0, 1])
        assert self.values([0, 1], [0, 1]) != self.values([0.0, 1.0], [0.0, 1.0])

    def test_a_part_of_the_answers_by_positions_or_by_a_mask(self) -> None:
        answers = self.values([0, 1, 2], [0, 1, 1], [0.1, 0.2, 0.3])
        part = answers.take(np.array([2, 0]))
        assert part.labels.tolist() == [2, 0] and part.sample_sha256 == (digests(3)[2], digests(3)[0])
        assert part.score is not None and part.score.tolist() == pytest.approx([0.3, 0.1])
        assert answers.take(np.array([True, False, True])) == answers.take(np.array([0, 2]))

    @pytest.mark.parametrize(
        ("labels", "predicted", "score", "message"),
        [
            ([0.5], [1], None, "predicted is int64"),
            ([0.5], [float("nan")], None, r"predicted\[0\] is nan"),
            ([float("inf")], [0.5], None, r"labels\[0\] is inf"),
            ([0], [0], [float("nan")], r"score\[0\] is nan"),
            ([0], [0], [0.5, 0.5], r"score is float32 \(2,\)"),
        ],
    )
    def test_a_broken_field_is_named(
        self, labels: list[float], predicted: list[float], score: list[float] | None, message: str
    ) -> None:
        with pytest.raises(DataError, match=message):
            self.values(labels, predicted, score)

    def test_classes_and_values_do_not_pair(self) -> None:
        with pytest.raises(GateError, match="classes and values"):
            pair(self.values([0], [0]), self.values([0.0], [0.0]), "reference")
