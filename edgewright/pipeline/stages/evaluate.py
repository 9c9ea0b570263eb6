"""Stage 5: what a model answers, sample by sample, in the device's own engine with the device's own pre- and postprocessing.

Where it runs is this machine: for a target of another kind the answers are a forecast (INT8 may differ in the last steps
on another CPU), and the bundle's golden samples settle it on the device.
"""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgewright.pipeline.answering import (
    answer,
    choose_threshold,
    labels_of,
    postprocessing_for,
    quality_for,
    with_threshold,
)
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.model_engine import ModelEngine
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.snapshot import Split
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.machine import machine_type
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.task_settings import AnomalySettings, TaskSettings
from edgewright.predictor import Predictor

STAGE = Stage("evaluate", "edgewright.pipeline.stages.evaluate", ("numpy",))
_DEADLINE_S = 1800.0


@dataclass(frozen=True)
class EvaluationResult:
    """What one model did on one engine.

    Attributes:
        validation: Predictions on the validation split (npz).
        test: Predictions on the test split (npz).
        validation_pct: The task's figure on the validation split, in percent: what variants are chosen by.
        threshold: Anomaly score above which a sample is called an anomaly, from the validation split; None elsewhere.
        size_bytes: Size of the model file.
        compressed_size_bytes: Its size after gzip.
        engine_version: Version of the engine.
        providers_in_use: Execution providers that the model's nodes really ran on.
    """

    validation: Artifact
    test: Artifact
    validation_pct: float
    threshold: float | None
    size_bytes: int
    compressed_size_bytes: int
    engine_version: str
    providers_in_use: tuple[str, ...]


def run(
    store: ArtifactStore,
    snapshot: SnapshotResult,
    model: Artifact,
    engine: ModelEngine,
    task: TaskSettings,
    work: str,
    on_progress: ProgressListener = ignore_progress,
) -> Outcome[EvaluationResult]:
    """Lets a model answer the validation and the test split.

    Raises:
        EngineError: The engine cannot run the model.
        StageError: The validation split has too few normal samples for a threshold.
    """
    inputs = {
        "snapshot": snapshot.sha256,
        "preprocessing": snapshot.preprocessing.to_json(),
        "model": model.sha256,
        "task": task.model_dump(mode="json"),
        "engine": engine.identity(),
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
            engine,
            task,
            work,
            work=f"evaluation of {work}",
            deadline_s=_DEADLINE_S,
            threads=engine.settings.threads,
            on_progress=on_progress,
        ),
    )


def evaluate(
    root: Path,
    snapshot: SnapshotResult,
    model: Artifact,
    model_engine: ModelEngine,
    task: TaskSettings,
    work: str,
    *,
    on_progress: ProgressListener,
) -> EvaluationResult:
    """Does the stage's work; runs in a process of its own."""
    from edgewright.engines.engine import open_engine

    store = ArtifactStore(root)
    data = snapshot_stage.load(store, snapshot)
    content = store.read(model)
    engine = open_engine(model_engine.name, content, model_engine.settings)
    total = len(data.validation.labels) + len(data.test.labels)

    def answer_split(split: Split, before: int) -> Predictions:
        def report(done: int) -> None:
            on_progress(Progress(work, before + done, total, "evaluating"))

        labels = labels_of(split, task, snapshot.class_names)
        return answer(predictor, split.images, split.sample_sha256, labels, report)

    with Predictor(snapshot.preprocessing, engine, postprocessing_for(task, snapshot)) as predictor:
        validation = answer_split(data.validation, 0)
        test = answer_split(data.test, len(validation))
        threshold = None
        if isinstance(task, AnomalySettings):
            threshold = choose_threshold(validation, task.false_alarm_pct)
            validation, test = with_threshold(validation, threshold), with_threshold(test, threshold)
        return EvaluationResult(
            validation=keep_predictions(store, validation),
            test=keep_predictions(store, test),
            validation_pct=quality_for(task, snapshot).of(validation),
            threshold=threshold,
            size_bytes=len(content),
            compressed_size_bytes=len(gzip.compress(content, mtime=0)),
            engine_version=engine.version,
            providers_in_use=engine.providers_in_use,
        )


def load_predictions(store: ArtifactStore, artifact: Artifact) -> Predictions:
    """Reads predictions back from the store, checked."""
    return Predictions.load(store.path(artifact))


def keep_predictions(store: ArtifactStore, predictions: Predictions) -> Artifact:
    """Puts predictions into the store."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "predictions.npz"
        predictions.save(path)
        return store.put_file(path)
