"""Small Keras networks and their ONNX files, made in one process of TensorFlow's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import EdgewrightError
from edgewright.pipeline.export.exported import ExportedModel
from edgewright.pipeline.progress import ProgressListener
from edgewright.pipeline.tensorflow_process import run_with_tensorflow, start_tensorflow
from tflite_conversions import SHAPES, TOLERANCE, network, samples_of

OPSETS = (13, 17, 18, 21)
TOKENS, WIDTH = 8, 16


@dataclass(frozen=True)
class Exports:
    """What the process gave.

    Attributes:
        samples: By network, float32 ``[60, C, H, W]``.
        answers: What Keras answers them.
        exported: By network and opset.
        refused: What was said, by the name of what is no good.
    """

    samples: dict[str, NDArray[np.float32]]
    answers: dict[str, NDArray[np.float32]]
    exported: dict[tuple[str, int], ExportedModel]
    refused: dict[str, str]


@cache
def exports() -> Exports:
    """Make them, once per process that asks."""
    return run_with_tensorflow(export_all, work="exports", deadline_s=120)


def digests_again() -> dict[str, str]:
    """Digests of two files from another process: one of convolutions, one of attention, whose equal nodes are merged."""
    return run_with_tensorflow(export_two, work="exports again", deadline_s=120)


def export_two(on_progress: ProgressListener) -> dict[str, str]:
    """Export what `digests_again` asks for, after something else: what a process did before must not show."""
    start_tensorflow(threads=1, seed=4)
    import hashlib

    from edgewright.pipeline.export.keras_onnx import export_onnx

    export_onnx(network(SHAPES["row"]), samples_of(SHAPES["row"]), 18, TOLERANCE)
    made = {name: make() for name, make in _networks().items() if name in ("image", "tokens")}
    return {
        name: hashlib.sha256(export_onnx(model, _samples(name), 18, TOLERANCE).content).hexdigest()
        for name, model in made.items()
    }


def export_all(on_progress: ProgressListener) -> Exports:
    """Build and export; and try what must be refused."""
    start_tensorflow(threads=1, seed=3)
    from edgewright.pipeline.export.keras_onnx import export_onnx
    from edgewright.pipeline.training.keras import predict

    networks = {name: make() for name, make in _networks().items()}
    exported = {
        (name, opset): export_onnx(model, _samples(name), opset, TOLERANCE)
        for name, model in networks.items()
        for opset in (OPSETS if name == "image" else (13, 18))
    }
    answers = {name: predict(model, _samples(name)) for name, model in networks.items()}
    return Exports({name: _samples(name) for name in networks}, answers, exported, _refused())


def _samples(name: str) -> NDArray[np.float32]:
    return samples_of({"dense": SHAPES["row"], "tokens": SHAPES["window"]}.get(name) or SHAPES[name])


def _networks() -> dict[str, Callable[[], Any]]:
    return {
        "image": lambda: network(SHAPES["image"]),
        "window": lambda: network(SHAPES["window"], _less_a_mean),
        "dense": _dense,
        "tokens": _tokens,
    }


def _less_a_mean(x: Any) -> Any:
    """Holds a tensor that is no weight."""
    import tensorflow as tf

    return x - tf.constant(np.linspace(0, 1, 16, dtype=np.float32))


def _dense() -> Any:
    """Dense layers with a batch norm behind them, from rows."""
    import tf_keras as keras

    keras.utils.set_random_seed(5)
    around = keras.initializers.RandomUniform(0.5, 1.5)
    image = keras.Input((1, 1, SHAPES["row"][0]), name="image")
    x = keras.layers.Flatten(name="flatten")(image)
    for name, biased in (("first", True), ("second", False)):
        x = keras.layers.Dense(12, use_bias=biased, bias_initializer=around, name=name)(x)
        x = keras.layers.BatchNormalization(
            moving_variance_initializer=around, gamma_initializer=around, beta_initializer=around, name=f"{name}_norm"
        )(x)
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    return keras.Model(image, keras.layers.Dense(9, bias_initializer=around, name="scores")(x), name="dense")


def _tokens() -> Any:
    """Attention over parts of a window: reshapes, layer norms of Keras' own epsilon, an exact GELU."""
    import tensorflow as tf
    import tf_keras as keras

    keras.utils.set_random_seed(5)
    layers = keras.layers

    class Mix(layers.Layer):  # type: ignore[misc]  # tf_keras has no types
        def call(self, inputs: Any) -> Any:
            query, key, value = inputs
            return tf.matmul(tf.nn.softmax(tf.matmul(query, key, transpose_b=True) * WIDTH**-0.5), value)

    image = keras.Input((1, SHAPES["window"][2], SHAPES["window"][0]), name="image")
    x = layers.Conv2D(WIDTH, (1, 4), strides=(1, 4), name="patches")(image)
    x = layers.Reshape((TOKENS, WIDTH), name="parts")(x)
    y = layers.LayerNormalization(name="norm")(x)
    mixed = Mix(name="mix")([layers.Dense(WIDTH, name=part)(y) for part in ("query", "key", "value")])
    x = layers.Add(name="sum")([x, mixed])
    x = layers.Dense(WIDTH, activation="gelu", name="widen")(x)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(image, layers.Dense(5, name="scores")(x), name="tokens")


def _refused() -> dict[str, str]:
    import tensorflow as tf
    import tf_keras as keras

    from edgewright.pipeline.export.keras_onnx import export_onnx

    shape = SHAPES["image"]
    samples, sound, broken = samples_of(shape), network(shape), network(shape)
    broken.get_layer("scores").set_weights([np.nan * weights for weights in sound.get_layer("scores").get_weights()])

    def with_shapes(x: Any) -> Any:
        return x * tf.tile(x[:1, :1, :1], [tf.shape(x)[0], 1, 1, 1])

    two, image = keras.Input((12, 12, 3), batch_size=2), keras.Input((12, 12, 3))
    frozen = keras.Model(two, keras.layers.Dense(2, name="scores")(keras.layers.Flatten()(two)))
    inside = keras.Model(image, keras.layers.Dense(2, name="scores")(tf.reshape(image, [2, 432])))
    attempts: dict[str, Callable[[], object]] = {
        "too old": lambda: export_onnx(sound, samples, 12, TOLERANCE),
        "too new": lambda: export_onnx(sound, samples, 22, TOLERANCE),
        "foreign operator": lambda: export_onnx(network(shape, tf.math.lgamma), samples, 18, TOLERANCE),
        "not a number": lambda: export_onnx(broken, samples, 18, TOLERANCE),
        "shape arithmetic": lambda: export_onnx(network(shape, with_shapes), samples, 18, TOLERANCE),
        "frozen batch": lambda: export_onnx(frozen, samples, 18, TOLERANCE),
        "frozen inside": lambda: export_onnx(inside, samples, 18, TOLERANCE),
    }
    return {name: _refusal(attempt) for name, attempt in attempts.items()}


def _refusal(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except EdgewrightError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"
