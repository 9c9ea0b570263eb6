"""Stage 3: one float model per way of pruning, trained on for the same number of epochs, exported to ONNX and proved.

The reference goes through this stage too, unpruned: it trains on exactly as long as the pruned models fine-tune, so that
no variant is flattered by more training than the model it is judged against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.model_cost import ModelCost
from edgewright.pipeline.progress import ProgressListener, ignore_progress
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.stages.train import (
    TrainResult,
    as_result,
    fresh_model,
    training_inputs,
    training_plan,
    training_samples,
)
from edgewright.pipeline.training.plan import Samples
from edgewright.pipeline.variant_settings import PruneSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgewright.pipeline.training.pytorch import StepHook, Teacher, TrainingResult

STAGE = Stage(
    "compress",
    "edgewright.pipeline.stages.compress",
    ("numpy", "onnx", "onnxruntime", "onnxscript", "torch", "torch-pruning"),
)

# A polynomial schedule prunes during the first half of fine-tuning; the second half recovers.
_PRUNING_ENDS = 0.5
# Real samples on which the exported file must answer as PyTorch does.
PARITY_SAMPLES = 256


@dataclass(frozen=True)
class CompressResult:
    """A float model, exported.

    Attributes:
        model: The model file.
        weights: The weights (npz).
        before: ModelCost before pruning.
        after: ModelCost after pruning.
        fine_tuning: The training that followed; None where there was none.
        opset: ONNX operator set of the file; None of a TFLite file.
        operators: Number of nodes by operator type.
        parity: Largest absolute difference of a score from the framework's own on real samples.
        layer_sparsity: Share, 0 to 1, of a layer's weights that are zero, by layer; empty where channels were removed.
    """

    model: Artifact
    weights: Artifact
    before: ModelCost
    after: ModelCost
    fine_tuning: TrainResult | None
    opset: int | None
    operators: dict[str, int]
    parity: float
    layer_sparsity: dict[str, float] = field(default_factory=dict)

    @property
    def sparsity_pct(self) -> float:
        """Share of parameters that pruning removed or set to zero, in percent."""
        return 100 * (1 - self.after.nonzero_parameters / self.before.parameters)


def run(
    store: ArtifactStore,
    recipe: Recipe,
    snapshot: SnapshotResult,
    base: TrainResult,
    prune: PruneSettings | None,
    work: str,
    on_progress: ProgressListener = ignore_progress,
) -> Outcome[CompressResult]:
    """Prunes (or not), trains on, exports and proves.

    Args:
        store: Where artifacts lie.
        recipe: What is built.
        snapshot: The data.
        base: The base model.
        prune: How to prune; None for the reference.
        work: Name for progress and messages: the variant's.
        on_progress: Hears how far it is.

    Raises:
        StageError: Pruning, training or a proof of the export failed.
    """
    inputs = {
        **training_inputs(recipe, snapshot),
        "base": base.weights.sha256,
        "prune": prune.model_dump(mode="json") if prune else None,
        "epochs": _epochs(recipe, prune),
        "export": recipe.export.model_dump(mode="json"),
    }
    return store.run_stage(
        STAGE,
        inputs,
        CompressResult,
        lambda: run_isolated(
            compress,
            store.root,
            recipe,
            snapshot,
            base.weights,
            prune,
            work,
            work=work,
            deadline_s=recipe.training.deadline_s,
            threads=recipe.training.threads,
            on_progress=on_progress,
        ),
    )


def _epochs(recipe: Recipe, prune: PruneSettings | None) -> int:
    return prune.fine_tune_epochs if prune else recipe.fine_tune_epochs


def compress(
    root: Path,
    recipe: Recipe,
    snapshot: SnapshotResult,
    base_weights: Artifact,
    prune: PruneSettings | None,
    work: str,
    *,
    on_progress: ProgressListener,
) -> CompressResult:
    """Does the stage's work; runs in a process of its own."""
    import torch

    from edgewright.pipeline.export.onnx import export_onnx
    from edgewright.pipeline.pruning.pytorch import measure_cost
    from edgewright.pipeline.training.pytorch import load_weights, weights_to_bytes

    store = ArtifactStore(root)
    training, validation = training_samples(store, recipe.task, snapshot)

    model = load_weights(fresh_model(recipe, snapshot), store.read(base_weights))
    example = torch.zeros(1, *snapshot.input_shape)
    before = measure_cost(model, example)
    teacher = _teacher(recipe, snapshot, store.read(base_weights), prune)
    trained = _prune_and_train(recipe, model, example, prune, teacher, training, validation, work, on_progress)
    weights = store.put_bytes(weights_to_bytes(trained.model if trained else model))
    # A fresh object per export: the exporter leaves traces in the model it is given.
    final = load_weights(fresh_model(recipe, snapshot), store.read(weights))
    exported = export_onnx(
        final, validation.inputs[:PARITY_SAMPLES], recipe.export.opset, recipe.export.parity_tolerance
    )
    after = measure_cost(final, example)
    return CompressResult(
        model=store.put_bytes(exported.content),
        weights=weights,
        before=before,
        after=after,
        fine_tuning=as_result(trained, weights) if trained else None,
        opset=exported.opset,
        operators=exported.operators,
        parity=exported.parity,
    )


def _teacher(
    recipe: Recipe, snapshot: SnapshotResult, base_weights: bytes, prune: PruneSettings | None
) -> Teacher | None:
    """The base model as it was trained, where the variant learns from its answers."""
    from edgewright.pipeline.training.pytorch import Teacher, load_weights

    if prune is None or prune.distill is None:
        return None
    model = load_weights(fresh_model(recipe, snapshot), base_weights)
    return Teacher(model, prune.distill.temperature, prune.distill.weight)


def _prune_and_train(
    recipe: Recipe,
    model: nn.Module,
    example: Tensor,
    prune: PruneSettings | None,
    teacher: Teacher | None,
    training: Samples,
    validation: Samples,
    work: str,
    on_progress: ProgressListener,
) -> TrainingResult | None:
    from edgewright.pipeline.training.pytorch import train

    epochs = _epochs(recipe, prune)
    hook, keep_from_epoch = _begin_pruning(model, example, prune, epochs)
    if epochs == 0:
        return None
    # Another seed than the base's: the same order of samples again would be no new look at them.
    plan = training_plan(recipe, training, epochs, recipe.training.fine_tune_learning_rate, recipe.seed + 1)
    return train(
        model,
        training,
        validation,
        plan,
        work=work,
        on_step=hook,
        keep_from_epoch=keep_from_epoch,
        teacher=teacher,
        on_progress=on_progress,
    )


def _begin_pruning(
    model: nn.Module, example: Tensor, prune: PruneSettings | None, epochs: int
) -> tuple[StepHook | None, int]:
    """What prunes during fine-tuning, and from which epoch on weights may be kept; one-shot channels go at once."""
    from edgewright.pipeline.pruning.magnitude import MagnitudePruner, magnitude_hook
    from edgewright.pipeline.pruning.pytorch import ChannelPruner, prune_channels, pruning_hook

    if prune is None:
        return None, 1
    one_shot = prune.schedule == "one_shot"
    keep_from_epoch = 1 if one_shot or epochs < 2 else math.ceil(epochs * _PRUNING_ENDS) + 1
    if prune.method == "magnitude":
        pruner = MagnitudePruner(model, prune.sparsity, 1 if one_shot else prune.steps, prune.power)
        return magnitude_hook(pruner, 0.0, _PRUNING_ENDS), keep_from_epoch
    if one_shot:
        prune_channels(model, example, prune.sparsity)
        return None, 1
    pruner_of_channels = ChannelPruner(model, example, prune.sparsity, prune.steps, prune.power)
    return pruning_hook(pruner_of_channels, 0.0, _PRUNING_ENDS), keep_from_epoch
