"""TensorFlow's converter to TFLite, set up alike for float files and for files with fewer bits.

The batch is frozen at 1, as devices ask. The function is saved with its variables in a plain module: that is TensorFlow's own
way to keep the names of input and output in the file's signature, and saving the Keras model instead, with all of its own
functions, takes two to three times as long.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from edgewright.errors import StageError
from edgewright.pipeline.entry_points import first_line
from edgewright.pipeline.export.exported import INPUT_NAME, OUTPUT_NAME
from edgewright.pipeline.export.quiet import quiet

# What the tools wrap around layers, and what must be done before such a model becomes a file. The wrappers are known by name:
# importing them would cost those a second who have none.
_WRAPPERS = {
    "PruneLowMagnitude": "is still wrapped for pruning. Strip the pruned model first.",
    "ClusterWeights": "is still wrapped for clustering. Strip the clustered model first.",
    "QuantizeAnnotate": "is only annotated for quantization. Call quantize_apply, or give the model without annotations.",
}
_AWARE = frozenset({"QuantizeWrapper", "QuantizeWrapperV2", "QuantizeLayer"})


def new_converter(model: keras.Model) -> Any:
    """A ``tf.lite.TFLiteConverter`` of the network at inference, float32 ``[1, H, W, C]`` to ``[1, K]``.

    Args:
        model: The network; what the tools wrapped around its layers for quantization-aware training may be there.

    Raises:
        StageError: Layers are wrapped for pruning or only annotated, or the network's input is no image, window or row.
    """
    refuse_wrapped(model)
    signature = tf.TensorSpec((1, *input_shape(model)), tf.float32, name=INPUT_NAME)
    answer = tf.function(lambda image: {OUTPUT_NAME: model(image, training=False)}, input_signature=[signature])
    module = tf.Module()
    module.variables_of_model = model.variables  # the saved function may use no variable that the module does not hold
    try:
        with quiet():
            concrete = answer.get_concrete_function()
    except Exception as error:
        raise StageError(f"the network cannot be traced for TFLite: {first_line(error)}") from error
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter


def convert(converter: Any, what: str) -> bytes:
    """Runs a converter.

    Args:
        converter: From ``new_converter``.
        what: What is converted to what, for messages.

    Raises:
        StageError: It failed; operators that TFLite does not have are named.
    """
    try:
        with quiet():
            return bytes(converter.convert())
    except Exception as error:
        # The converter's messages fill screens, with the paths of source files; what it collects beside them is short.
        missing = {found.operator.name.removeprefix("tf.") for found in getattr(error, "errors", ())} - {""}
        if missing:
            raise StageError(
                f"{what} failed: TFLite has no operator for {', '.join(sorted(missing))}. Replace the layers that need it."
            ) from error
        raise StageError(f"{what} failed: {first_line(error)}") from error


def input_shape(model: keras.Model) -> tuple[int, int, int]:
    """Height, width and channels of the network's one input.

    Raises:
        StageError: It has another number of inputs, or other axes.
    """
    shapes = [list(each.shape) for each in model.inputs or []]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][0] is not None or None in shapes[0][1:]:
        found = ", ".join(map(str, shapes)) or "unknown"
        raise StageError(
            f"the network's inputs are {found}; needed is one, [None, height, width, channels]. Build it from a keras.Input."
        )
    height, width, channels = (int(size) for size in shapes[0][1:])
    return height, width, channels


def is_aware(model: keras.Model) -> bool:
    """Whether the network was made for quantization-aware training."""
    return any(type(layer).__name__ in _AWARE for layer in model.layers)


def refuse_wrapped(model: keras.Model) -> None:
    """Refuses what other tools wrapped around layers and must take off again.

    Raises:
        StageError: A layer is wrapped for pruning or clustering, or only annotated for quantization.
    """
    for layer in model.layers:
        remedy = _WRAPPERS.get(type(layer).__name__)
        if remedy:
            raise StageError(f"layer {layer.layer.name!r} {remedy}")


def refuse_aware(model: keras.Model, what: str) -> None:
    """Refuses a network with the rounding of INT8 in place where a float one is needed.

    Raises:
        StageError: It has been made for quantization-aware training.
    """
    if is_aware(model):
        raise StageError(
            f"the network is already quantized (by quantization-aware training): {what} takes a float one. Convert this one "
            "with method: static."
        )
