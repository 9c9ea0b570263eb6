"""What a model answers when its samples are corrupted, in the device's own engine with its own pre- and postprocessing.

The reference and its variants see the same corrupted samples, so that their answers can be paired as on clean ones. How far
a model falls is its architecture's and its training data's affair; the gate asks whether compression made it fall further.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.corruptions import corrupt
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.model_engine import ModelEngine
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.robustness_settings import RobustnessSettings
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.evaluate import keep_predictions, load_predictions
from edgewright.pipeline.stages.machine import machine_type
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.task_settings import TaskSettings

STAGE = Stage("robustness", "edgewright.pipeline.stages.robustness", ("numpy", "scipy"))
_DEADLINE_S = 1800.0


@dataclass(frozen=True)
class RobustnessResult:
    """What one model did on corrupted test samples.

    Attributes:
        predictions: Predictions (npz) by corruption; samples go by the digests that they had before.
        figure_pct: The task's figure by corruption, in percent.
        clean_pct: The same figure on the same samples without corruption.
        samples: How many samples that were.
    """

    predictions: dict[str, Artifact]
    figure_pct: dict[str, float]
    clean_pct: float
    samples: int


def run(
    store: ArtifactStore,
    snapshot: SnapshotResult,
    model: Artifact,
    engine: ModelEngine,
    settings: RobustnessSettings,
    task: TaskSettings,
    threshold: float | None,
    work: str,
    on_progress: ProgressListener = ignore_progress,
) -> Outcome[RobustnessResult]:
    """Lets a model answer the test samples with the smallest digests: as they are, and under every corruption.

    Args:
        store: Where artifacts and results are kept.
        snapshot: The data.
        model: The model file.
        engine: What runs it.
        settings: Which corruptions, and how many samples.
        task: The question.
        threshold: Of anomaly scores; None for other questions.
        work: Name of the model, for messages.
        on_progress: Hears how many answers there are.

    Raises:
        EngineError: The engine cannot run the model.
        DataError: A corruption does not apply to the data, or the task's figure is undefined on so few samples.
    """
    inputs = {
        "snapshot": snapshot.sha256,
        "preprocessing": snapshot.preprocessing.to_json(),
        "model": model.sha256,
        "engine": engine.identity(),
        "machine": machine_type(),
        "corruptions": settings.corruptions,
        "samples": settings.samples,
        "task": task.model_dump(mode="json"),
        "threshold": threshold,
    }
    return store.run_stage(
        STAGE,
        inputs,
        RobustnessResult,
        lambda: run_isolated(
            answer_corrupted,
            store.root,
            snapshot,
            model,
            engine,
            settings,
            task,
            threshold,
            work,
            work=f"robustness of {work}",
            deadline_s=_DEADLINE_S,
            threads=engine.settings.threads,
            on_progress=on_progress,
        ),
    )


def answer_corrupted(
    root: Path,
    snapshot: SnapshotResult,
    model: Artifact,
    engine: ModelEngine,
    settings: RobustnessSettings,
    task: TaskSettings,
    threshold: float | None,
    work: str,
    *,
    on_progress: ProgressListener,
) -> RobustnessResult:
    """Does the stage's work; runs in a process of its own."""
    from edgewright.engines.engine import open_engine
    from edgewright.pipeline.answering import answer, labels_of, postprocessing_for, quality_for
    from edgewright.predictor import Predictor

    store = ArtifactStore(root)
    test = snapshot_stage.load(store, snapshot).test
    chosen = smallest_digests(test.sample_sha256, settings.samples)
    raw, labels = test.images[chosen], labels_of(test, task, snapshot.class_names)[chosen]
    digests = tuple(test.sample_sha256[index] for index in chosen)
    scale = snapshot.preprocessing.scale
    mean, std = (tuple(value / scale for value in values) for values in (snapshot.mean, snapshot.std))
    quality, total = quality_for(task, snapshot), len(chosen) * (1 + len(settings.corruptions))
    kept, figures = {}, {}
    postprocessing = postprocessing_for(task, snapshot, threshold)
    opened = open_engine(engine.name, store.read(model), engine.settings)
    with Predictor(snapshot.preprocessing, opened, postprocessing) as predictor:
        clean_pct = quality.of(answer(predictor, raw, digests, labels))
        on_progress(Progress(work, len(chosen), total, "clean"))
        for number, name in enumerate(settings.corruptions, 2):
            corrupted = corrupt(name, raw, digests, snapshot.kind, mean, std)
            predictions = answer(predictor, corrupted, digests, labels)
            kept[name], figures[name] = keep_predictions(store, predictions), quality.of(predictions)
            on_progress(Progress(work, number * len(chosen), total, name))
    return RobustnessResult(kept, figures, clean_pct, len(chosen))


def smallest_digests(sample_sha256: tuple[str, ...], samples: int) -> list[int]:
    """Positions of so many samples with the smallest digests, by digest: a choice that new data hardly changes."""
    return sorted(range(len(sample_sha256)), key=sample_sha256.__getitem__)[:samples]


def load(store: ArtifactStore, result: RobustnessResult) -> dict[str, Predictions]:
    """Reads a model's predictions back from the store, checked, by corruption."""
    return {name: load_predictions(store, artifact) for name, artifact in result.predictions.items()}
