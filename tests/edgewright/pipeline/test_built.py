"""Folds answer together: every sample once, in one order for answers, groups and slices."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.built import data_sha256, pool, sample_facts, samples_of
from edgewright.pipeline.data_settings import FoldSettings, MotionSettings
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.task_settings import ClassificationSettings


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArtifactStore, tuple[SnapshotResult, ...]]:
    """Ten real people in five folds."""
    store = ArtifactStore(tmp_path_factory.mktemp("motion") / "store")
    data = MotionSettings(dataset="motion", folds=FoldSettings(folds=5), calibration_samples=100)
    return store, snapshot_stage.run(store, data, ClassificationSettings(kind="classification")).value.folds


def test_together_the_folds_test_everybody_once(motion: tuple[ArtifactStore, tuple[SnapshotResult, ...]]) -> None:
    store, folds = motion
    facts = sample_facts(store, folds)
    assert facts.groups is not None
    assert len(set(facts.groups)) == 10
    assert samples_of(folds)["test"] == len(facts.groups) == 2854
    assert {name: len(texts) for name, texts in facts.slices.items()} == dict.fromkeys(
        ("class", "group", "recording", "side"), 2854
    )
    assert set(facts.slices["side"]) == {"left", "right"}


def test_groups_and_slices_line_up_with_the_pooled_answers(
    motion: tuple[ArtifactStore, tuple[SnapshotResult, ...]],
) -> None:
    store, folds = motion
    splits = [snapshot_stage.load(store, fold).test for fold in folds]
    pooled = pool([Predictions(split.sample_sha256, split.labels, split.labels) for split in splits])
    facts = sample_facts(store, folds)
    names = folds[0].class_names
    assert [names[label] for label in pooled.labels] == list(facts.slices["class"])
    group_of = {
        digest: group for split in splits for digest, group in zip(split.sample_sha256, split.groups or (), strict=True)
    }
    assert [group_of[digest] for digest in pooled.sample_sha256] == list(facts.groups or ())


def part(first: int, count: int, scored: bool) -> Predictions:
    digests = tuple(hashlib.sha256(b"%d" % index).hexdigest() for index in range(first, first + count))
    labels = np.arange(count, dtype=np.int64)
    return Predictions(digests, labels, labels, np.ones(count, np.float32) if scored else None)


def test_scores_are_pooled_where_every_fold_has_them() -> None:
    assert pool([part(0, 3, True), part(3, 2, True)]).score is not None
    assert pool([part(0, 3, True), part(3, 2, False)]).score is None
    alone = part(0, 3, True)
    assert pool([alone]) is alone


def test_the_data_of_one_fold_is_its_snapshot(motion: tuple[ArtifactStore, tuple[SnapshotResult, ...]]) -> None:
    _, folds = motion
    assert data_sha256(folds[:1]) == folds[0].sha256
    every = data_sha256(folds)
    assert len(every) == 64
    changed = dataclasses.replace(folds[4], sha256="0" * 64)
    assert data_sha256([*folds[:4], changed]) != every
