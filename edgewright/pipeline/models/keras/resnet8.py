"""ResNet-8 in Keras; see ``edgewright.pipeline.models.resnet8``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tf_keras as keras

from edgewright.pipeline.models.geometry import InputShape, Pair, kernel_for
from edgewright.pipeline.models.keras.convolution import conv_norm, conv_norm_relu, image_input, pooled_scores


def resnet8(input_shape: InputShape, outputs: int, widths: Sequence[int]) -> keras.Model:
    """A stem, three basic blocks, global average pooling, one linear layer."""
    kernel, image = kernel_for(input_shape), image_input(input_shape)
    x = conv_norm_relu(image, widths[0], kernel, (1, 1), "stem")
    for number, (width, stride) in enumerate(zip(widths, (1, 2, 2), strict=True), start=1):
        x = _basic_block(x, width, stride, kernel, f"block{number}")
    return keras.Model(image, pooled_scores(x, outputs), name="resnet8")


def _basic_block(x: Any, width: int, stride: int, kernel: Pair, name: str) -> Any:
    """Two convolutions with batch norm and a shortcut (1x1 convolution where the shape changes)."""
    y = conv_norm_relu(x, width, kernel, (stride, stride), f"{name}_1")
    y = conv_norm(y, width, kernel, (1, 1), f"{name}_2")
    if stride != 1 or x.shape[-1] != width:
        x = conv_norm(x, width, (1, 1), (stride, stride), f"{name}_shortcut")
    return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.Add(name=f"{name}_add")([y, x]))
