"""Fully connected networks in Keras; see ``edgewright.pipeline.models.dense``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tf_keras as keras

from edgewright.pipeline.models.autoencoder_rules import check_autoencoder
from edgewright.pipeline.models.geometry import InputShape
from edgewright.pipeline.models.keras.convolution import NORM, image_input


def mlp(input_shape: InputShape, outputs: int, widths: Sequence[int]) -> keras.Model:
    """A multilayer perceptron: hidden layers, one linear layer."""
    image = image_input(input_shape)
    x = _hidden_layers(_flattened(image, input_shape), widths, "hidden")
    return keras.Model(image, keras.layers.Dense(outputs, name="scores")(x), name="mlp")


def autoencoder(input_shape: InputShape, outputs: int, widths: Sequence[int]) -> keras.Model:
    """An autoencoder: narrower and narrower down to the code, then mirrored back to the sample itself.

    Its outputs are the sample flattened with channels first, as everything outside of Keras has it.

    Raises:
        StageError: The outputs are not a sample, or the code has room for a whole sample.
    """
    check_autoencoder(input_shape, outputs, widths)
    *hidden, code = widths
    image = image_input(input_shape)
    x = _hidden_layers(_flattened(image, input_shape), hidden, "encoder")
    x = keras.layers.Dense(code, name="code")(x)
    x = _hidden_layers(x, hidden[::-1], "decoder")
    return keras.Model(image, keras.layers.Dense(outputs, name="scores")(x), name="autoencoder")


def _flattened(image: Any, input_shape: InputShape) -> Any:
    """Float32 ``[N, H, W, C]`` to ``[N, C * H * W]``; axes are only exchanged where there are two to exchange."""
    channels, height, width = input_shape
    x = keras.layers.Permute((3, 1, 2), name="channels_first")(image) if channels > 1 and height * width > 1 else image
    return keras.layers.Flatten(name="flatten")(x)


def _hidden_layers(x: Any, widths: Sequence[int], name: str) -> Any:
    """Linear, batch norm, ReLU, of each width."""
    for number, width in enumerate(widths, start=1):
        x = keras.layers.Dense(width, kernel_initializer="he_normal", name=f"{name}{number}_dense")(x)
        x = keras.layers.BatchNormalization(**NORM, name=f"{name}{number}_norm")(x)
        x = keras.layers.ReLU(name=f"{name}{number}_relu")(x)
    return x
