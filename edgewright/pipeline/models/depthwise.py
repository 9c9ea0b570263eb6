"""The depthwise-separable block that MobileNetV1 and DS-CNN are made of (Howard et al. 2017)."""

from __future__ import annotations

import torch
from torch import nn

from edgewright.pipeline.models.geometry import Pair, padding_for


def conv_norm_relu(in_channels: int, out_channels: int, kernel: Pair, stride: Pair, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the size (but for its stride), batch norm and ReLU."""
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel, stride=stride, padding=padding_for(kernel), groups=groups, bias=False
    )
    # PyTorch's own start shrinks what passes through by a third per layer: after 27 layers all samples look alike.
    nn.init.kaiming_normal_(convolution.weight, mode="fan_in", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


class SeparableBlock(nn.Module):
    """One filter per channel, then a 1x1 convolution over the channels, each with batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Pair, stride: Pair) -> None:
        super().__init__()
        self.depthwise = conv_norm_relu(in_channels, in_channels, kernel, stride, groups=in_channels)
        self.pointwise = conv_norm_relu(in_channels, out_channels, (1, 1), (1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 ``[N, in, H, W]`` to ``[N, out, H/stride, W/stride]``."""
        y: torch.Tensor = self.pointwise(self.depthwise(x))
        return y
