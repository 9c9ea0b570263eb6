"""ResNet-8: after the one of MLPerf Tiny (three stacks of one basic block each, He et al. 2015).

Its widths are free because narrow nets are all overhead on a CPU: at 28x28 pixels a 32/64/128 net is the first that INT8
pays for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgewright.pipeline.models.geometry import InputShape, Pair, kernel_for, padding_for


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (1x1 convolution where the shape changes)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, kernel: Pair = (3, 3)) -> None:
        super().__init__()
        padding = padding_for(kernel)
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel, padding=padding, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 ``[N, in, H, W]`` to ``[N, out, H/stride, W/stride]``."""
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return torch.relu(y + self.shortcut(x))


class ResNet8(nn.Module):
    """ResNet-8: a stem, three basic blocks, global average pooling, one linear layer."""

    def __init__(self, input_shape: InputShape, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        kernel = kernel_for(input_shape)
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], widths[0], kernel, padding=padding_for(kernel), bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        self.block1 = BasicBlock(widths[0], widths[0], stride=1, kernel=kernel)
        self.block2 = BasicBlock(widths[0], widths[1], stride=2, kernel=kernel)
        self.block3 = BasicBlock(widths[1], widths[2], stride=2, kernel=kernel)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(widths[2], outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 ``[N, C, H, W]`` to float32 ``[N, outputs]``."""
        x = self.block3(self.block2(self.block1(self.stem(x))))
        outputs: torch.Tensor = self.head(torch.flatten(self.pool(x), 1))
        return outputs
