"""Stage 1: the data of a build, remembered by content."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edgewright.errors import DataError, IntegrityError
from edgewright.pipeline.stages import snapshot


def test_the_splits_are_disjoint_and_counted(build: Any) -> None:
    result = build.data.value
    loaded = snapshot.load(build.store, result)
    digests = [digest for split in loaded.splits.values() for digest in split.sample_sha256]
    assert len(digests) == len(set(digests)) == sum(result.samples.values())
    assert result.samples == {name: len(split.labels) for name, split in loaded.splits.items()}
    assert result.samples["test"] == 10_000, "the limit is for quick trials of training; what judges stays whole"
    assert json.loads(build.store.read(result.card))["sha256"] == result.sha256 == loaded.sha256


def test_preprocessing_centres_the_training_images(build: Any) -> None:
    result = build.data.value
    inputs = result.preprocessing.apply(snapshot.load(build.store, result).train.images)
    assert result.input_shape == (1, 28, 28)
    assert inputs.dtype == np.float32
    assert inputs.mean() == pytest.approx(0, abs=1e-3)
    assert inputs.std() == pytest.approx(1, abs=1e-3)


def test_it_is_remembered_until_a_setting_changes(build: Any) -> None:
    again = snapshot.run(build.store, build.recipe.data)
    assert again.unchanged and again.value == build.data.value
    smaller = snapshot.run(build.store, build.recipe.data.model_copy(update={"limit_per_class": 110}))
    assert not smaller.unchanged
    assert smaller.value.sha256 != again.value.sha256


def test_another_number_of_calibration_samples_is_the_same_snapshot(build: Any) -> None:
    """Training must not run again because calibration takes fewer samples."""
    fewer = snapshot.run(build.store, build.recipe.data.model_copy(update={"calibration_samples": 80}))
    assert fewer.value.sha256 == build.data.value.sha256


def test_a_calibration_split_that_is_too_small_is_found_before_anything_trains(build: Any) -> None:
    with pytest.raises(DataError, match="calibration"):
        snapshot.run(build.store, build.recipe.data.model_copy(update={"calibration_samples": 5000}))


def test_damaged_arrays_are_never_loaded(build: Any) -> None:
    arrays = build.store.root / build.data.value.arrays.path
    sound = arrays.read_bytes()
    try:
        arrays.write_bytes(sound[:-1])
        with pytest.raises(IntegrityError):
            snapshot.load(build.store, build.data.value)
    finally:
        arrays.write_bytes(sound)
