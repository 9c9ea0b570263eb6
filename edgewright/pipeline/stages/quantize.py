"""Stage 4: INT8 by calibration, one file per pair of integer types that the targets ask for.

Every range estimator that the recipe names is tried; the one with the better accuracy on the validation split is kept.
The test split is not touched here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.recipe import QuantizeSettings
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.machine import machine_type
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.targets import IntegerType

STAGE = Stage("quantize", "edgewright.pipeline.stages.quantize", ("numpy", "onnx", "onnxruntime"))
# Minutes of work at most; more is a hang.
_DEADLINE_S = 1800.0


@dataclass(frozen=True)
class Trial:
    """One range estimator that was tried: accuracy on the validation split, in percent."""

    method: str
    validation_accuracy_pct: float
    ranges: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class QuantizeResult:
    """An INT8 model.

    Attributes:
        model: The ONNX file.
        method: The range estimator that was kept.
        trials: All that were tried.
        activation_type: Integer type of activations.
        weight_type: Integer type of weights.
        calibration_sha256: Digests of the calibration samples.
        calibration_per_class: Their number by class name.
        quantized_operators: Compute operators that run on integers.
        float_operators: Compute operators that stayed in float.
    """

    model: Artifact
    method: str
    trials: tuple[Trial, ...]
    activation_type: str
    weight_type: str
    calibration_sha256: tuple[str, ...]
    calibration_per_class: dict[str, int]
    quantized_operators: int
    float_operators: int


def run(
    store: ArtifactStore,
    snapshot: SnapshotResult,
    float_model: Artifact,
    settings: QuantizeSettings,
    calibration_samples: int,
    types: tuple[IntegerType, IntegerType],
    work: str,
    on_progress: ProgressListener = ignore_progress,
) -> Outcome[QuantizeResult]:
    """Calibrates and quantizes a float model.

    Args:
        store: Where artifacts lie.
        snapshot: The data.
        float_model: The ONNX file to quantize.
        settings: How.
        calibration_samples: Samples to take ranges from.
        types: Integer types of activations and weights.
        work: Name for progress and messages: the variant's.
        on_progress: Hears how far it is.

    Raises:
        CalibrationError: The calibration samples or a range are unusable.
        StageError: Quantization failed.
    """
    inputs = {
        "snapshot": snapshot.sha256,
        "preprocessing": snapshot.preprocessing.to_json(),
        "model": float_model.sha256,
        "settings": settings.model_dump(mode="json"),
        "calibration_samples": calibration_samples,
        "types": list(types),
        "machine": machine_type(),  # the choice between estimators follows from INT8 answers, which differ between CPUs
    }
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
    work: str,
    *,
    on_progress: ProgressListener,
) -> QuantizeResult:
    """Does the stage's work; runs in a process of its own."""
    from edgewright.engines.engine import EngineSettings, open_engine
    from edgewright.pipeline.calibration import calibrate, select_calibration_set
    from edgewright.pipeline.quantization.onnx import QuantizedModel, prepare_for_quantization, quantize_static
    from edgewright.postprocessing import Classification
    from edgewright.predictor import Predictor

    store = ArtifactStore(root)
    data = snapshot_stage.load(store, snapshot)
    preprocessing = snapshot.preprocessing
    calibration = select_calibration_set(
        preprocessing.apply(data.calibration.images),
        data.calibration.labels,
        data.calibration.sample_sha256,
        snapshot.class_names,
        calibration_samples,
    )
    prepared = prepare_for_quantization(store.read(float_model))
    best: tuple[Trial, QuantizedModel] | None = None
    trials = []
    for index, method in enumerate(settings.calibration):
        on_progress(Progress(work, index, len(settings.calibration), f"calibrating by {method}"))
        ranges = calibrate(prepared, calibration, method, settings.percentile)
        quantized = quantize_static(prepared, ranges, types[0], types[1], settings.per_channel)
        engine = open_engine("onnxruntime", quantized.content, EngineSettings())
        with Predictor(preprocessing, engine, Classification(snapshot.class_names)) as predictor:
            decided = predictor.predict(data.validation.images).label_index
        accuracy_pct = 100 * float((decided == data.validation.labels).mean())
        trial = Trial(method, accuracy_pct, ranges.low_high)
        trials.append(trial)
        if best is None or accuracy_pct > best[0].validation_accuracy_pct:
            best = trial, quantized
    on_progress(Progress(work, len(settings.calibration), len(settings.calibration), "calibrated"))
    assert best is not None, "a recipe names at least one range estimator"
    return QuantizeResult(
        model=store.put_bytes(best[1].content),
        method=best[0].method,
        trials=tuple(trials),
        activation_type=types[0],
        weight_type=types[1],
        calibration_sha256=calibration.sample_sha256,
        calibration_per_class=calibration.samples_per_class,
        quantized_operators=best[1].quantized_operators,
        float_operators=best[1].float_operators,
    )
