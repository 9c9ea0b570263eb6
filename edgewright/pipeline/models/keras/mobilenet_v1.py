"""MobileNetV1 in Keras; see ``edgewright.pipeline.models.mobilenet_v1``."""

from __future__ import annotations

import tf_keras as keras

from edgewright.pipeline.models.geometry import InputShape, kernel_for, strides_for
from edgewright.pipeline.models.keras.convolution import conv_norm_relu, image_input, pooled_scores, separable_block
from edgewright.pipeline.models.mobilenet_blocks import BLOCKS, STEM_CHANNELS
from edgewright.pipeline.pruning.channels import scaled_width


def mobilenet_v1(input_shape: InputShape, outputs: int, width_factor: float) -> keras.Model:
    """A stem, thirteen separable blocks, global average pooling, one linear layer."""
    kernel, image = kernel_for(input_shape), image_input(input_shape)
    strides = strides_for(input_shape, [2, *(stride for _, stride in BLOCKS)])
    x = conv_norm_relu(image, scaled_width(STEM_CHANNELS, width_factor), kernel, strides[0], "stem")
    for number, ((wanted, _), stride) in enumerate(zip(BLOCKS, strides[1:], strict=True), start=1):
        x = separable_block(x, scaled_width(wanted, width_factor), kernel, stride, f"block{number}")
    return keras.Model(image, pooled_scores(x, outputs), name="mobilenet_v1")
