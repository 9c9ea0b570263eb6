"""DS-CNN: one width throughout, filters along the axes that the sample has."""

from __future__ import annotations

import torch
from torch import nn

from edgewright.pipeline.models.ds_cnn import DsCnn


def test_all_layers_have_the_width_asked_for() -> None:
    model = DsCnn((1, 28, 28), 10, channels=24, blocks=4, kernel=3)
    widths = [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert widths == [24] * 9
    assert model.blocks(model.stem(torch.zeros(1, 1, 28, 28))).shape == (1, 24, 7, 7)


def test_a_window_is_filtered_along_time_alone() -> None:
    model = DsCnn((6, 1, 100), 7, channels=16, blocks=3, kernel=9)
    kernels = {module.kernel_size for module in model.modules() if isinstance(module, nn.Conv2d)}
    assert kernels == {(1, 9), (1, 1)}
