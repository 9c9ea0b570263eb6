"""Stage 1: the data of a build, remembered by content, whatever a sample is; with folds, once per fold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from edgewright.errors import DataError, IntegrityError
from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.collected import CollectedBatch, CollectedSamples, batch_content, pack_batch
from edgewright.pipeline.data_settings import DataSettings
from edgewright.pipeline.datasets.dataset import at
from edgewright.pipeline.datasets.digits import load_reserve
from edgewright.pipeline.datasets.loading import load_dataset
from edgewright.pipeline.stages import snapshot
from edgewright.pipeline.task_settings import AnomalySettings, ClassificationSettings, RegressionSettings

CLASSES = ClassificationSettings(kind="classification")
NORMAL = AnomalySettings(kind="anomaly", normal="normal")
VALUES = RegressionSettings(kind="regression")
SETTINGS: TypeAdapter[DataSettings] = TypeAdapter(DataSettings)


def parse(**section: Any) -> Any:
    return SETTINGS.validate_python(section)


DIGITS = parse(dataset="digits", limit_per_class=120, calibration_share=0.15, calibration_samples=100)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(tmp_path_factory.mktemp("snapshots") / "store")


@pytest.fixture(scope="module")
def digits(store: ArtifactStore) -> snapshot.SnapshotResult:
    (only,) = snapshot.run(store, DIGITS, CLASSES).value.folds
    return only


def test_the_splits_are_disjoint_and_counted(store: ArtifactStore, digits: snapshot.SnapshotResult) -> None:
    loaded = snapshot.load(store, digits)
    digests = [digest for split in loaded.splits.values() for digest in split.sample_sha256]
    assert len(digests) == len(set(digests)) == sum(digits.samples.values())
    assert digits.samples == {name: len(split.labels) for name, split in loaded.splits.items()}
    assert digits.samples["test"] == 10_000, "the limit is for quick trials of training; what judges stays whole"
    assert json.loads(store.read(digits.card))["sha256"] == digits.sha256 == loaded.sha256


def test_the_digits_of_the_shipped_recipe_are_what_they_always_were(store: ArtifactStore) -> None:
    (whole,) = snapshot.run(store, parse(dataset="digits", validation_share=0.30), CLASSES).value.folds
    assert whole.sha256 == "a1ea12cb0f55bee219ee3c18f6c12f543a0f4c986f5afc1035c3bde46ac29f7c"
    assert (whole.mean, whole.std, whole.scale) == ((0.1311,), (0.3084,), 1 / 255)
    assert (whole.kind, whole.dtype, whole.fold) == ("image", "uint8", None)


def test_preprocessing_centres_the_training_images(store: ArtifactStore, digits: snapshot.SnapshotResult) -> None:
    inputs = digits.preprocessing.apply(snapshot.load(store, digits).train.images)
    assert digits.input_shape == (1, 28, 28)
    assert inputs.dtype == np.float32
    assert inputs.mean() == pytest.approx(0, abs=1e-3)
    assert inputs.std() == pytest.approx(1, abs=1e-3)


def test_it_is_remembered_until_a_setting_changes(store: ArtifactStore, digits: snapshot.SnapshotResult) -> None:
    again = snapshot.run(store, DIGITS, CLASSES)
    assert again.unchanged and again.value.folds == (digits,)
    other_metric = ClassificationSettings(kind="classification", metric="balanced_accuracy")
    assert snapshot.run(store, DIGITS, other_metric).unchanged
    smaller = snapshot.run(store, DIGITS.model_copy(update={"limit_per_class": 110}), CLASSES)
    assert not smaller.unchanged
    assert smaller.value.folds[0].sha256 != digits.sha256


def test_another_number_of_calibration_samples_is_the_same_snapshot(
    store: ArtifactStore, digits: snapshot.SnapshotResult
) -> None:
    """Training must not run again because calibration takes fewer samples."""
    fewer = snapshot.run(store, DIGITS.model_copy(update={"calibration_samples": 80}), CLASSES)
    assert fewer.value.folds[0].sha256 == digits.sha256


def test_a_calibration_split_that_is_too_small_is_found_before_anything_trains(store: ArtifactStore) -> None:
    with pytest.raises(DataError, match="calibration"):
        snapshot.run(store, DIGITS.model_copy(update={"calibration_samples": 5000}), CLASSES)


def test_damaged_arrays_are_never_loaded(store: ArtifactStore, digits: snapshot.SnapshotResult) -> None:
    arrays = store.root / digits.arrays.path
    sound = arrays.read_bytes()
    try:
        arrays.write_bytes(sound[:-1])
        with pytest.raises(IntegrityError):
            snapshot.load(store, digits)
        assert not snapshot.run(store, DIGITS, CLASSES).unchanged, "what is damaged is made anew"
        assert snapshot.load(store, digits).sha256 == digits.sha256
    finally:
        arrays.write_bytes(sound)


# --- samples that were taken in since ------------------------------------------------------------------------------


def inputs_of(store: ArtifactStore) -> list[dict[str, Any]]:
    records = (store.root / "stages" / "snapshot").glob("*.json")
    return [json.loads(record.read_text())["content"]["inputs"] for record in records]


def test_without_a_collection_nothing_is_remembered_under_another_key(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "store")
    snapshot.run(store, DIGITS, CLASSES)
    (inputs,) = inputs_of(store)
    assert set(inputs) == {"settings", "task", "files"}
    assert snapshot.run(store, DIGITS, CLASSES, None).unchanged


def collected(store: ArtifactStore, first: int, last: int, share: float = 0.2) -> CollectedBatch:
    reserve = load_reserve()
    return CollectedBatch(store.put_bytes(pack_batch(batch_content(reserve, np.arange(first, last)))), share)


def test_new_digits_join_the_splits_and_no_old_one_moves(store: ArtifactStore, digits: snapshot.SnapshotResult) -> None:
    one = CollectedSamples((collected(store, 0, 200),))
    two = CollectedSamples((*one.batches, collected(store, 200, 300)))
    (first,) = snapshot.run(store, DIGITS, CLASSES, one).value.folds
    (second,) = snapshot.run(store, DIGITS, CLASSES, two).value.folds
    before: dict[str, str] = {}
    for result, count in ((digits, 0), (first, 200), (second, 300)):
        loaded = snapshot.load(store, result)
        fate = {digest: name for name, split in loaded.splits.items() for digest in split.sample_sha256}
        assert before.items() <= fate.items()
        assert len(fate) == sum(digits.samples.values()) + count
        before = fate
    assert 10_000 < first.samples["test"] < second.samples["test"] < 10_100


def test_it_is_remembered_by_the_digests_and_shares_of_what_joined(store: ArtifactStore) -> None:
    batch = collected(store, 0, 200)
    assert not snapshot.run(store, DIGITS, CLASSES, CollectedSamples((replace(batch, test_share=0.9),))).unchanged
    again = snapshot.run(store, DIGITS, CLASSES, CollectedSamples((collected(store, 0, 200),)))
    assert again.unchanged
    assert ["collection"] in [sorted(set(inputs) - {"settings", "task", "files"}) for inputs in inputs_of(store)]


def test_where_shares_make_the_test_split_that_of_new_samples_is_no_input(tmp_path: Path, own_values: Any) -> None:
    store = ArtifactStore(tmp_path / "store")
    base = load_dataset(parse(**own_values), VALUES)
    new = replace(base, images=base.images[:40] + np.float32(0.5), labels=base.labels[:40])
    batch = CollectedBatch(store.put_bytes(pack_batch(batch_content(new, np.arange(40)))), 0.2)
    taken = snapshot.run(store, parse(**own_values), VALUES, CollectedSamples((batch,)))
    assert sum(taken.value.folds[0].samples.values()) == 640
    assert snapshot.run(
        store, parse(**own_values), VALUES, CollectedSamples((replace(batch, test_share=0.7),))
    ).unchanged


def test_samples_that_are_all_there_already_change_nothing_that_follows(
    store: ArtifactStore, digits: snapshot.SnapshotResult
) -> None:
    known = at(load_dataset(DIGITS, CLASSES), np.arange(50))
    batch = CollectedBatch(store.put_bytes(pack_batch(batch_content(known, np.arange(50)))), 0.2)
    (same,) = snapshot.run(store, DIGITS, CLASSES, CollectedSamples((batch,))).value.folds
    assert same.sha256 == digits.sha256


# --- folds --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def motion(store: ArtifactStore) -> snapshot.SnapshotsResult:
    return snapshot.run(store, parse(dataset="motion"), CLASSES).value


def test_every_fold_is_a_snapshot_and_every_person_is_tested_once(
    store: ArtifactStore, motion: snapshot.SnapshotsResult
) -> None:
    assert [fold.fold for fold in motion.folds] == [0, 1, 2, 3, 4]
    assert len({fold.sha256 for fold in motion.folds}) == 5
    tested = [set(snapshot.load(store, fold).test.groups or ()) for fold in motion.folds]
    assert sum(len(people) for people in tested) == len(set.union(*tested)) == 10
    for fold in motion.folds:
        assert fold.groups == {"train": 6, "calibration": 1, "validation": 1, "test": 2}
        assert fold.columns == ("recording", "side")
        assert (fold.kind, fold.dtype, fold.scale) == ("window", "float32", 1.0)
        assert fold.input_shape == (6, 1, 160)
    assert snapshot.run(store, parse(dataset="motion"), CLASSES).unchanged


def test_a_fold_is_centred_by_its_own_training_people(store: ArtifactStore, motion: snapshot.SnapshotsResult) -> None:
    fold = motion.folds[1]
    inputs = fold.preprocessing.apply(snapshot.load(store, fold).train.images)
    assert inputs.shape[1:] == (6, 1, 160)
    assert inputs.mean(axis=(0, 2, 3)) == pytest.approx(np.zeros(6), abs=2e-3)
    assert inputs.std(axis=(0, 2, 3)) == pytest.approx(np.ones(6), abs=2e-3)


# --- anomalies and values -----------------------------------------------------------------------------------------


def test_anomalies_are_centred_by_normal_rows(store: ArtifactStore) -> None:
    (rows,) = snapshot.run(store, parse(dataset="shuttle"), NORMAL).value.folds
    assert (rows.kind, rows.input_shape, rows.class_names) == ("row", (9, 1, 1), ("normal", "anomaly"))
    train = snapshot.load(store, rows).train
    inputs = rows.preprocessing.apply(train.images)
    assert inputs[train.labels == 0].mean(axis=(0, 2, 3)) == pytest.approx(np.zeros(9), abs=1e-3)
    assert abs(inputs[train.labels == 1].mean(axis=(0, 2, 3))).max() > 1
    other = snapshot.run(store, parse(dataset="shuttle"), CLASSES)
    assert not other.unchanged, "another question centres by other rows"
    assert other.value.folds[0].sha256 == rows.sha256


@pytest.fixture
def own_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A section for 600 rows whose value is 3 x the first channel + 5."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(2).normal(size=(600, 2)).astype(np.float32)
    np.savez("own.npz", x=x, y=5 + 3 * x[:, 0].astype(np.float64))
    return {"dataset": "npz", "path": "own.npz", "kind": "row", "calibration_share": 0.2, "calibration_samples": 64}


def test_values_bring_their_statistics(tmp_path: Path, own_values: dict[str, Any]) -> None:
    store = ArtifactStore(tmp_path / "store")
    (rows,) = snapshot.run(store, parse(**own_values), VALUES).value.folds
    train = snapshot.load(store, rows).train.labels
    assert train.dtype == np.float64 and rows.class_names == ()
    assert rows.values is not None
    assert rows.values.mean == pytest.approx(train.mean(), abs=1e-3)
    assert rows.values.std == pytest.approx(train.std(), rel=1e-3)
    assert rows.values.naive_error == np.abs(train - np.median(train)).mean()
    card = json.loads(store.read(rows.card))
    assert set(card["splits"]["train"]["values"]) == {"least", "mean", "largest"}
    assert snapshot.run(store, parse(**own_values), VALUES).unchanged


@settings(max_examples=60, deadline=None)
@given(
    centre=st.floats(-1e6, 1e6),
    spread=st.floats(1e-6, 1e6),
    channels=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_statistics_never_round_a_deviation_to_nothing(centre: float, spread: float, channels: int, seed: int) -> None:
    samples = (centre + spread * np.random.default_rng(seed).uniform(-1, 1, (50, channels))).astype(np.float32)
    if (samples.min(axis=0) == samples.max(axis=0)).any():
        return
    mean, std = snapshot._moments(samples, channels, 1.0)
    exact = samples.astype(np.float64)
    assert min(std) > 0
    assert np.array(std) == pytest.approx(exact.std(axis=0), rel=1e-3)
    assert (np.abs(np.array(mean) - exact.mean(axis=0)) <= 1e-3 * exact.std(axis=0)).all()
