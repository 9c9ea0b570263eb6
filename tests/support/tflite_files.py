"""TFLite files that were really converted, and files that break one rule each, for tests of the engine that runs them.

TensorFlow makes them, in a process of its own: `make_files` is run by ``run_with_tensorflow``. The nets are not trained:
what the tests ask is whether the engine answers what Keras answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.pipeline.progress import ProgressListener, ignore_progress
from edgewright.pipeline.tensorflow_process import run_with_tensorflow, start_tensorflow

HEIGHT, WIDTH, CHANNELS, CLASSES = 6, 8, 3, 6
_SAMPLES = 64


@dataclass(frozen=True)
class TfliteFiles:
    """What the child process made.

    Attributes:
        content: The files by name.
        samples: float32 ``[64, C, H, W]``.
        answers: float32 ``[64, 6]``, what Keras answers on the samples.
    """

    content: dict[str, bytes]
    samples: NDArray[np.float32]
    answers: NDArray[np.float32]


@cache
def tflite_files() -> TfliteFiles:
    """Give the files, which are made when they are first asked for: some ten seconds."""
    return run_with_tensorflow(make_files, work="making TFLite files", deadline_s=300)


def patched(model: bytes, change: Callable[[Any], None]) -> bytes:
    """Change a file as somebody would who knows the format.

    Args:
        model: The file.
        change: Changes the file's contents, a ``ModelT`` of LiteRT's own schema.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    change(content)
    builder = flatbuffers.Builder(1024)
    builder.Finish(content.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def make_files(on_progress: ProgressListener = ignore_progress) -> TfliteFiles:
    """Build one small net and convert it in every way, and some nets that are no models of ours."""
    start_tensorflow(threads=1, seed=3)
    import tf_keras as keras

    image = keras.Input((HEIGHT, WIDTH, CHANNELS), name="image")
    hidden = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    hidden = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu")(hidden)
    scores = keras.layers.Dense(CLASSES, name="scores")(keras.layers.Flatten()(hidden))
    model = keras.Model(image, scores)
    # One filter is dead, as after pruning.
    model.layers[1].set_weights(
        [weight * (np.arange(weight.shape[-1]) > 0) for weight in model.layers[1].get_weights()]
    )
    # Channels of different ranges, and more width than height: whoever mixes up axes answers something else.
    samples = np.random.default_rng(7).normal(size=(_SAMPLES, HEIGHT, WIDTH, CHANNELS)).astype(np.float32)
    samples *= np.array([1.0, 0.5, 2.0], np.float32)
    content = {name: make() for name, make in {**_conversions(model, samples), **_strange()}.items()}
    answers = model.predict(samples, verbose=0)
    return TfliteFiles(content, np.ascontiguousarray(samples.transpose(0, 3, 1, 2)), answers)


def _conversions(model: Any, samples: NDArray[np.float32]) -> dict[str, Callable[[], bytes]]:
    import tensorflow as tf

    def convert(batch: int | None = 1, io: Any = None, **settings: Any) -> bytes:
        function = tf.function(lambda image: {"scores": model(image)})
        signature = tf.TensorSpec([batch, HEIGHT, WIDTH, CHANNELS], tf.float32, name="image")
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function(signature)], model)
        for name, value in settings.items():
            setattr(converter, name, value)
        if io is not None:
            converter.inference_input_type = converter.inference_output_type = io
        return bytes(converter.convert())

    small = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    full = {
        **small,
        "representative_dataset": lambda: ([sample[np.newaxis]] for sample in samples),
        "target_spec": _target(tf.lite.OpsSet.TFLITE_BUILTINS_INT8),
    }
    half = _target(tf.lite.OpsSet.TFLITE_BUILTINS)
    half.supported_types = [tf.float16]
    wide = _target(tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8)
    return {
        "float": convert,
        "free batch": lambda: convert(batch=None),
        "batch of 8": lambda: convert(batch=8),
        "dynamic": lambda: convert(**small),
        "float16": lambda: convert(**small, target_spec=half),
        "int8 with float io": lambda: convert(**full),
        "int8 with int8 io": lambda: convert(io=tf.int8, **full),
        "int8 with uint8 io": lambda: convert(io=tf.uint8, **full),
        "int16 with float io": lambda: convert(**{**full, "target_spec": wide}),
        "int16 io": lambda: convert(io=tf.int16, **{**full, "target_spec": wide}),
        "keras": lambda: bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert()),
    }


def _target(*operators: Any) -> Any:
    import tensorflow as tf

    return tf.lite.TargetSpec(supported_ops=list(operators))


def _strange() -> dict[str, Callable[[], bytes]]:
    """Nets of other shapes, types and operators."""
    import tensorflow as tf
    import tf_keras as keras

    recurrent = keras.layers.LSTM(4)
    kept = tf.Variable(tf.ones((1, 4)))
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([5, 6], tf.int64)), -1
    )

    def convert(compute: Any, *shapes: Any, dtype: Any = tf.float32, holds: Any = None, **settings: Any) -> bytes:
        module = tf.Module()
        module.holds = holds  # what a converter may read must stay alive
        names = ["image", "second"]
        specs = [tf.TensorSpec(shape, dtype, name=name) for shape, name in zip(shapes, names, strict=False)]
        concrete = tf.function(compute).get_concrete_function(*specs)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
        for name, value in settings.items():
            setattr(converter, name, value)
        return bytes(converter.convert())

    def rank(image: Any) -> Any:
        return tf.reshape(image, [1, 4])

    def square(image: Any) -> Any:
        return tf.reshape(image, [2, 2])

    def many_products(image: Any) -> Any:
        """Some 10^11 multiplications in operators of a quarter of a second each: seconds on any processor."""
        wide = tf.tile(square(image), [1024, 1024])
        for _ in range(24):
            wide = tf.sin(tf.matmul(wide, wide))
        return wide[:1, :4]

    def many_turns(image: Any) -> Any:
        """2^31 turns: minutes at the least, and the converter cannot unroll them."""
        turns = tf.constant(2**31 - 1)
        return tf.while_loop(
            lambda turn, _: turn < turns,
            lambda turn, value: (turn + 1, tf.sin(value)),
            (tf.constant(0), rank(image)),
        )[1]

    def remember(image: Any) -> Any:
        kept.assign_add(rank(image))
        return kept.read_value()

    small = [1, 2, 2, 1]
    flex = _target(tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS)
    return {
        "two inputs": lambda: convert(lambda a, b: rank(a) + rank(b), small, small),
        "two outputs": lambda: convert(lambda a: (rank(a) + 1, rank(a) * 2), small),
        "image output": lambda: convert(lambda a: a + 1, small),
        "free size": lambda: convert(lambda a: tf.reduce_sum(a, [1, 2]), [1, None, None, 3]),
        "flat input": lambda: convert(lambda a: a + 1, [1, 4]),
        "integer input": lambda: convert(lambda a: tf.cast(rank(a), tf.float32), small, dtype=tf.int32),
        "text output": lambda: convert(lambda a: tf.fill([1, 4], "text"), small),
        "two rows": lambda: convert(lambda a: tf.reshape(a, [2, 2]), small),
        "division": lambda: convert(lambda a: 1 / rank(a), small),
        "loop": lambda: convert(many_turns, small),
        "memory": lambda: convert(lambda a: recurrent(tf.reshape(a, [1, 4, 1])), small, holds=recurrent),
        "slow": lambda: convert(many_products, small),
        "variable": lambda: convert(remember, small, holds=kept),
        "table": lambda: convert(
            lambda a: rank(a) + tf.cast(table.lookup(tf.constant(["b"])), tf.float32), small, holds=table
        ),
        "flex operator": lambda: convert(
            lambda a: tf.reshape(tf.linalg.inv(square(a)), [1, 4]), small, target_spec=flex
        ),
        "custom operator": lambda: convert(
            lambda a: tf.math.betainc(rank(a), rank(a), rank(a)), small, allow_custom_ops=True
        ),
    }
