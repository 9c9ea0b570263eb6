"""Stage 2: the base model, trained once; the reference and every pruned variant go on from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgewright.errors import StageError
from edgewright.pipeline.answering import labels_of, normal_only, postprocessing_for
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.progress import ProgressListener, ignore_progress
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.snapshot import Split
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.machine import machine_type
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.task_settings import ClassificationSettings, TaskSettings
from edgewright.pipeline.training.plan import Epoch, Noise, Objective, Samples, TrainingPlan
from edgewright.pipeline.variant_settings import Variant
from edgewright.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

    from edgewright.pipeline.training.pytorch import TrainingResult

_OBJECTIVES: Mapping[str, Objective] = {
    "classification": "classification",
    "anomaly": "reconstruction",
    "regression": "regression",
}

STAGE = Stage("train", "edgewright.pipeline.stages.train", ("numpy", "torch"))


@dataclass(frozen=True)
class TrainResult:
    """A trained model.

    Attributes:
        weights: The weights (npz, no pickle); their digest is the weights digest.
        history: One entry per epoch.
        best_epoch: The epoch whose weights were kept (1-based).
        stopped_early: Whether patience ran out.
        device: ``cpu`` or ``cuda``.
        logs: TensorBoard's files, by their place below its folder; empty where the framework writes none.
    """

    weights: Artifact
    history: tuple[Epoch, ...]
    best_epoch: int
    stopped_early: bool
    device: str
    logs: dict[str, Artifact] = field(default_factory=dict)


def run(
    store: ArtifactStore,
    recipe: Recipe,
    snapshot: SnapshotResult,
    work: str = "train",
    on_progress: ProgressListener = ignore_progress,
) -> Outcome[TrainResult]:
    """Trains the base model.

    Args:
        store: Where artifacts lie.
        recipe: What is built.
        snapshot: The data.
        work: Name for progress and messages.
        on_progress: Hears how far it is.

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
            work=work,
            deadline_s=recipe.training.deadline_s,
            threads=recipe.training.threads,
            on_progress=on_progress,
        ),
    )


def training_inputs(recipe: Recipe, snapshot: SnapshotResult) -> dict[str, object]:
    """What any training depends on."""
    return {
        "seed": recipe.seed,
        "task": recipe.task.model_dump(mode="json"),
        "architecture": recipe.architecture.identity(),
        "training": recipe.training.model_dump(mode="json", exclude={"deadline_s", "epochs", "memory_mib"}),
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
    training, validation = training_samples(store, recipe.task, snapshot)
    torch.manual_seed(recipe.seed)
    model = fresh_model(recipe, snapshot)
    plan = training_plan(recipe, training, recipe.training.epochs, recipe.training.learning_rate, recipe.seed)
    trained = train(model, training, validation, plan, work="train", on_progress=on_progress)
    return as_result(trained, store.put_bytes(weights_to_bytes(trained.model)))


def outputs_of(recipe: Recipe, snapshot: SnapshotResult) -> int:
    """How many numbers a network must answer a sample of these data with."""
    return postprocessing_for(recipe.task, snapshot).outputs(snapshot.input_shape)


def fresh_model(recipe: Recipe, snapshot: SnapshotResult) -> nn.Module:
    """The recipe's network, untrained, for these data.

    Raises:
        StageError: It cannot be built, or does not answer as these data and this task need.
    """
    from edgewright.pipeline.models.pytorch import build_model

    return build_model(
        recipe.architecture.name,
        snapshot.input_shape,
        outputs_of(recipe, snapshot),
        task=recipe.task.kind,
        **recipe.architecture.network_settings(),
    )


def _check_network(recipe: Recipe, snapshot: SnapshotResult) -> None:
    """Finds out before the training, not after, that a network does not fit these data or cannot be pruned."""
    from edgewright.pipeline.models.checks import check_network

    problems = check_network(
        recipe.architecture,
        snapshot.input_shape,
        outputs_of(recipe, snapshot),
        sparsities_of(recipe.variants),
        recipe.task.kind,
    )
    if problems:
        raise StageError("; ".join(f"{problem.key}: {problem.message}" for problem in problems))


def sparsities_of(variants: Sequence[Variant]) -> dict[str, float]:
    """What share of channels the variants remove, by key in the recipe."""
    return {
        f"variants[{index}].prune": variant.prune.sparsity
        for index, variant in enumerate(variants)
        if variant.prune and variant.prune.method == "channels"
    }


def as_result(trained: TrainingResult, weights: Artifact) -> TrainResult:
    """What is remembered of a training."""
    return TrainResult(weights, trained.history, trained.best_epoch, trained.stopped_early, trained.device)


def training_samples(store: ArtifactStore, task: TaskSettings, snapshot: SnapshotResult) -> tuple[Samples, Samples]:
    """Training and validation split, preprocessed as on the device; for anomalies the normal samples alone."""
    data = snapshot_stage.load(store, snapshot)
    return _samples(data.train, task, snapshot), _samples(data.validation, task, snapshot)


def training_plan(recipe: Recipe, training: Samples, epochs: int, learning_rate: float, seed: int) -> TrainingPlan:
    """The plan of one training of this recipe."""
    settings = recipe.training
    return TrainingPlan(
        epochs=epochs,
        batch_size=settings.batch_size,
        learning_rate=learning_rate,
        weight_decay=settings.weight_decay,
        shift_steps=settings.shift_steps,
        patience_epochs=settings.patience_epochs,
        seed=seed,
        threads=settings.threads,
        objective=_OBJECTIVES[recipe.task.kind],
        class_weights=_class_weights(recipe.task, training),
        noise=_noise(training, settings.noise_share),
    )


def _noise(training: Samples, share: float) -> Noise | None:
    full = training.full_noise
    if share == 0 or full is None:
        return None
    return replace(full, deviation=tuple(share * each for each in full.deviation))


def full_noise(preprocessing: Preprocessing) -> Noise:
    """What a noise share of 1 is in the units of a model's input.

    For images of bytes it is their full scale, within which the noisy ones stay; elsewhere a channel's own standard
    deviation, which is 1 after preprocessing.
    """
    if preprocessing.dtype != "uint8":
        return Noise((1.0,) * len(preprocessing.std))
    full, channels = 255 * preprocessing.scale, list(zip(preprocessing.mean, preprocessing.std, strict=True))
    ends = [sorted(((0.0 - mean) / std, (full - mean) / std)) for mean, std in channels]
    return Noise(
        deviation=tuple(abs(full) / std for _, std in channels),
        lowest=tuple(low for low, _ in ends),
        highest=tuple(high for _, high in ends),
    )


def _class_weights(task: TaskSettings, training: Samples) -> tuple[float, ...] | None:
    """Weights under which every class counts alike, where that is how answers are judged."""
    if not (isinstance(task, ClassificationSettings) and task.metric == "balanced_accuracy"):
        return None
    counts = np.bincount(training.labels)
    return tuple((len(training.labels) / (len(counts) * counts)).tolist())


def _samples(split: Split, task: TaskSettings, snapshot: SnapshotResult) -> Samples:
    usable = np.flatnonzero(normal_only(split, task, snapshot.class_names))
    labels = labels_of(split, task, snapshot.class_names)[usable]
    if snapshot.values is not None:
        labels = ((labels - snapshot.values.mean) / snapshot.values.std).astype(np.float32)
    inputs = snapshot.preprocessing.apply(split.images[usable])
    return Samples(inputs, labels, full_noise(snapshot.preprocessing))
