"""Stage 5: what a model answers, sample by sample, in the device's own engine with the device's own pre- and postprocessing.

Where it runs is this machine: for a target of another kind the answers are a forecast (INT8 may differ in the last steps
on another CPU), and the bundle's golden samples settle it on the device.
"""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgewright.engines.engine import EngineSettings
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.snapshot import Split
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.machine import machine_type
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.targets import Target
from edgewright.predictor import Predictor

STAGE = Stage("evaluate", "edgewright.pipeline.stages.evaluate", ("numpy", "onnxruntime"))
_DEADLINE_S = 1800.0
_SAMPLES_PER_REPORT = 1000


@dataclass(frozen=True)
class EvaluationResult:
    """What one model did on one engine.

    Attributes:
        validation: Predictions on the validation split (npz).
        test: Predictions on the test split (npz).
        validation_accuracy_pct: Accuracy on the validation split, in percent: what variants are chosen by.
        accuracy_pct: Accuracy on the test split, in percent: what the gate judges.
        recall_pct: Recall on the test split by class name, in percent.
        size_bytes: Size of the model file.
        compressed_size_bytes: Its size after gzip.
        engine_version: Version of the engine.
        providers_in_use: Execution providers that the model's nodes really ran on.
    """

    validation: Artifact
    test: Artifact
    validation_accuracy_pct: float
    accuracy_pct: float
    recall_pct: dict[str, float]
    size_bytes: int
    compressed_size_bytes: int
    engine_version: str
    providers_in_use: tuple[str, ...]


def engine_settings(target: Target) -> EngineSettings:
    """How the target's engine runs a model."""
    return EngineSettings(tuple(target.providers), target.threads, target.allow_spinning)


def run(
    store: ArtifactStore,
    snapshot: SnapshotResult,
    model: Artifact,
    target: Target,
    work: str,
    on_progress: ProgressListener = ignore_progress,
) -> Outcome[EvaluationResult]:
    """Lets a model answer the validation and the test split.

    Raises:
        EngineError: The engine cannot run the model.
    """
    settings = engine_settings(target)
    inputs = {
        "snapshot": snapshot.sha256,
        "preprocessing": snapshot.preprocessing.to_json(),
        "model": model.sha256,
        "engine": target.engine,
        "settings": settings.to_json(),
        "machine": machine_type(),
    }
    return store.run_stage(
        STAGE,
        inputs,
        EvaluationResult,
        lambda: run_isolated(
            evaluate,
            store.root,
            snapshot,
            model,
            target.engine,
            settings,
            work,
            work=f"evaluation of {work}",
            deadline_s=_DEADLINE_S,
            threads=settings.threads,
            on_progress=on_progress,
        ),
    )


def evaluate(
    root: Path,
    snapshot: SnapshotResult,
    model: Artifact,
    engine_name: str,
    settings: EngineSettings,
    work: str,
    *,
    on_progress: ProgressListener,
) -> EvaluationResult:
    """Does the stage's work; runs in a process of its own."""
    from edgewright.engines.engine import open_engine
    from edgewright.postprocessing import Classification

    store = ArtifactStore(root)
    data = snapshot_stage.load(store, snapshot)
    content = store.read(model)
    engine = open_engine(engine_name, content, settings)
    total = len(data.validation.labels) + len(data.test.labels)
    with Predictor(snapshot.preprocessing, engine, Classification(snapshot.class_names)) as predictor:
        validation = _predict(predictor, data.validation, work, 0, total, on_progress)
        test = _predict(predictor, data.test, work, len(validation), total, on_progress)
        return EvaluationResult(
            validation=_keep(store, validation),
            test=_keep(store, test),
            validation_accuracy_pct=validation.accuracy_pct,
            accuracy_pct=test.accuracy_pct,
            recall_pct=_recall_pct(test, snapshot.class_names),
            size_bytes=len(content),
            compressed_size_bytes=len(gzip.compress(content, mtime=0)),
            engine_version=engine.version,
            providers_in_use=engine.providers_in_use,
        )


def load_predictions(store: ArtifactStore, artifact: Artifact) -> Predictions:
    """Reads predictions back from the store, checked."""
    return Predictions.load(store.path(artifact))


def _predict(
    predictor: Predictor, split: Split, work: str, before: int, total: int, on_progress: ProgressListener
) -> Predictions:
    answers = []
    for start in range(0, len(split.labels), _SAMPLES_PER_REPORT):
        answers.append(predictor.predict(split.images[start : start + _SAMPLES_PER_REPORT]).label_index)
        on_progress(Progress(work, before + start + len(answers[-1]), total, "evaluating"))
    return Predictions(split.sample_sha256, split.labels, np.concatenate(answers))


def _keep(store: ArtifactStore, predictions: Predictions) -> Artifact:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "predictions.npz"
        predictions.save(path)
        return store.put_file(path)


def _recall_pct(predictions: Predictions, class_names: tuple[str, ...]) -> dict[str, float]:
    right, labels = predictions.correct, predictions.labels
    return {name: 100 * float(right[labels == index].mean()) for index, name in enumerate(class_names)}
