"""Stages 3 and 4 of the Keras line: one variant from the base to its file, all of it in one process of its own.

A process that imports TensorFlow costs seconds and half a gigabyte, so a variant has one, and not one per stage. What
variants share (a network pruned and trained on) is remembered by the store: the first one's process does it, the others'
read it. A crash in one of them is the end of that variant alone.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.model_cost import ModelCost
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages.compress import PARITY_SAMPLES, CompressResult
from edgewright.pipeline.stages.keras_base import TOOLS, as_result, fresh_model, keep_logs
from edgewright.pipeline.stages.keras_quantize import quantize_keras
from edgewright.pipeline.stages.quantize import QuantizeResult
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.stages.train import TrainResult, training_inputs, training_plan, training_samples
from edgewright.pipeline.targets import IntegerType
from edgewright.pipeline.tensorflow_process import run_with_tensorflow, start_tensorflow
from edgewright.pipeline.variant_settings import PruneSettings, Variant

if TYPE_CHECKING:
    import tf_keras as keras

    from edgewright.pipeline.export.exported import ExportedModel
    from edgewright.pipeline.training.plan import Samples

_TUNED = Stage("tune-keras", "edgewright.pipeline.stages.keras_variant", TOOLS)
STAGE = Stage(
    "variant-keras",
    "edgewright.pipeline.stages.keras_variant",
    (*TOOLS, "ai-edge-litert", "onnx", "onnxruntime", "tf2onnx"),
)


@dataclass(frozen=True)
class Tuned:
    """A base model, pruned (or not) and trained on.

    Attributes:
        weights: Its weights (npz), without what pruning had wrapped around them.
        before: Cost before pruning.
        after: Cost after pruning.
        fine_tuning: The training; None where there was none.
        layer_sparsity: Share, 0 to 1, of a layer's weights that are zero, by layer.
    """

    weights: Artifact
    before: ModelCost
    after: ModelCost
    fine_tuning: TrainResult | None
    layer_sparsity: dict[str, float]


@dataclass(frozen=True)
class KerasVariant:
    """A variant's file.

    Attributes:
        compress: The float model behind it.
        quantize: The step to fewer bits; None where there was none.
    """

    compress: CompressResult
    quantize: QuantizeResult | None

    @property
    def model(self) -> Artifact:
        """The model file."""
        return self.quantize.model if self.quantize else self.compress.model


def run(
    store: ArtifactStore,
    recipe: Recipe,
    snapshot: SnapshotResult,
    base: TrainResult,
    variant: Variant,
    input_type: IntegerType,
    work: str,
    on_progress: ProgressListener = ignore_progress,
) -> Outcome[KerasVariant]:
    """Builds one variant.

    An ONNX file is only exported here: what takes it to fewer bits needs no TensorFlow (``stages.quantize``).

    Args:
        store: Where artifacts lie.
        recipe: What is built.
        snapshot: The data.
        base: The base model.
        variant: Which variant; quantized ones become TFLite files.
        input_type: Integer type of a fully quantized model's input and output.
        work: Name for progress and messages.
        on_progress: Hears how far it is.

    Raises:
        StageError: Pruning, training, conversion or a proof of the file failed, or its process crashed, hung or asked for
            too much memory.
    """
    quantize = variant.quantize
    inputs: dict[str, Any] = {
        **_tuning_inputs(recipe, snapshot, base, variant),
        "format": variant.format,
        "export": recipe.export.model_dump(mode="json", exclude=set() if variant.format == "onnx" else {"opset"}),
        "quantize": quantize.model_dump(mode="json") if quantize else None,
    }
    if quantize and quantize.method == "static":
        inputs |= {"input_type": input_type, "calibration_samples": recipe.data.calibration_samples}
    return store.run_stage(
        STAGE,
        inputs,
        KerasVariant,
        lambda: run_with_tensorflow(
            build,
            store.root,
            recipe,
            snapshot,
            base,
            variant,
            input_type,
            work,
            work=work,
            deadline_s=recipe.training.deadline_s,
            memory_limit_mib=recipe.training.memory_mib,
            threads=recipe.training.threads,
            on_progress=on_progress,
        ),
    )


def _tuning_inputs(recipe: Recipe, snapshot: SnapshotResult, base: TrainResult, variant: Variant) -> dict[str, Any]:
    return {
        **training_inputs(recipe, snapshot),
        "base": base.weights.sha256,
        "prune": variant.prune.model_dump(mode="json") if variant.prune else None,
        "epochs": recipe.float_epochs(variant),
    }


def build(
    root: Path,
    recipe: Recipe,
    snapshot: SnapshotResult,
    base: TrainResult,
    variant: Variant,
    input_type: IntegerType,
    work: str,
    *,
    on_progress: ProgressListener,
) -> KerasVariant:
    """Does the stages' work; runs in a process of its own."""
    start_tensorflow(recipe.training.threads, recipe.seed)
    from edgewright.pipeline.training.keras import load_weights

    store = ArtifactStore(root)
    samples = training_samples(store, recipe.task, snapshot)
    tuned = store.run_stage(
        _TUNED,
        _tuning_inputs(recipe, snapshot, base, variant),
        Tuned,
        lambda: _tune(store, recipe, snapshot, base, variant.prune, recipe.float_epochs(variant), samples, on_progress),
    ).value
    model = load_weights(fresh_model(recipe, snapshot), store.read(tuned.weights))
    on_progress(Progress(work, 0, 1, f"exporting to {variant.format}"))
    exported = _export(model, recipe, variant, samples[1])
    float_model = CompressResult(
        model=store.put_bytes(exported.content),
        weights=tuned.weights,
        before=tuned.before,
        after=tuned.after,
        fine_tuning=tuned.fine_tuning,
        opset=exported.opset,
        operators=exported.operators,
        parity=exported.parity,
        layer_sparsity=tuned.layer_sparsity,
    )
    if variant.quantize is None:
        return KerasVariant(float_model, None)
    quantized = quantize_keras(store, recipe, snapshot, model, variant, input_type, samples, work, on_progress)
    return KerasVariant(float_model, quantized)


def _export(model: keras.Model, recipe: Recipe, variant: Variant, validation: Samples) -> ExportedModel:
    from edgewright.pipeline.export.keras_onnx import export_onnx
    from edgewright.pipeline.export.tflite import export_tflite

    samples, tolerance = validation.inputs[:PARITY_SAMPLES], recipe.export.parity_tolerance
    if variant.format == "onnx":
        return export_onnx(model, samples, recipe.export.opset, tolerance)
    return export_tflite(model, samples, tolerance)


def _tune(
    store: ArtifactStore,
    recipe: Recipe,
    snapshot: SnapshotResult,
    base: TrainResult,
    prune: PruneSettings | None,
    epochs: int,
    samples: tuple[Samples, Samples],
    on_progress: ProgressListener,
) -> Tuned:
    """Prunes (or not) and trains on: the reference as long as the others, so that none is flattered."""
    from edgewright.pipeline.models.keras.cost import measure_cost
    from edgewright.pipeline.pruning.keras import begin_pruning, layer_sparsity, strip
    from edgewright.pipeline.training.keras import load_weights, train, weights_to_bytes

    training, validation = samples
    model = load_weights(fresh_model(recipe, snapshot), store.read(base.weights))
    before = measure_cost(model)
    if epochs == 0:
        return Tuned(base.weights, before, before, None, layer_sparsity(model))
    # Another seed than the base's: the same order of samples again would be no new look at them.
    plan = training_plan(recipe, training, epochs, recipe.training.fine_tune_learning_rate, recipe.seed + 1)
    with tempfile.TemporaryDirectory() as scratch:
        logs = Path(scratch)
        pruning = begin_pruning(model, prune, plan, len(training.labels), logs) if prune else None
        trained = train(
            pruning.model if pruning else model,
            training,
            validation,
            plan,
            work="tune",
            callbacks=pruning.callbacks if pruning else (),
            keep_from_epoch=pruning.keep_from_epoch if pruning else 1,
            logs=None if pruning else logs,  # pruning writes them with its own
            on_progress=on_progress,
        )
        final = strip(pruning) if pruning else model
        weights = store.put_bytes(weights_to_bytes(final))
        fine_tuning = as_result(trained, weights, keep_logs(store, logs))
    return Tuned(weights, before, measure_cost(final), fine_tuning, layer_sparsity(final))
