"""What a release that is already out answers on the test split of today."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgewright.errors import BundleError, DataError, EngineError, RegistryError, StageError
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Stage
from edgewright.pipeline.evidence import NoneYet, Unavailable
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.judging import Incumbent
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.progress import ProgressListener
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.machine import machine_type
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.targets import Target
from edgewright.pipeline.tracking import ModelVersion, Tracking, download

# Artifacts of a released run, by name.
PREDICTIONS = "predictions.npz"
BUNDLE = "bundle"

STAGE = Stage("incumbent", "edgewright.pipeline.incumbents", ("numpy", "onnxruntime"))
_DEADLINE_S = 1800.0


@dataclass(frozen=True)
class _Answers:
    predictions: Artifact


def incumbent_predictions(
    store: ArtifactStore, tracking: Tracking, version: ModelVersion | None, snapshot: SnapshotResult, target: Target
) -> Incumbent:
    """The answers of a released version on the snapshot's test split.

    They are kept with the release; where the test split has changed since, its bundle is run again.

    Returns:
        The predictions; ``NoneYet`` where there is no such version; ``Unavailable`` with the reason where its answers cannot
        be had.
    """
    if version is None:
        return NoneYet()
    test = snapshot_stage.load(store, snapshot).test
    with tempfile.TemporaryDirectory() as scratch:
        try:
            kept = Predictions.load(download(tracking, version, PREDICTIONS, Path(scratch)))
            if kept.sample_sha256 == test.sample_sha256 and np.array_equal(kept.labels, test.labels):
                return kept
            return _run_again(store, download(tracking, version, BUNDLE, Path(scratch)), version, snapshot)
        except (RegistryError, BundleError, DataError, EngineError, StageError) as error:
            return Unavailable(str(error))


def _run_again(store: ArtifactStore, folder: Path, version: ModelVersion, snapshot: SnapshotResult) -> Predictions:
    inputs = {"bundle": version.bundle_sha256, "snapshot": snapshot.sha256, "machine": machine_type()}

    def compute() -> _Answers:
        return run_isolated(
            answer_again,
            store.root,
            folder,
            version.bundle_sha256,
            snapshot,
            work=f"{version.name} version {version.version} on the new test split",
            deadline_s=_DEADLINE_S,
        )

    answers = store.run_stage(STAGE, inputs, _Answers, compute).value
    return Predictions.load(store.path(answers.predictions))


def answer_again(
    root: Path, folder: Path, sha256: str, snapshot: SnapshotResult, *, on_progress: ProgressListener
) -> _Answers:
    """Runs a released bundle on the test split; runs in a process of its own."""
    from edgewright.bundle import read_bundle
    from edgewright.predictor import open_predictor

    store = ArtifactStore(root)
    bundle = read_bundle(folder, sha256)
    if bundle.manifest.postprocessing.labels != snapshot.class_names:
        raise DataError(f"it answers {bundle.manifest.postprocessing.labels}, the data has {snapshot.class_names}")
    test = snapshot_stage.load(store, snapshot).test
    with open_predictor(bundle) as predictor, tempfile.TemporaryDirectory() as scratch:
        predicted = predictor.predict(test.images).label_index
        path = Path(scratch) / PREDICTIONS
        Predictions(test.sample_sha256, test.labels, predicted).save(path)
        return _Answers(store.put_file(path))
