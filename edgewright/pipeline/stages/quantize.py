"""Stage 4: fewer bits, one file per pair of integer types that the targets ask for.

Static INT8 tries every range estimator that the recipe names and keeps the one whose answers are better on the validation
split. Dynamic INT8 and float16 need no calibration. The test split is not touched here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import StageError
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.calibration_audit import RESAMPLES, CalibrationAudit, Trial
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.model_engine import plain_engine
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.quantization.model import QuantizedModel
from edgewright.pipeline.snapshot import Split
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.machine import machine_type
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.stages.train import TrainResult
from edgewright.pipeline.targets import IntegerType
from edgewright.pipeline.task_settings import TaskSettings
from edgewright.pipeline.variant_settings import ModelFormat, QuantizeSettings

STAGE = Stage("quantize", "edgewright.pipeline.stages.quantize", ("numpy", "onnx", "onnxruntime"))
# Minutes of work at most; more is a hang.
_DEADLINE_S = 1800.0
# For the spread over calibration sets, where figures differ by tenths of a point: more would take longer than calibrating.
SPREAD_SAMPLES = 1000


@dataclass(frozen=True)
class QuantizeResult:
    """A model with fewer bits.

    Attributes:
        model: The model file.
        method: What was kept: a range estimator (static INT8), ``dynamic`` or ``float16``.
        trials: All that were tried.
        activation_type: Type of activations: ``uint8``, ``int8`` or ``float16``.
        weight_type: Type of weights.
        quantized_operators: Compute operators that run on fewer bits.
        float_operators: Compute operators that stayed in float32.
        audit: How the ranges came about; None where none are calibrated.
        aware_training: The training with rounding in place; None where there was none.
        layer_sparsity: Share, 0 to 1, of a layer's weights that are zero in the TFLite file, by layer; empty of ONNX files.
    """

    model: Artifact
    method: str
    trials: tuple[Trial, ...]
    activation_type: str
    weight_type: str
    quantized_operators: int
    float_operators: int
    audit: CalibrationAudit | None
    aware_training: TrainResult | None = None
    layer_sparsity: dict[str, float] = field(default_factory=dict)


def run(
    store: ArtifactStore,
    snapshot: SnapshotResult,
    float_model: Artifact,
    settings: QuantizeSettings,
    calibration_samples: int,
    types: tuple[IntegerType, IntegerType],
    task: TaskSettings,
    work: str,
    on_progress: ProgressListener = ignore_progress,
) -> Outcome[QuantizeResult]:
    """Converts a float model to fewer bits, and calibrates it where that needs ranges.

    Args:
        store: Where artifacts lie.
        snapshot: The data.
        float_model: The ONNX file to convert.
        settings: How.
        calibration_samples: Samples to take ranges from.
        types: Integer types of activations and weights; float16 has none.
        task: The kind of question: trials are judged by its figure.
        work: Name for progress and messages: the variant's.
        on_progress: Hears how far it is.

    Raises:
        CalibrationError: The calibration samples or a range are unusable.
        StageError: The conversion failed, or changed nothing.
        EngineError: The converted model gives no finite answers.
    """
    inputs: dict[str, Any] = {
        "snapshot": snapshot.sha256,
        "preprocessing": snapshot.preprocessing.to_json(),
        "model": float_model.sha256,
        "settings": settings.model_dump(mode="json"),
        "task": task.model_dump(mode="json"),
        "machine": machine_type(),  # the choice between estimators follows from INT8 answers, which differ between CPUs
    }
    # What a method does not use shall not make it run again.
    if settings.method == "static":
        inputs["calibration_samples"] = calibration_samples
    if settings.method != "float16":
        inputs["types"] = list(types)
    return store.run_stage(
        STAGE,
        inputs,
        QuantizeResult,
        lambda: run_isolated(
            quantize,
            store.root,
            snapshot,
            float_model,
            settings,
            calibration_samples,
            types,
            task,
            work,
            work=work,
            deadline_s=_DEADLINE_S,
            on_progress=on_progress,
        ),
    )


def quantize(
    root: Path,
    snapshot: SnapshotResult,
    float_model: Artifact,
    settings: QuantizeSettings,
    calibration_samples: int,
    types: tuple[IntegerType, IntegerType],
    task: TaskSettings,
    work: str,
    *,
    on_progress: ProgressListener,
) -> QuantizeResult:
    """Does the stage's work; runs in a process of its own."""
    store = ArtifactStore(root)
    data = snapshot_stage.load(store, snapshot)
    judge = ValidationJudge(snapshot, task, data.validation)
    content = store.read(float_model)
    if settings.method == "static":
        return _static(
            store,
            snapshot,
            content,
            settings,
            calibration_samples,
            types,
            task,
            data.calibration,
            judge,
            work,
            on_progress,
        )
    on_progress(Progress(work, 0, 1, f"converting to {_WORDS[settings.method]}"))
    converted, stored_types = _converted(content, settings, types)
    trial = Trial(settings.method, judge(converted.content), {})
    on_progress(Progress(work, 1, 1, "converted"))
    return keep_quantized(store, converted, (trial,), settings.method, stored_types, None)


_WORDS = {"dynamic": "dynamic INT8", "float16": "float16"}


def _converted(
    content: bytes, settings: QuantizeSettings, types: tuple[IntegerType, IntegerType]
) -> tuple[QuantizedModel, tuple[str, str]]:
    from edgewright.pipeline.quantization.dynamic import DYNAMIC_ACTIVATION_TYPE, quantize_dynamic
    from edgewright.pipeline.quantization.float16 import convert_to_float16
    from edgewright.pipeline.quantization.onnx import prepare_for_quantization

    if settings.method == "float16":
        return convert_to_float16(content), ("float16", "float16")
    if types[0] != DYNAMIC_ACTIVATION_TYPE:
        raise StageError(
            f"dynamic INT8 has {DYNAMIC_ACTIVATION_TYPE} activations, the target asks for {types[0]}. Set the target's "
            f"activation_type to {DYNAMIC_ACTIVATION_TYPE}, or quantize with method: static."
        )
    prepared = prepare_for_quantization(content)
    return quantize_dynamic(prepared, types[1], settings.per_channel), types


def _static(
    store: ArtifactStore,
    snapshot: SnapshotResult,
    content: bytes,
    settings: QuantizeSettings,
    calibration_samples: int,
    types: tuple[IntegerType, IntegerType],
    task: TaskSettings,
    split: Split,
    judge: ValidationJudge,
    work: str,
    on_progress: ProgressListener,
) -> QuantizeResult:
    from edgewright.pipeline.calibration_trials import CalibrationData, StaticQuantizer, try_estimators
    from edgewright.pipeline.quantization.onnx import prepare_for_quantization

    steps, done = len(settings.calibration) + RESAMPLES, 0

    def say(note: str) -> None:
        nonlocal done
        on_progress(Progress(work, done, steps, note))
        done += 1

    quantized, trials, audit = try_estimators(
        StaticQuantizer(prepare_for_quantization(content), settings, types),
        CalibrationData(split, snapshot.preprocessing.apply, snapshot.class_names, task, calibration_samples),
        judge,
        judge.of_at_most(SPREAD_SAMPLES),
        say,
    )
    on_progress(Progress(work, steps, steps, "calibrated"))
    return keep_quantized(store, quantized, trials, audit.method, types, audit)


def keep_quantized(
    store: ArtifactStore,
    quantized: QuantizedModel,
    trials: tuple[Trial, ...],
    method: str,
    types: tuple[str, str],
    audit: CalibrationAudit | None,
) -> QuantizeResult:
    """Puts a model with fewer bits into the store; gives what is remembered of it."""
    return QuantizeResult(
        model=store.put_bytes(quantized.content),
        method=method,
        trials=trials,
        activation_type=types[0],
        weight_type=types[1],
        quantized_operators=quantized.quantized_operators,
        float_operators=quantized.float_operators,
        audit=audit,
    )


class ValidationJudge:
    """Tells a model's quality on validation samples, in percent, with the device's own pre- and postprocessing.

    Attributes:
        samples: Number of samples that it asks.
    """

    def __init__(
        self,
        snapshot: SnapshotResult,
        task: TaskSettings,
        validation: Split,
        model_format: ModelFormat = "onnx",
        chosen: npt.NDArray[np.intp] | None = None,
    ) -> None:
        from edgewright.pipeline.answering import labels_of

        self._format, self._engine = model_format, plain_engine(model_format)
        self._snapshot, self._task, self._validation = snapshot, task, validation
        self._labels = labels_of(validation, task, snapshot.class_names)
        self._chosen = np.arange(len(validation.labels)) if chosen is None else chosen
        self.samples = len(self._chosen)

    def __call__(self, content: bytes) -> float:
        """Quality of a model file."""
        from edgewright.engines.engine import open_engine
        from edgewright.pipeline.answering import answer, postprocessing_for, quality_for
        from edgewright.predictor import Predictor

        engine = open_engine(self._engine.name, content, self._engine.settings)
        postprocessing = postprocessing_for(self._task, self._snapshot)
        digests = tuple(self._validation.sample_sha256[index] for index in self._chosen)
        with Predictor(self._snapshot.preprocessing, engine, postprocessing) as predictor:
            predictions = answer(predictor, self._validation.images[self._chosen], digests, self._labels[self._chosen])
        return quality_for(self._task, self._snapshot).of(predictions)

    def of_at_most(self, samples: int) -> ValidationJudge:
        """The same on the first so many samples; on all where a class would be missing among those.

        A split is ordered by digest, so its first samples are as good as drawn at random.
        """
        classes = self._labels.dtype == np.int64
        if classes and len(np.unique(self._labels[:samples])) < len(np.unique(self._labels)):
            return self
        return ValidationJudge(self._snapshot, self._task, self._validation, self._format, self._chosen[:samples])
