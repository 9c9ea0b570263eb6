"""DS-CNN in Keras; see ``edgewright.pipeline.models.ds_cnn``."""

from __future__ import annotations

import tf_keras as keras

from edgewright.pipeline.models.geometry import InputShape, kernel_for, strides_for
from edgewright.pipeline.models.keras.convolution import conv_norm_relu, image_input, pooled_scores, separable_block


def ds_cnn(input_shape: InputShape, outputs: int, channels: int, blocks: int, kernel: int) -> keras.Model:
    """A stem that halves, separable blocks (the third halves again), global average pooling, one linear layer."""
    size, image = kernel_for(input_shape, kernel), image_input(input_shape)
    strides = strides_for(input_shape, [2, *(2 if index == 2 else 1 for index in range(blocks))])
    x = conv_norm_relu(image, channels, size, strides[0], "stem")
    for number, stride in enumerate(strides[1:], start=1):
        x = separable_block(x, channels, size, stride, f"block{number}")
    return keras.Model(image, pooled_scores(x, outputs), name="ds_cnn")
