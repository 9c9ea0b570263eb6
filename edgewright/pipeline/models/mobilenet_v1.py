"""MobileNetV1 with a width factor (Howard et al. 2017); 0.25 is the one of MLPerf Tiny.

The original halves the image five times, which leaves nothing of a small one: here an axis is halved only while it is longer
than four. An image of 96 pixels goes through the original strides.
"""

from __future__ import annotations

import torch
from torch import nn

from edgewright.pipeline.models.depthwise import SeparableBlock, conv_norm_relu
from edgewright.pipeline.models.geometry import InputShape, kernel_for, strides_for
from edgewright.pipeline.models.mobilenet_blocks import BLOCKS, STEM_CHANNELS
from edgewright.pipeline.pruning.channels import scaled_width


class MobileNetV1(nn.Module):
    """MobileNetV1: a stem, thirteen separable blocks, global average pooling, one linear layer."""

    def __init__(self, input_shape: InputShape, outputs: int, width_factor: float) -> None:
        super().__init__()
        kernel = kernel_for(input_shape)
        strides = strides_for(input_shape, [2, *(stride for _, stride in BLOCKS)])
        channels = scaled_width(STEM_CHANNELS, width_factor)
        layers: list[nn.Module] = [conv_norm_relu(input_shape[0], channels, kernel, strides[0])]
        for (wanted, _), stride in zip(BLOCKS, strides[1:], strict=True):
            width = scaled_width(wanted, width_factor)
            layers.append(SeparableBlock(channels, width, kernel, stride))
            channels = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 ``[N, C, H, W]`` to float32 ``[N, outputs]``."""
        outputs: torch.Tensor = self.head(torch.flatten(self.pool(self.features(x)), 1))
        return outputs
