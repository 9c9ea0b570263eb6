"""Stage 4 of the Keras line: fewer bits for a TFLite file, inside of the variant's own process.

Static INT8 takes its ranges from the same calibration samples as the ONNX line, with the same audit. With ``aware`` the
network first trains on with the rounding in place, and the ranges are those that it learned.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.calibration_audit import RESAMPLES, CalibrationAudit, Trial
from edgewright.pipeline.progress import Progress, ProgressListener
from edgewright.pipeline.quantization.tflite_sparsity import Zeros, check_zeros_kept, layer_sparsity
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.keras_base import as_result, keep_logs
from edgewright.pipeline.stages.quantize import SPREAD_SAMPLES, QuantizeResult, ValidationJudge, keep_quantized
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.stages.train import TrainResult, training_plan
from edgewright.pipeline.targets import IntegerType
from edgewright.pipeline.training.plan import Samples
from edgewright.pipeline.variant_settings import AwareSettings, QuantizeSettings, Variant

if TYPE_CHECKING:
    import tf_keras as keras

    from edgewright.pipeline.quantization.model import QuantizedModel

# What TFLite's converters make of activations and weights, where the target has no say.
_TYPES = {"dynamic": ("int8", "int8"), "float16": ("float32", "float16")}
# Where the bounds of activations begin in training with rounding.
_BOUND_SAMPLES = 256


def quantize_keras(
    store: ArtifactStore,
    recipe: Recipe,
    snapshot: SnapshotResult,
    model: keras.Model,
    variant: Variant,
    input_type: IntegerType,
    samples: tuple[Samples, Samples],
    work: str,
    on_progress: ProgressListener,
) -> QuantizeResult:
    """Takes a trained float network to fewer bits.

    Args:
        store: Where artifacts lie.
        recipe: What is built.
        snapshot: The data.
        model: The float network.
        variant: Which variant.
        input_type: Integer type of a fully quantized model's input and output.
        samples: Training and validation samples.
        work: Name for progress: the variant's.
        on_progress: Hears how far it is.

    Raises:
        CalibrationError: The calibration samples or a range are unusable.
        StageError: The conversion failed, changed nothing, left operators in float, or lost zeros of pruning.
    """
    from edgewright.pipeline.pruning.keras_layers import prunable_zeros

    settings = variant.quantize
    assert settings is not None, "only variants with fewer bits come here"
    judge = ValidationJudge(snapshot, recipe.task, snapshot_stage.load(store, snapshot).validation, "tflite")
    zeros = prunable_zeros(model)
    if settings.method != "static":
        on_progress(Progress(work, 0, 1, f"converting to {settings.method}"))
        converted = _converted(model, settings)
        trial = Trial(settings.method, judge(converted.content), {})
        return _result(store, converted, (trial,), settings.method, _TYPES[settings.method], None, None, zeros)
    training = None
    if settings.aware:
        model, training = _train_aware(store, recipe, model, variant, settings.aware, samples, work, on_progress)
    return _static(store, recipe, snapshot, model, variant, input_type, judge, training, zeros, work, on_progress)


def _converted(model: keras.Model, settings: QuantizeSettings) -> QuantizedModel:
    from edgewright.pipeline.quantization.tflite import convert_dynamic, convert_float16

    return convert_float16(model) if settings.method == "float16" else convert_dynamic(model)


def _train_aware(
    store: ArtifactStore,
    recipe: Recipe,
    model: keras.Model,
    variant: Variant,
    aware: AwareSettings,
    samples: tuple[Samples, Samples],
    work: str,
    on_progress: ProgressListener,
) -> tuple[keras.Model, TrainResult]:
    from edgewright.pipeline.quantization.aware import make_aware
    from edgewright.pipeline.training.keras import train, weights_to_bytes

    training, validation = samples
    rounded = make_aware(model, variant.prune is not None, training.inputs[:_BOUND_SAMPLES])
    # Another seed again: see the fine-tuning.
    plan = training_plan(recipe, training, aware.epochs, aware.learning_rate, recipe.seed + 2)
    with tempfile.TemporaryDirectory() as logs:
        trained = train(
            rounded, training, validation, plan, work=work, logs=Path(logs), on_progress=on_progress
        )  # fmt: skip
        weights = store.put_bytes(weights_to_bytes(rounded))
        return rounded, as_result(trained, weights, keep_logs(store, Path(logs)))


def _static(
    store: ArtifactStore,
    recipe: Recipe,
    snapshot: SnapshotResult,
    model: keras.Model,
    variant: Variant,
    input_type: IntegerType,
    judge: ValidationJudge,
    training: TrainResult | None,
    zeros: Mapping[str, Zeros],
    work: str,
    on_progress: ProgressListener,
) -> QuantizeResult:
    from edgewright.pipeline.calibration_trials import CalibrationData, try_estimators
    from edgewright.pipeline.tflite_calibration import KerasQuantizer

    steps, done = 1 + RESAMPLES, 0

    def say(note: str) -> None:
        nonlocal done
        on_progress(Progress(work, done, steps, note))
        done += 1

    settings = variant.quantize
    assert settings is not None, "only variants with fewer bits come here"
    # The converter knows minmax alone; a recipe that names another estimator was refused.
    quantizer = KerasQuantizer(model, settings.model_copy(update={"calibration": ["minmax"]}), input_type)
    calibration = snapshot_stage.load(store, snapshot).calibration
    count, classes = recipe.data.calibration_samples, snapshot.class_names
    data = CalibrationData(calibration, snapshot.preprocessing.apply, classes, recipe.task, count)
    quantized, trials, audit = try_estimators(quantizer, data, judge, judge.of_at_most(SPREAD_SAMPLES), say)
    if variant.prune and settings.aware:
        check_zeros_kept(quantized.content, zeros)
    on_progress(Progress(work, steps, steps, "calibrated"))
    return _result(store, quantized, trials, audit.method, (input_type, "int8"), audit, training, zeros)


def _result(
    store: ArtifactStore,
    quantized: QuantizedModel,
    trials: tuple[Trial, ...],
    method: str,
    types: tuple[str, str],
    audit: CalibrationAudit | None,
    training: TrainResult | None,
    layers: Collection[str],
) -> QuantizeResult:
    return replace(
        keep_quantized(store, quantized, trials, method, types, audit),
        aware_training=training,
        layer_sparsity=layer_sparsity(quantized.content, layers),
    )
