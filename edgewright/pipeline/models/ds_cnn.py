"""DS-CNN: a stem and separable blocks of one width (Zhang et al. 2017, "Hello Edge"), for images and sensor windows."""

from __future__ import annotations

import torch
from torch import nn

from edgewright.pipeline.models.depthwise import SeparableBlock, conv_norm_relu
from edgewright.pipeline.models.geometry import InputShape, kernel_for, strides_for


class DsCnn(nn.Module):
    """DS-CNN: a stem that halves, separable blocks (the third halves again), global average pooling, one linear layer."""

    def __init__(self, input_shape: InputShape, outputs: int, channels: int, blocks: int, kernel: int) -> None:
        super().__init__()
        size = kernel_for(input_shape, kernel)
        strides = strides_for(input_shape, [2, *(2 if index == 2 else 1 for index in range(blocks))])
        self.stem = conv_norm_relu(input_shape[0], channels, size, strides[0])
        self.blocks = nn.Sequential(*(SeparableBlock(channels, channels, size, stride) for stride in strides[1:]))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 ``[N, C, H, W]`` to float32 ``[N, outputs]``."""
        outputs: torch.Tensor = self.head(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))
        return outputs
