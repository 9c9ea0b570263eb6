"""What the tests of pruning with Keras ask in a TensorFlow process: prunings of small networks, and what is left of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import StageError
from edgewright.pipeline.progress import ProgressListener, ignore_progress
from edgewright.pipeline.training.plan import Samples, TrainingPlan
from edgewright.pipeline.variant_settings import PruneSettings
from keras_training import CLASSES, curves_of, stripes

PLAN = TrainingPlan(
    epochs=4, batch_size=10, learning_rate=1e-2, weight_decay=1e-3, shift_steps=1, patience_epochs=4, seed=5, threads=1
)
SAMPLES = 100
"""To learn from: ten steps an epoch, forty in all."""


@dataclass(frozen=True)
class Pruned:
    """One pruning.

    Attributes:
        keep_from_epoch: First epoch whose weights might be kept.
        best_epoch: The one that was kept.
        masked: Share of masked weights of each layer after every step, by the layer's name.
        came_back: Whether a weight that was masked once was free again later.
        sparsity: Share of zeros of each layer in the end.
        weights: All weights in the end, by layer and name.
        answers: What the stripped model answers some samples with.
        reloaded: What a fresh model with its weights answers them with.
        baseline_kept: Whether weights and answers of the model before are the same, to the bit.
        layers: Classes of the stripped model's layers.
    """

    keep_from_epoch: int
    best_epoch: int
    masked: dict[str, list[float]]
    came_back: bool
    sparsity: dict[str, float]
    weights: dict[str, NDArray[np.float32]]
    answers: NDArray[np.float32]
    reloaded: NDArray[np.float32]
    baseline_kept: bool
    layers: set[str]


@dataclass
class Findings:
    """Everything that the tests look at; see ``explore``."""

    pruned: dict[str, Pruned] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    sparsity: dict[str, dict[str, float]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    logged_bytes: int = 0
    rows: dict[str, tuple[bool, bool]] = field(default_factory=dict)


def gradual(sparsity: float = 0.8, **changes: Any) -> PruneSettings:
    """A polynomial schedule."""
    settings = {"frequency_steps": 2, "fine_tune_epochs": 4} | changes
    return PruneSettings(method="magnitude", sparsity=sparsity, schedule="polynomial", **settings)


AT_ONCE = PruneSettings(method="magnitude", sparsity=0.7, fine_tune_epochs=4)
ROWS_OF_FOUR = PruneSettings(method="magnitude", sparsity=0.5, pattern="2:4", fine_tune_epochs=4)


def explore(on_progress: ProgressListener = ignore_progress) -> Findings:
    """Does everything in one process."""
    from edgewright.pipeline.tensorflow_process import start_tensorflow

    start_tensorflow(threads=1, seed=3)
    findings = Findings()
    _prunings(findings)
    _refusals(findings)
    _rows(findings)
    return findings


def _mlp() -> Any:
    from edgewright.pipeline.models.keras.build import build_model

    return build_model("mlp", (2, 8, 8), CLASSES, widths=[16])


def _resnet8() -> Any:
    from edgewright.pipeline.models.keras.build import build_model

    return build_model("resnet8", (2, 8, 8), CLASSES, widths=[8, 8, 16])


def _ds_cnn() -> Any:
    from edgewright.pipeline.models.keras.build import build_model

    return build_model("ds_cnn", (2, 8, 8), CLASSES, channels=16, blocks=1, kernel=3)


def _own() -> Any:
    """Attention, a layer that is called twice, a separable convolution, a network within the network."""
    import tf_keras as keras

    layers = keras.layers
    inner = keras.Sequential([layers.Input((8, 8, 6)), layers.Conv2D(6, 3, padding="same", name="deep")], name="inner")
    image = keras.Input((8, 8, 2))
    x = layers.SeparableConv2D(6, 3, padding="same", name="separable")(image)
    twice = layers.Dense(6, name="twice")
    x = inner(twice(layers.ReLU()(twice(x)))) + x
    tokens = layers.Reshape((64, 6))(x)
    x = layers.MultiHeadAttention(2, 3, name="attention")(tokens, tokens)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(image, layers.Dense(CLASSES, name="scores")(x), name="own")


def _prunings(findings: Findings) -> None:
    found = findings.pruned
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        found["gradual"] = _pruned(_mlp, gradual(initial_sparsity=0.2, begin_step=4, power=2), logs)
        findings.curves = curves_of(logs)
        findings.logged_bytes = sum(file.stat().st_size for file in logs.rglob("*") if file.is_file())
    found["to the last step"] = _pruned(_mlp, gradual(end_step=40))
    found["at once"] = _pruned(_mlp, AT_ONCE)
    found["rows of four"] = _pruned(_resnet8, ROWS_OF_FOUR)
    found["depthwise"] = _pruned(_ds_cnn, gradual())
    found["own"] = _pruned(_own, gradual())


def _pruned(make: Callable[[], Any], settings: PruneSettings, logs: Path | None = None) -> Pruned:
    import tf_keras as keras

    from edgewright.pipeline.pruning.keras import begin_pruning, layer_sparsity, strip
    from edgewright.pipeline.training.keras import load_weights, predict, train, weights_to_bytes

    keras.utils.set_random_seed(1)
    baseline, validation = make(), stripes(40, seed=2)
    before = weights_to_bytes(baseline), predict(baseline, validation.inputs)
    pruning = begin_pruning(baseline, settings, PLAN, SAMPLES, logs)
    masks = _masks()
    done = train(
        pruning.model,
        stripes(SAMPLES, seed=1),
        validation,
        PLAN,
        callbacks=[*pruning.callbacks, masks],
        keep_from_epoch=pruning.keep_from_epoch,
        logs=logs,
    )
    stripped = strip(pruning)
    return Pruned(
        pruning.keep_from_epoch,
        done.best_epoch,
        masks.masked,
        masks.came_back,
        layer_sparsity(stripped),
        {weight.name: weight.numpy() for weight in stripped.weights},
        predict(stripped, validation.inputs),
        predict(load_weights(make(), weights_to_bytes(stripped)), validation.inputs),
        weights_to_bytes(baseline) == before[0] and np.array_equal(predict(baseline, validation.inputs), before[1]),
        {type(layer).__name__ for layer in stripped.layers},
    )


def _masks() -> Any:
    """A callback that remembers tfmot's masks after every step."""
    import tf_keras as keras

    class Masks(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.masked: dict[str, list[float]] = {}
            self.came_back = False
            self._last: dict[str, NDArray[np.float32]] = {}

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            for layer in self.model.submodules:
                for number, (_, mask, _) in enumerate(getattr(layer, "pruning_vars", [])):
                    name, now = f"{layer.layer.name}{number or ''}", mask.numpy()
                    self.came_back |= bool((now > self._last.get(name, now)).any())
                    self.masked.setdefault(name, []).append(1 - float(now.mean()))
                    self._last[name] = now

    return Masks()


def _refusals(findings: Findings) -> None:
    import tf_keras as keras

    from edgewright.pipeline.pruning.keras import begin_pruning, layer_sparsity, strip

    image = keras.Input((4, 4, 2))
    nothing = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image), name="nothing")
    projection = keras.layers.EinsumDense("abcd,de->abce", (4, 4, 3), name="projection")(image)
    unknown = keras.Model(image, keras.layers.Dense(2, name="scores")(keras.layers.Flatten()(projection)))
    findings.sparsity["nothing"] = layer_sparsity(nothing)
    findings.sparsity["unknown"] = layer_sparsity(unknown)
    findings.sparsity["unpruned"] = layer_sparsity(_ds_cnn())
    calls: dict[str, Callable[[], object]] = {
        "nothing": lambda: begin_pruning(nothing, AT_ONCE, PLAN, SAMPLES),
        "late": lambda: begin_pruning(_mlp(), gradual(end_step=42), PLAN, SAMPLES),
        "untrained": lambda: strip(begin_pruning(_mlp(), AT_ONCE, PLAN, SAMPLES)),
        "gradual rows": lambda: begin_pruning(_mlp(), gradual(0.5, pattern="2:4"), PLAN, SAMPLES),
        "no callbacks": _without_callbacks,
    }
    for name, call in calls.items():
        try:
            call()
        except StageError as error:
            findings.errors[name] = str(error)


def _without_callbacks() -> None:
    from edgewright.pipeline.pruning.keras import begin_pruning
    from edgewright.pipeline.training.keras import train

    pruning = begin_pruning(_mlp(), AT_ONCE, PLAN, SAMPLES)
    learn: Samples = stripes(SAMPLES, seed=1)
    try:
        train(pruning.model, learn, learn, PLAN)
    except StageError:
        raise
    except Exception as error:
        raise StageError(type(error).__name__) from error


def _rows(findings: Findings) -> None:
    """What we and tfmot say of kernels: two of four of the inputs, of the outputs, and of a rest."""
    import tensorflow as tf
    from tensorflow_model_optimization.python.core.sparsity.keras.pruning_utils import is_pruned_m_by_n

    from edgewright.pipeline.pruning.keras_layers import holds_two_of_four

    by_inputs = np.ones((3, 3, 8, 6), np.float32)
    by_inputs[:, :, [0, 3, 4, 5]] = 0
    rest = np.ones((6, 4), np.float32)
    rest[:2] = 0
    one_more = by_inputs.copy()
    one_more[1, 2, 3, 4] = 1
    for name, kernel in (
        ("inputs", by_inputs),
        ("outputs", np.ascontiguousarray(by_inputs.transpose(0, 1, 3, 2))),
        ("one more", one_more),
        ("dense with a rest", rest),
        ("dense, turned", np.ascontiguousarray(rest.T)),
    ):
        findings.rows[name] = (holds_two_of_four(kernel), is_pruned_m_by_n(tf.constant(kernel), (2, 4), "C_OUT"))
