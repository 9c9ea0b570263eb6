"""Fully connected networks: for rows of attributes, small windows and small images.

Hidden layers are linear layers with batch norm and ReLU. Batch norm keeps their inputs in range whatever the attributes'
own scales are, and disappears into the linear layers at export: what is left is matrix products and ReLU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from edgewright.pipeline.models.autoencoder_rules import check_autoencoder
from edgewright.pipeline.models.geometry import InputShape


def hidden_layers(widths: Sequence[int]) -> list[nn.Module]:
    """Linear, batch norm, ReLU from each width to the next."""
    return [
        nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU())
        for inputs, outputs in pairwise(widths)
    ]


class Mlp(nn.Module):
    """A multilayer perceptron: hidden layers, one linear layer."""

    def __init__(self, input_shape: InputShape, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.body = nn.Sequential(*hidden_layers([math.prod(input_shape), *widths]))
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 ``[N, C, H, W]`` to float32 ``[N, outputs]``."""
        outputs: torch.Tensor = self.head(self.body(torch.flatten(x, 1)))
        return outputs


class Autoencoder(nn.Module):
    """An autoencoder: narrower and narrower down to the code, then mirrored back to the sample itself.

    The code has no ReLU: cut at zero, half of what it could say is lost.
    """

    def __init__(self, input_shape: InputShape, outputs: int, widths: Sequence[int]) -> None:
        """Builds the network.

        Args:
            input_shape: Channels, height, width of one sample.
            outputs: Values of one sample, ``C * H * W``.
            widths: Of the encoder; the last is the code's.

        Raises:
            StageError: The outputs are not a sample, or the code has room for a whole sample.
        """
        super().__init__()
        values = check_autoencoder(input_shape, outputs, widths)
        *hidden, code = widths
        self.encoder = nn.Sequential(*hidden_layers([values, *hidden]))
        self.bottleneck = nn.Linear(hidden[-1], code)
        self.decoder = nn.Sequential(*hidden_layers([code, *reversed(hidden)]))
        self.head = nn.Linear(hidden[0], outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps float32 ``[N, C, H, W]`` to float32 ``[N, C * H * W]``: the sample, as far as the code can tell it."""
        outputs: torch.Tensor = self.head(self.decoder(self.bottleneck(self.encoder(torch.flatten(x, 1)))))
        return outputs

    def keeps_width(self) -> list[nn.Module]:
        """Layers whose outputs pruning must leave: the code, whose width says what is normal and costs next to nothing."""
        return [self.bottleneck]
