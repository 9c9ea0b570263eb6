"""Small Keras networks and all that becomes of them as TFLite files, made in one process of TensorFlow's.

Tests of the export, of the conversions to fewer bits and of the calibration look at what `conversions` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import EdgewrightError
from edgewright.pipeline.export.exported import ExportedModel
from edgewright.pipeline.progress import ProgressListener
from edgewright.pipeline.quantization.model import QuantizedModel
from edgewright.pipeline.tensorflow_process import run_with_tensorflow, start_tensorflow

TOLERANCE = 1e-4
# Channels, height, width: an image, a window of a sensor, a row of attributes.
SHAPES = {"image": (3, 12, 12), "window": (6, 1, 32), "row": (9, 1, 1)}
CLASSES = 5
_SAMPLES = 60


@dataclass(frozen=True)
class Conversions:
    """What the process gave.

    Attributes:
        samples: By the network's name, float32 ``[60, C, H, W]``.
        answers: What Keras answers them.
        exported: Float files by network.
        again: The image network's float file, exported once more.
        quantized: Files with fewer bits by the conversion's name, of the image network; those called ``odd`` of one with a
            transposed convolution, one in three dimensions and a dense layer.
        dead: Float file of the image network with a ReLU that lets nothing pass.
        refused: What was said, by the name of what is no good.
    """

    samples: dict[str, NDArray[np.float32]]
    answers: dict[str, NDArray[np.float32]]
    exported: dict[str, ExportedModel]
    again: ExportedModel
    quantized: dict[str, QuantizedModel]
    dead: bytes
    refused: dict[str, str]


@cache
def conversions() -> Conversions:
    """Make them, once per process that asks."""
    return run_with_tensorflow(convert_all, work="conversions", deadline_s=120)


def samples_of(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Noise whose channels differ: whoever mixes up axes gives other answers."""
    noise = np.random.default_rng(7).normal(size=(_SAMPLES, *shape)).astype(np.float32)
    scaled: NDArray[np.float32] = noise * np.linspace(0.5, 2, shape[0], dtype=np.float32)[:, None, None]
    return scaled


def batches_of(samples: NDArray[np.float32]) -> Callable[[], Iterator[NDArray[np.float32]]]:
    """The samples in batches of 16, as calibration gives them."""
    return lambda: iter([samples[start : start + 16] for start in range(0, len(samples), 16)])


def network(shape: tuple[int, int, int], between: Any = None) -> Any:
    """A convolution, a depthwise one, a shortcut, and one dense layer; batch norms with other than their first values."""
    import tf_keras as keras

    layers = keras.layers
    channels, height, width = shape
    keras.utils.set_random_seed(5)

    def norm(x: Any, name: str) -> Any:
        around, little = keras.initializers.RandomUniform(0.5, 1.5), keras.initializers.RandomUniform(-0.1, 0.1)
        return layers.BatchNormalization(
            moving_variance_initializer=around,
            gamma_initializer=around,
            moving_mean_initializer=little,
            beta_initializer=little,
            name=name,
        )(x)

    image = keras.Input((height, width, channels), name="image")
    kernel = tuple(min(3, size) for size in (height, width))
    x = layers.Conv2D(16, kernel, padding="same", use_bias=False, name="stem")(image)
    x = layers.ReLU(name="stem_relu")(norm(x, "stem_norm"))
    y = layers.DepthwiseConv2D(kernel, padding="same", use_bias=False, name="depthwise")(x)
    y = layers.Conv2D(16, kernel, padding="same", use_bias=False, name="second")(norm(y, "depthwise_norm"))
    x = layers.ReLU(name="sum_relu")(layers.Add(name="sum")([x, norm(y, "second_norm")]))
    if between is not None:
        x = between(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    scores = layers.Dense(CLASSES, bias_initializer=keras.initializers.RandomUniform(-0.1, 0.1), name="scores")(x)
    return keras.Model(image, scores, name="network")


def convert_all(on_progress: ProgressListener) -> Conversions:
    """Build, export, convert; and try what must be refused."""
    start_tensorflow(threads=1, seed=3)
    from edgewright.pipeline.export.tflite import export_tflite
    from edgewright.pipeline.quantization.tflite import convert_dynamic, convert_float16, convert_static
    from edgewright.pipeline.training.keras import predict

    networks = {name: network(shape) for name, shape in SHAPES.items()}
    samples = {name: samples_of(shape) for name, shape in SHAPES.items()}
    image, batches = networks["image"], batches_of(samples["image"])
    dead = network(SHAPES["image"])
    dead.get_layer("stem_norm").beta.assign([-1000.0] * 16)
    return Conversions(
        samples=samples,
        answers={name: predict(model, samples[name]) for name, model in networks.items()},
        exported={name: export_tflite(model, samples[name], TOLERANCE) for name, model in networks.items()},
        again=export_tflite(image, samples["image"], TOLERANCE),
        quantized={
            "dynamic": convert_dynamic(image),
            "float16": convert_float16(image),
            "uint8": convert_static(image, batches, "uint8", True),
            "uint8 again": convert_static(image, batches, "uint8", True),
            "int8": convert_static(image, batches, "int8", True),
            "int8 per tensor": convert_static(image, batches, "int8", False),
            "row": convert_static(networks["row"], batches_of(samples["row"]), "uint8", True),
            "window": convert_static(networks["window"], batches_of(samples["window"]), "uint8", True),
            "odd dynamic": convert_dynamic(_odd()),
            "odd float16": convert_float16(_odd()),
        },
        dead=export_tflite(dead, samples["image"], TOLERANCE).content,
        refused=_refused(samples["image"]),
    )


def _odd() -> Any:
    import tf_keras as keras

    layers = keras.layers
    image = keras.Input((4, 4, 3), name="image")
    x = layers.Conv2DTranspose(48, 3, name="up")(image)
    x = layers.Conv3D(16, 2, name="deep")(layers.Reshape((6, 6, 3, 16))(x))
    return keras.Model(image, layers.Dense(4, name="scores")(layers.Flatten()(x)), name="odd")


def _refused(samples: NDArray[np.float32]) -> dict[str, str]:
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras as keras

    from edgewright.pipeline.export.tflite import export_tflite
    from edgewright.pipeline.quantization.tflite import convert_dynamic, convert_float16, convert_static

    shape, batches = SHAPES["image"], batches_of(samples)
    sound = network(shape)
    huge, broken = network(shape), network(shape)
    huge.get_layer("second").set_weights([1e6 * weights for weights in sound.get_layer("second").get_weights()])
    broken.get_layer("scores").set_weights([np.nan * weights for weights in sound.get_layer("scores").get_weights()])
    first, second = keras.Input((2, 2, 1)), keras.Input((2, 2, 1))
    two = keras.Model([first, second], keras.layers.Flatten()(first + second))
    free = keras.Input((None, None, 3))
    no_size = keras.Model(free, keras.layers.GlobalAveragePooling2D()(free))
    still = keras.Model(first, keras.layers.Flatten()(first))
    small = keras.Model(first, keras.layers.Dense(2, name="scores")(keras.layers.Flatten()(first)))
    image_out = keras.Model(first, keras.layers.Conv2D(1, 1)(first))

    def one_sample_is_special(x: Any) -> Any:
        return x + 0.01 * tf.cast(tf.equal(tf.shape(x)[0], 1), tf.float32)

    attempts: dict[str, Callable[[], object]] = {
        "foreign operator": lambda: export_tflite(network(shape, tf.math.erf), samples, TOLERANCE),
        "other answers": lambda: export_tflite(network(shape, one_sample_is_special), samples, 1e-3),
        "not a number": lambda: export_tflite(broken, samples, TOLERANCE),
        "two inputs": lambda: export_tflite(two, samples, TOLERANCE),
        "free size": lambda: export_tflite(no_size, samples, TOLERANCE),
        "image output": lambda: export_tflite(image_out, samples[:, :1, :2, :2], TOLERANCE),
        "wrapped for pruning": lambda: export_tflite(
            tfmot.sparsity.keras.prune_low_magnitude(sound), samples, TOLERANCE
        ),
        "only annotated": lambda: convert_static(
            tfmot.quantization.keras.quantize_annotate_model(network(shape)), batches, "uint8", True
        ),
        "no int8 kernel": lambda: convert_static(
            network(shape, lambda x: tf.floor(tf.sin(x))), batches, "uint8", True
        ),
        "nothing to compute": lambda: convert_static(still, batches_of(samples[:, :1, :2, :2]), "uint8", True),
        "too small for dynamic": lambda: convert_dynamic(small),
        "nothing for float16": lambda: convert_float16(still),
        "beyond float16": lambda: convert_float16(huge),
    }  # fmt: skip
    return {name: _refusal(attempt) for name, attempt in attempts.items()}


def _refusal(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except EdgewrightError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"
