"""Networks that were trained with rounding in place, and calibrations by trial, made in one process of TensorFlow's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import EdgewrightError
from edgewright.pipeline.calibration_audit import CalibrationAudit, Trial
from edgewright.pipeline.progress import ProgressListener
from edgewright.pipeline.quantization.model import QuantizedModel
from edgewright.pipeline.quantization.tflite_sparsity import Zeros
from edgewright.pipeline.tensorflow_process import run_with_tensorflow, start_tensorflow
from tflite_conversions import CLASSES, SHAPES, batches_of, network, samples_of

SHAPE = SHAPES["image"]
CALIBRATION_SAMPLES = 20
# Layers half of whose weights were pruned.
PRUNED = ("stem", "second")


@dataclass(frozen=True)
class Trained:
    """A network that was trained with rounding in place.

    Attributes:
        quantized: Its INT8 file.
        answers: What it answers in Keras.
        bounds: Where the bounds of its layers' outputs began, by layer.
        moved: Whether training changed its weights.
    """

    quantized: QuantizedModel
    answers: NDArray[np.float32]
    bounds: dict[str, tuple[float, float]]
    moved: bool


@dataclass(frozen=True)
class Tried:
    """What a calibration by trial gave.

    Attributes:
        quantized: The INT8 file that was kept.
        trials: All that were tried.
        audit: Their audit.
        said: What progress was told.
        judged: How often the judge was asked.
    """

    quantized: QuantizedModel
    trials: tuple[Trial, ...]
    audit: CalibrationAudit
    said: tuple[str, ...]
    judged: int


@dataclass(frozen=True)
class Made:
    """What the process gave.

    Attributes:
        samples: float32 ``[60, C, H, W]``.
        float_outputs: Lowest and highest value that the float network's layers give, by layer.
        pruned: Zeros of the float network's layers that pruning may touch, half of them in `PRUNED`.
        trained: By name: ``plain``, ``keeps zeros``.
        first_bounds: Where the bounds of a network that was made without samples begin, by layer.
        untouched: Whether the float network had the same weights and no new connections afterwards.
        tried: By name: ``minmax``, ``aware``, ``dense aware``.
        refused: What was said, by the name of what is no good.
    """

    samples: NDArray[np.float32]
    float_outputs: dict[str, tuple[float, float]]
    pruned: dict[str, Zeros]
    trained: dict[str, Trained]
    first_bounds: dict[str, tuple[float, float]]
    untouched: bool
    tried: dict[str, Tried]
    refused: dict[str, str]


@cache
def aware_networks() -> Made:
    """Make them, once per process that asks."""
    return run_with_tensorflow(train_all, work="aware networks", deadline_s=120)


def train_all(on_progress: ProgressListener) -> Made:
    """Prune, make aware, train, convert, calibrate; and try what must be refused."""
    start_tensorflow(threads=1, seed=3)
    import tf_keras as keras

    from edgewright.pipeline.pruning.keras_layers import prunable_zeros
    from edgewright.pipeline.quantization.aware import make_aware

    samples = samples_of(SHAPE)
    model = _pruned(network(SHAPE))
    before = _state(model)
    aware = make_aware(model, False, samples)
    trained = {
        "plain": _train(aware, samples),
        "keeps zeros": _train(make_aware(model, True, samples), samples),
    }
    first_bounds = _bounds(make_aware(model, False))
    untouched = before == _state(model)
    image = keras.Input((1, 1, 9), name="image")
    hidden = keras.layers.BatchNormalization(name="norm")(
        keras.layers.Dense(8, name="hidden")(keras.layers.Flatten()(image))
    )
    scores = keras.layers.Dense(CLASSES, name="scores")(keras.layers.ReLU(name="relu")(hidden))
    dense = make_aware(keras.Model(image, scores, name="dense"), False, samples_of(SHAPES["row"]))
    _fit(dense, samples_of(SHAPES["row"]))
    return Made(
        samples=samples,
        float_outputs=_outputs(model, samples),
        pruned=prunable_zeros(model),
        trained=trained,
        first_bounds=first_bounds,
        untouched=untouched,
        tried={
            "minmax": _try(model, samples),
            "aware": _try(aware, samples),
            "dense aware": _try(dense, samples_of(SHAPES["row"])),
        },
        refused=_refused(model, aware, samples),
    )


def _pruned(model: Any) -> Any:
    for name in PRUNED:
        layer = model.get_layer(name)
        kernel = layer.get_weights()[0]
        layer.set_weights([np.where(np.abs(kernel) < np.median(np.abs(kernel)), 0, kernel)])
    return model


def _state(model: Any) -> tuple[list[bytes], list[int]]:
    return [weights.tobytes() for weights in model.get_weights()], [len(each.inbound_nodes) for each in model.layers]


def _outputs(model: Any, samples: NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    import tf_keras as keras

    values = keras.Model(model.input, [layer.output for layer in model.layers])(np.moveaxis(samples, 1, -1))
    return {
        layer.name: (float(np.min(each)), float(np.max(each))) for layer, each in zip(model.layers, values, strict=True)
    }


def _fit(model: Any, samples: NDArray[np.float32]) -> None:
    import tf_keras as keras

    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-2), "mse")
    targets = np.random.default_rng(1).normal(size=(len(samples), CLASSES)).astype(np.float32)
    model.fit(np.moveaxis(samples, 1, -1), targets, 20, 3, verbose=0)


def _train(aware: Any, samples: NDArray[np.float32]) -> Trained:
    from edgewright.pipeline.quantization.tflite import convert_static
    from edgewright.pipeline.training.keras import predict

    bounds = _bounds(aware)
    before = aware.get_layer("quant_second").trainable_weights[0].numpy()
    _fit(aware, samples)
    after = aware.get_layer("quant_second").trainable_weights[0].numpy()
    quantized = convert_static(aware, batches_of(samples), "uint8", True)
    return Trained(quantized, predict(aware, samples), bounds, not np.array_equal(before, after))


def _bounds(aware: Any) -> dict[str, tuple[float, float]]:
    found: dict[str, dict[str, float]] = {}
    for layer in aware.layers:
        for variable in layer.non_trainable_weights:
            kind = variable.name.split("/")[-1].split(":")[0]
            if kind.startswith(("output_", "post_activation_")):
                name = layer.name.removeprefix("quant_")
                found.setdefault(name, {})[kind.rsplit("_", 1)[1]] = float(variable.numpy())
    return {name: (each["min"], each["max"]) for name, each in found.items()}


def _try(model: Any, samples: NDArray[np.float32], calibration: tuple[str, ...] = ("minmax",)) -> Tried:
    from edgewright.pipeline.calibration_trials import CalibrationData, try_estimators
    from edgewright.pipeline.task_settings import ClassificationSettings
    from edgewright.pipeline.tflite_calibration import KerasQuantizer
    from edgewright.pipeline.variant_settings import QuantizeSettings

    digests = [hashlib.sha256(sample.tobytes()).hexdigest() for sample in samples]
    labels = np.arange(len(samples)) % CLASSES
    split: Any = SimpleNamespace(images=samples, labels=labels, sample_sha256=digests)
    names, task = tuple("abcde"), ClassificationSettings(kind="classification")
    data = CalibrationData(split, lambda raw: raw, names, task, CALIBRATION_SAMPLES)
    judge, said = _Judge(), list[str]()
    quantizer = KerasQuantizer(model, QuantizeSettings(calibration=list(calibration)), "uint8")
    quantized, trials, audit = try_estimators(quantizer, data, judge, judge, said.append)
    return Tried(quantized, trials, audit, tuple(said), judge.asked)


class _Judge:
    """Finds every file equally good, and counts."""

    samples = 60

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, content: bytes) -> float:
        self.asked += 1
        return 50.0


def _refused(model: Any, aware: Any, samples: NDArray[np.float32]) -> dict[str, str]:
    import tf_keras as keras

    from edgewright.pipeline.export.keras_onnx import export_onnx
    from edgewright.pipeline.export.tflite import export_tflite
    from edgewright.pipeline.quantization.aware import make_aware
    from edgewright.pipeline.quantization.tflite import convert_dynamic, convert_static

    unknown = network(SHAPE, keras.layers.LayerNormalization(name="layer_norm"))
    loose = network(SHAPE, keras.layers.BatchNormalization(name="loose_norm"))
    huge = samples.copy()
    huge[:, 0, 0, 0] = 3000.0
    attempts: dict[str, Callable[[], object]] = {
        "unknown layer": lambda: make_aware(unknown, False),
        "unknown layer, zeros kept": lambda: make_aware(unknown, True),
        "norm behind a sum": lambda: make_aware(loose, False),
        "aware twice": lambda: make_aware(aware, False),
        "aware as float": lambda: export_tflite(aware, samples, 1e-3),
        "aware as onnx": lambda: export_onnx(aware, samples, 17, 1e-3),
        "aware as dynamic": lambda: convert_dynamic(aware),
        "aware per tensor": lambda: convert_static(aware, batches_of(samples), "uint8", False),
        "other estimators": lambda: _try(model, samples, ("minmax", "percentile", "entropy")),
        "absurd range": lambda: _try(model, huge),
    }
    return {name: _refusal(attempt) for name, attempt in attempts.items()}


def _refusal(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except EdgewrightError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"
