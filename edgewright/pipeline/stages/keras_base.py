"""Stage 2 of the Keras line: the base model, trained once in a process of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.errors import StageError
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.keras_trial import aware_of, prunes_of
from edgewright.pipeline.progress import ProgressListener, ignore_progress
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.stages.train import TrainResult, outputs_of, training_inputs, training_plan, training_samples
from edgewright.pipeline.tensorflow_process import run_with_tensorflow, start_tensorflow

if TYPE_CHECKING:
    import tf_keras as keras

    from edgewright.pipeline.training.keras import KerasTraining

TOOLS = ("numpy", "tensorflow", "tensorflow-model-optimization", "tf_keras")
STAGE = Stage("train-keras", "edgewright.pipeline.stages.keras_base", TOOLS)


def run(
    store: ArtifactStore,
    recipe: Recipe,
    snapshot: SnapshotResult,
    work: str = "train",
    on_progress: ProgressListener = ignore_progress,
) -> Outcome[TrainResult]:
    """Trains the base model with Keras; see ``edgewright.pipeline.stages.train.run``."""
    inputs = {**training_inputs(recipe, snapshot), "epochs": recipe.training.epochs}
    return store.run_stage(
        STAGE,
        inputs,
        TrainResult,
        lambda: run_with_tensorflow(
            train_base,
            store.root,
            recipe,
            snapshot,
            work=work,
            deadline_s=recipe.training.deadline_s,
            memory_limit_mib=recipe.training.memory_mib,
            threads=recipe.training.threads,
            on_progress=on_progress,
        ),
    )


def train_base(root: Path, recipe: Recipe, snapshot: SnapshotResult, *, on_progress: ProgressListener) -> TrainResult:
    """Trains from scratch; runs in a process of its own."""
    start_tensorflow(recipe.training.threads, recipe.seed)
    from edgewright.pipeline.training.keras import train, weights_to_bytes

    store = ArtifactStore(root)
    _check_network(recipe, snapshot)
    training, validation = training_samples(store, recipe.task, snapshot)
    model = fresh_model(recipe, snapshot)
    plan = training_plan(recipe, training, recipe.training.epochs, recipe.training.learning_rate, recipe.seed)
    with tempfile.TemporaryDirectory() as logs:
        trained = train(model, training, validation, plan, work="train", logs=Path(logs), on_progress=on_progress)
        return as_result(trained, store.put_bytes(weights_to_bytes(model)), keep_logs(store, Path(logs)))


def fresh_model(recipe: Recipe, snapshot: SnapshotResult) -> keras.Model:
    """The recipe's network, untrained, for these data; the same weights at every call.

    Raises:
        StageError: It cannot be built, or does not answer as these data and this task need.
    """
    import tf_keras as keras

    from edgewright.pipeline.models.keras.build import build_model

    keras.utils.set_random_seed(recipe.seed)
    return build_model(
        recipe.architecture.name,
        snapshot.input_shape,
        outputs_of(recipe, snapshot),
        task=recipe.task.kind,
        **recipe.architecture.network_settings(),
    )


def as_result(trained: KerasTraining, weights: Artifact, logs: dict[str, Artifact]) -> TrainResult:
    """What is remembered of a training."""
    return TrainResult(weights, trained.history, trained.best_epoch, trained.stopped_early, "cpu", logs)


def keep_logs(store: ArtifactStore, folder: Path) -> dict[str, Artifact]:
    """Puts TensorBoard's files into the store, by their place below the folder; the host's name goes from theirs."""
    files = sorted(path for path in folder.rglob("*tfevents*") if path.is_file())
    return {
        f"{path.parent.relative_to(folder).as_posix()}/events.out.tfevents.{number}": store.put_file(path)
        for number, path in enumerate(files)
    }


def _check_network(recipe: Recipe, snapshot: SnapshotResult) -> None:
    """Finds out before the training, not after, that a network does not fit these data or cannot be compressed."""
    from edgewright.pipeline.models.keras.checks import check_network

    variants = dict(enumerate(recipe.variants))
    problems = check_network(
        recipe.architecture,
        snapshot.input_shape,
        outputs_of(recipe, snapshot),
        recipe.task.kind,
        prunes_of(variants),
        aware_of(variants),
    )
    if problems:
        raise StageError("; ".join(f"{problem.key}: {problem.message}" for problem in problems))
