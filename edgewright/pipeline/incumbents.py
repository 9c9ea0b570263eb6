"""What a release that is already out answers on the test split of today."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from edgewright.bundle import read_bundle
from edgewright.errors import BundleError, DataError, EngineError, RegistryError, StageError
from edgewright.pipeline.answering import answer, labels_of, postprocessing_for
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Stage
from edgewright.pipeline.evidence import Answered, NoneYet, Unavailable
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.judging import Incumbent
from edgewright.pipeline.model_engine import ModelEngine
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.progress import ProgressListener
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.evaluate import keep_predictions
from edgewright.pipeline.stages.machine import machine_type
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.targets import EngineName
from edgewright.pipeline.task_settings import TaskSettings
from edgewright.pipeline.tracking import ModelVersion, Tracking, download

# Artifacts of a released run, by name.
PREDICTIONS = "predictions.npz"
BUNDLE = "bundle"

STAGE = Stage("incumbent", "edgewright.pipeline.incumbents", ("numpy",))
_DEADLINE_S = 1800.0


@dataclass(frozen=True)
class _Answers:
    predictions: Artifact


def incumbent_predictions(
    store: ArtifactStore,
    tracking: Tracking,
    version: ModelVersion | None,
    snapshots: Sequence[SnapshotResult],
    task: TaskSettings,
) -> Incumbent | Answered:
    """The answers of a released version on today's test samples.

    They are kept with the release. Where the test split has changed since, its bundle is run again: a test sample stays one
    for life, so the bundle has never met it. With folds that does not hold, since the bundle has trained on what other folds
    test; then the comparison is over the samples that both builds answered, each by a model that never met their group.

    Returns:
        The predictions; with the samples that it was judged on, where those are others than today's; ``NoneYet`` where there
        is no such version; ``Unavailable`` with the reason where its answers cannot be had.
    """
    if version is None:
        return NoneYet()
    splits = [snapshot_stage.load(store, snapshot).test for snapshot in snapshots]
    wanted = [digest for split in splits for digest in split.sample_sha256]
    labels = np.concatenate([labels_of(split, task, snapshots[0].class_names) for split in splits])
    with tempfile.TemporaryDirectory() as scratch:
        try:
            kept = Predictions.load(download(tracking, version, PREDICTIONS, Path(scratch)))
            if list(kept.sample_sha256) == wanted and np.array_equal(kept.labels, labels):
                return kept
            if len(snapshots) > 1:
                return _answered_by_both(kept, wanted, labels, version)
            folder = download(tracking, version, BUNDLE, Path(scratch))
            answers = _run_again(store, folder, version, snapshots[0], task)
            judged_on = frozenset(kept.sample_sha256)
            return answers if judged_on == set(wanted) else Answered(answers, judged_on, version.bundle_sha256)
        except (RegistryError, BundleError, DataError, EngineError, StageError) as error:
            return Unavailable(str(error))


def _answered_by_both(
    kept: Predictions, wanted: Sequence[str], labels: npt.NDArray[Any], version: ModelVersion
) -> Incumbent:
    place = {digest: index for index, digest in enumerate(kept.sample_sha256)}
    common = [index for index, digest in enumerate(wanted) if digest in place]
    taken = kept.take(np.array([place[wanted[index]] for index in common])) if common else None
    if taken is None or not np.array_equal(taken.labels, labels[common]):
        return Unavailable(
            f"{version.name} version {version.version} answered none of today's test samples under today's labels, and has "
            "trained on them: pin a baseline that this data was built for"
        )
    return taken


def _run_again(
    store: ArtifactStore, folder: Path, version: ModelVersion, snapshot: SnapshotResult, task: TaskSettings
) -> Predictions:
    manifest = read_bundle(folder, version.bundle_sha256).manifest
    engine = ModelEngine(cast(EngineName, manifest.engine), manifest.settings)  # a manifest names no unknown engine
    inputs = {
        "bundle": version.bundle_sha256,
        "engine": engine.identity(),
        "snapshot": snapshot.sha256,
        "task": task.model_dump(mode="json"),
        "machine": machine_type(),
    }

    def compute() -> _Answers:
        return run_isolated(
            answer_again,
            store.root,
            folder,
            version.bundle_sha256,
            snapshot,
            task,
            work=f"{version.name} version {version.version} on the new test split",
            deadline_s=_DEADLINE_S,
        )

    answers = store.run_stage(STAGE, inputs, _Answers, compute).value
    return Predictions.load(store.path(answers.predictions))


def answer_again(
    root: Path,
    folder: Path,
    sha256: str,
    snapshot: SnapshotResult,
    task: TaskSettings,
    *,
    on_progress: ProgressListener,
) -> _Answers:
    """Runs a released bundle on the test split; runs in a process of its own."""
    from edgewright.predictor import open_predictor

    store = ArtifactStore(root)
    bundle = read_bundle(folder, sha256)
    theirs, ours = bundle.manifest.postprocessing, postprocessing_for(task, snapshot)
    if (theirs.kind, theirs.labels) != (ours.kind, ours.labels):
        raise DataError(
            f"it answers {theirs.kind} {list(theirs.labels)}, the recipe asks {ours.kind} {list(ours.labels)}"
        )
    test = snapshot_stage.load(store, snapshot).test
    with open_predictor(bundle) as predictor:
        labels = labels_of(test, task, snapshot.class_names)
        return _Answers(keep_predictions(store, answer(predictor, test.images, test.sample_sha256, labels)))
