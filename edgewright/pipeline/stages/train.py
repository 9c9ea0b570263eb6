"""Stage 2: the base model, trained once; the reference and every pruned variant go on from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.errors import StageError
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.progress import ProgressListener, ignore_progress
from edgewright.pipeline.recipe import Recipe, TrainingSettings
from edgewright.pipeline.snapshot import Split
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.machine import machine_type
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

    from edgewright.pipeline.training.pytorch import EpochFigures, Samples, TrainingPlan, TrainingResult

STAGE = Stage("train", "edgewright.pipeline.stages.train", ("numpy", "torch"))


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch: losses in nats, accuracy in percent."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy_pct: float
    seconds: float


@dataclass(frozen=True)
class TrainResult:
    """A trained model.

    Attributes:
        weights: The weights (npz, no pickle); their digest is the weights digest.
        history: One entry per epoch.
        best_epoch: The epoch whose weights were kept (1-based).
        stopped_early: Whether patience ran out.
        device: ``cpu`` or ``cuda``.
    """

    weights: Artifact
    history: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool
    device: str


def run(
    store: ArtifactStore, recipe: Recipe, snapshot: SnapshotResult, on_progress: ProgressListener = ignore_progress
) -> Outcome[TrainResult]:
    """Trains the base model.

    Raises:
        StageError: Training diverged, ran too long, or its process died.
    """
    inputs = {**training_inputs(recipe, snapshot), "epochs": recipe.training.epochs}
    return store.run_stage(
        STAGE,
        inputs,
        TrainResult,
        lambda: run_isolated(
            train_base,
            store.root,
            recipe,
            snapshot,
            work="train",
            deadline_s=recipe.training.deadline_s,
            threads=recipe.training.threads,
            on_progress=on_progress,
        ),
    )


def training_inputs(recipe: Recipe, snapshot: SnapshotResult) -> dict[str, object]:
    """What any training depends on."""
    return {
        "seed": recipe.seed,
        "architecture": recipe.architecture.identity(),
        "training": recipe.training.model_dump(mode="json", exclude={"deadline_s", "epochs"}),
        "snapshot": snapshot.sha256,
        "preprocessing": snapshot.preprocessing.to_json(),
        "machine": machine_type(),
    }


def train_base(root: Path, recipe: Recipe, snapshot: SnapshotResult, *, on_progress: ProgressListener) -> TrainResult:
    """Trains from scratch; runs in a process of its own."""
    import torch

    from edgewright.pipeline.training.pytorch import train, weights_to_bytes

    store = ArtifactStore(root)
    _check_network(recipe, snapshot)
    training, validation = training_samples(store, snapshot)
    torch.manual_seed(recipe.seed)
    model = fresh_model(recipe, snapshot)
    plan = training_plan(recipe.training, recipe.training.epochs, recipe.training.learning_rate, recipe.seed)
    trained = train(model, training, validation, plan, work="train", on_progress=on_progress)
    return as_result(trained, store.put_bytes(weights_to_bytes(trained.model)))


def fresh_model(recipe: Recipe, snapshot: SnapshotResult) -> nn.Module:
    """The recipe's network, untrained, for these data.

    Raises:
        StageError: It cannot be built, or does not answer as a classifier of these data must.
    """
    from edgewright.pipeline.models.pytorch import build_model

    settings = recipe.architecture.network_settings()
    return build_model(recipe.architecture.name, snapshot.input_shape, len(snapshot.class_names), **settings)


def _check_network(recipe: Recipe, snapshot: SnapshotResult) -> None:
    """Finds out before the training, not after, that a network does not fit these data or cannot be pruned."""
    from edgewright.pipeline.models.checks import check_network

    sparsities = {
        f"variants[{index}].prune": variant.prune.sparsity
        for index, variant in enumerate(recipe.variants)
        if variant.prune
    }
    problems = check_network(recipe.architecture, snapshot.input_shape, len(snapshot.class_names), sparsities)
    if problems:
        raise StageError("; ".join(f"{problem.key}: {problem.message}" for problem in problems))


def as_result(trained: TrainingResult, weights: Artifact) -> TrainResult:
    """What is remembered of a training."""
    history = tuple(_epoch(figures) for figures in trained.history)
    return TrainResult(weights, history, trained.best_epoch, trained.stopped_early, trained.device)


def training_samples(store: ArtifactStore, snapshot: SnapshotResult) -> tuple[Samples, Samples]:
    """Training and validation split, preprocessed as on the device."""
    data = snapshot_stage.load(store, snapshot)
    return _samples(data.train, snapshot.preprocessing), _samples(data.validation, snapshot.preprocessing)


def training_plan(settings: TrainingSettings, epochs: int, learning_rate: float, seed: int) -> TrainingPlan:
    """The plan of one training of this recipe."""
    from edgewright.pipeline.training.pytorch import TrainingPlan

    return TrainingPlan(
        epochs=epochs,
        batch_size=settings.batch_size,
        learning_rate=learning_rate,
        weight_decay=settings.weight_decay,
        shift_px=settings.shift_px,
        patience_epochs=settings.patience_epochs,
        seed=seed,
        threads=settings.threads,
    )


def _samples(split: Split, preprocessing: Preprocessing) -> Samples:
    from edgewright.pipeline.training.pytorch import Samples

    return Samples(preprocessing.apply(split.images), split.labels.copy())


def _epoch(figures: EpochFigures) -> Epoch:
    return Epoch(
        figures.epoch,
        figures.train_loss,
        figures.validation_loss,
        figures.validation_accuracy_pct,
        figures.seconds,
    )
