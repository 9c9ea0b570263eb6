"""The stages that make variants: snapshot, training, compression, quantization."""

from __future__ import annotations

from prefect import task

from edgewright.pipeline.collected import CollectedSamples
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import compress, keras_base, keras_variant, quantize, snapshot, train
from edgewright.pipeline.stages.compress import CompressResult
from edgewright.pipeline.stages.keras_variant import KerasVariant
from edgewright.pipeline.stages.quantize import QuantizeResult
from edgewright.pipeline.stages.snapshot import SnapshotResult, SnapshotsResult
from edgewright.pipeline.stages.train import TrainResult
from edgewright.pipeline.targets import IntegerType
from edgewright.pipeline.variant_settings import Framework, PruneSettings, QuantizeSettings, Variant
from edgewright.pipeline.workspace import Workspace
from tasks.stage import STAGE_OPTIONS, run_stage


@task(name="take-snapshot", **STAGE_OPTIONS)
def take_snapshot(workspace: Workspace, recipe: Recipe, collection: CollectedSamples | None) -> SnapshotsResult:
    """Loads, checks and splits the data, with the samples that were taken in since."""
    return run_stage("data", "snapshot", lambda _: snapshot.run(workspace.store, recipe.data, recipe.task, collection))


@task(name="train", task_run_name="train-{work}", **STAGE_OPTIONS)
def train_base(
    workspace: Workspace, recipe: Recipe, framework: Framework, data: SnapshotResult, work: str
) -> TrainResult:
    """Trains the base model of one framework."""
    run = keras_base.run if framework == "keras" else train.run
    return run_stage("train", work, lambda listener: run(workspace.store, recipe, data, work, listener))


@task(name="compress", task_run_name="compress-{work}", **STAGE_OPTIONS)
def compress_variant(
    workspace: Workspace,
    recipe: Recipe,
    data: SnapshotResult,
    base: TrainResult,
    prune: PruneSettings | None,
    work: str,
) -> CompressResult:
    """Prunes (or not), fine-tunes and exports one float model."""
    return run_stage(
        "compress", work, lambda listener: compress.run(workspace.store, recipe, data, base, prune, work, listener)
    )


@task(name="build-keras", task_run_name="build-keras-{work}", **STAGE_OPTIONS)
def build_keras_variant(
    workspace: Workspace,
    recipe: Recipe,
    data: SnapshotResult,
    base: TrainResult,
    variant: Variant,
    input_type: IntegerType,
    work: str,
) -> KerasVariant:
    """Prunes (or not), fine-tunes, exports and quantizes one variant of Keras, in one process."""
    return run_stage(
        "build",
        work,
        lambda listener: keras_variant.run(workspace.store, recipe, data, base, variant, input_type, work, listener),
    )


@task(name="quantize", task_run_name="quantize-{work}", **STAGE_OPTIONS)
def quantize_variant(
    workspace: Workspace,
    recipe: Recipe,
    data: SnapshotResult,
    float_model: CompressResult | KerasVariant,
    settings: QuantizeSettings,
    types: tuple[IntegerType, IntegerType],
    work: str,
) -> QuantizeResult:
    """Takes one float model to fewer bits, for one pair of integer types."""
    model, samples = float_model.model, recipe.data.calibration_samples
    return run_stage(
        "quantize",
        work,
        lambda listener: quantize.run(
            workspace.store, data, model, settings, samples, types, recipe.task, work, listener
        ),
    )
