"""MobileNetV1: the published widths and strides, one filter per channel, a width factor."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgewright.pipeline.models.mobilenet_v1 import MobileNetV1


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


def test_at_a_quarter_it_is_the_one_of_mlperf_tiny() -> None:
    model = MobileNetV1((3, 96, 96), 2, 0.25)
    # Howard et al. at 0.25: 27 convolutions, their norms, and a head of 256 x 2.
    assert len(convolutions(model)) == 27
    assert sum(parameter.numel() for parameter in model.parameters()) == 213_586
    assert model.features(torch.zeros(1, 3, 96, 96)).shape == (1, 256, 3, 3)


@pytest.mark.parametrize("factor", [0.125, 0.2, 0.25, 1.0])
def test_every_width_is_a_multiple_of_8_and_depthwise_filters_stand_alone(factor: float) -> None:
    layers = convolutions(MobileNetV1((1, 28, 28), 10, factor))
    assert all(layer.out_channels % 8 == 0 and layer.out_channels >= 8 for layer in layers)
    assert [layer.groups for layer in layers[1::2]] == [layer.in_channels for layer in layers[1::2]]
    assert {layer.groups for layer in layers[2::2]} == {1}


def test_a_small_image_is_not_halved_to_nothing() -> None:
    assert MobileNetV1((1, 28, 28), 10, 0.125).features(torch.zeros(1, 1, 28, 28)).shape[2:] == (4, 4)
