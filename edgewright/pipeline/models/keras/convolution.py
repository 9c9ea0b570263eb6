"""Parts that the convolutional networks are made of; see ``edgewright.pipeline.models.depthwise`` for PyTorch's.

Every convolution is a layer of its own before its batch norm and ReLU: this is the order that quantization-aware training
and the converters know how to fold.
"""

from __future__ import annotations

from typing import Any

import tf_keras as keras

from edgewright.pipeline.models.geometry import InputShape, Pair

NORM = {"momentum": 0.9, "epsilon": 1e-5}
"""Settings of every batch norm: those that PyTorch has by itself."""


def image_input(input_shape: InputShape) -> Any:
    """The input ``image``, float32 ``[N, H, W, C]``, of samples ``[C, H, W]``."""
    channels, height, width = input_shape
    return keras.Input((height, width, channels), name="image")


def conv_norm(x: Any, channels: int, kernel: Pair, stride: Pair, name: str) -> Any:
    """A convolution that keeps the size (but for its stride) and batch norm: ``[N, H, W, in]`` to ``[N, H', W', out]``."""
    convolution = keras.layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )
    return keras.layers.BatchNormalization(**NORM, name=f"{name}_norm")(convolution(x))


def conv_norm_relu(x: Any, channels: int, kernel: Pair, stride: Pair, name: str) -> Any:
    """``conv_norm``, and ReLU."""
    return keras.layers.ReLU(name=f"{name}_relu")(conv_norm(x, channels, kernel, stride, name))


def depthwise_norm_relu(x: Any, kernel: Pair, stride: Pair, name: str) -> Any:
    """One filter per channel, batch norm and ReLU: ``[N, H, W, C]`` to ``[N, H', W', C]``.

    TensorFlow has no depthwise convolution that steps differently along height and width. An axis of length 1 is stepped over
    like the other, which changes nothing; of a picture whose sides are halved unevenly every second answer is dropped.
    """
    uneven = stride[0] != stride[1] and min(x.shape[1:3]) > 1
    convolution = keras.layers.DepthwiseConv2D(
        kernel,
        strides=1 if uneven else max(stride),
        padding="same",
        use_bias=False,
        # He's rule for what one filter sees; Keras' own would count the inputs of all filters and shrink what passes.
        depthwise_initializer=keras.initializers.RandomNormal(stddev=(2 / (kernel[0] * kernel[1])) ** 0.5),
        name=f"{name}_conv",
    )
    y = convolution(x)
    if uneven:
        y = keras.layers.MaxPooling2D(1, strides=stride, name=f"{name}_step")(y)
    y = keras.layers.BatchNormalization(**NORM, name=f"{name}_norm")(y)
    return keras.layers.ReLU(name=f"{name}_relu")(y)


def separable_block(x: Any, channels: int, kernel: Pair, stride: Pair, name: str) -> Any:
    """One filter per channel, then a 1x1 convolution over the channels, each with batch norm and ReLU."""
    y = depthwise_norm_relu(x, kernel, stride, f"{name}_depthwise")
    return conv_norm_relu(y, channels, (1, 1), (1, 1), f"{name}_pointwise")


def pooled_scores(x: Any, outputs: int) -> Any:
    """The mean over all places and one linear layer: ``[N, H, W, C]`` to the output ``scores``, float32 ``[N, outputs]``."""
    return keras.layers.Dense(outputs, name="scores")(keras.layers.GlobalAveragePooling2D(name="pool")(x))
