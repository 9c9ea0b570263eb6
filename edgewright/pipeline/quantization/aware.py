"""Quantization-aware training: a network that rounds to INT8 while it learns, made by TensorFlow's optimization toolkit.

The toolkit's default 8-bit scheme is used, or for pruned networks the one that keeps zeros at zero (PQAT). Both begin with
activations between -6 and 6 and move these bounds by a thousandth per step: in a few epochs they get nowhere. So the bounds
begin where the float network's activations lie on some samples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow_model_optimization as tfmot
import tf_keras as keras

from edgewright.errors import StageError
from edgewright.pipeline.entry_points import first_line
from edgewright.pipeline.export.quiet import quiet
from edgewright.pipeline.export.tflite_converter import refuse_aware, refuse_wrapped

_PREFIX = "quant_"
# What the toolkit calls the bounds of what a layer gives; others (of weights) are set anew in every step.
_BOUNDS = ("output", "post_activation")


def make_aware(model: keras.Model, keep_zeros: bool, samples: npt.NDArray[np.float32] | None = None) -> keras.Model:
    """Makes a copy of a trained network that rounds weights and activations to INT8 in every step.

    Train it, for one epoch at least: before, the bounds of weights are not set. Then ``convert_static`` takes it.

    Args:
        model: A trained float network; it is not touched.
        keep_zeros: Weights that are zero stay zero.
        samples: Where the bounds of activations begin: float32 ``[M, C, H, W]``, preprocessed. Without them between -6 and 6.

    Returns:
        The copy, not compiled; its layers' names begin with ``quant_``.

    Raises:
        StageError: The network is wrapped already, or has a layer that cannot be rounded in training.
    """
    refuse_wrapped(model)
    refuse_aware(model, "quantization-aware training")
    quantization = tfmot.quantization.keras
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme() if keep_zeros else None
    try:
        with quiet():
            # The toolkit wraps the very layers that it is given.
            copy = keras.models.clone_model(model)
            copy.set_weights(model.get_weights())
            annotated = quantization.quantize_annotate_model(copy)
            aware = quantization.quantize_apply(annotated, *([scheme] if scheme else []))
    except Exception as error:
        raise StageError(_refusal(model, error)) from error
    if samples is not None:
        _set_bounds(aware, model, samples)
    return aware


def _refusal(model: keras.Model, error: Exception) -> str:
    """Names the layer: the toolkit says it in one of several ways, or not at all."""
    told = str(error)
    named = [layer for layer in model.layers if f" {layer.name}:" in told] or [
        layer for layer in model.layers if type(layer).__name__ in told
    ]
    layers = ", ".join(f"{layer.name!r} ({type(layer).__name__})" for layer in named)
    what = f"cannot round {layers}" if named else f"cannot wrap the network: {first_line(error)}"
    return (
        f"quantization-aware training {what}. Replace such layers by those that it knows (Conv2D, DepthwiseConv2D, Dense, "
        "BatchNormalization right behind them, ReLU, Add, pooling), or leave quantize.aware out."
    )


def _set_bounds(aware: keras.Model, model: keras.Model, samples: npt.NDArray[np.float32]) -> None:
    """Lets the bounds of every layer's output begin at the lowest and highest value that the float network gives there."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    watched = keras.Model(model.inputs, [layer.get_output_at(0) for layer in layers])
    outputs = watched(np.moveaxis(samples, 1, -1), training=False)
    seen = {
        layer.name: (min(float(np.min(values)), 0.0), max(float(np.max(values)), 0.0))
        for layer, values in zip(layers, outputs, strict=True)
    }
    for layer in aware.layers:
        low_high = seen.get(layer.name.removeprefix(_PREFIX))
        if low_high is None or low_high[0] == low_high[1]:
            continue
        for variable in layer.non_trainable_weights:
            name = variable.name.split("/")[-1].split(":")[0]
            for bounds in _BOUNDS:
                if name == f"{bounds}_min":
                    variable.assign(low_high[0])
                elif name == f"{bounds}_max":
                    variable.assign(low_high[1])
