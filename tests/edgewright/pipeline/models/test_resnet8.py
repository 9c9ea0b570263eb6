"""ResNet-8: what shape it takes and gives, and how large it is."""

from __future__ import annotations

import pytest
import torch

from edgewright.pipeline.models.resnet8 import BasicBlock, ResNet8


@pytest.mark.parametrize(("channels", "side", "classes"), [(1, 28, 10), (3, 32, 4)])
def test_it_gives_one_score_per_class_for_any_batch(channels: int, side: int, classes: int) -> None:
    model = ResNet8((channels, side, side), classes, (8, 16, 24)).eval()
    for batch in (1, 5):
        assert model(torch.zeros(batch, channels, side, side)).shape == (batch, classes)


def test_it_has_its_stages_widths_and_nothing_hidden() -> None:
    model = ResNet8((1, 28, 28), 10, (8, 16, 24))
    widths = [module.out_channels for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert widths == [8, 8, 8, 16, 16, 16, 24, 24, 24]
    stem, block1, block2, block3 = 72, 2 * 576, 1152 + 2304 + 128, 3456 + 5184 + 384
    norms, head = 2 * sum(widths), 24 * 10 + 10
    assert sum(parameter.numel() for parameter in model.parameters()) == sum(
        (stem, block1, block2, block3, norms, head)
    )


def test_a_block_that_keeps_its_shape_has_a_free_shortcut() -> None:
    assert isinstance(BasicBlock(8, 8, stride=1).shortcut, torch.nn.Identity)
    assert isinstance(BasicBlock(8, 8, stride=2).shortcut, torch.nn.Sequential)


def test_a_window_is_not_multiplied_with_rows_that_it_does_not_have() -> None:
    model = ResNet8((6, 1, 50), 4, (8, 16, 24))
    kernels = {module.kernel_size for module in model.modules() if isinstance(module, torch.nn.Conv2d)}
    assert kernels == {(1, 3), (1, 1)}
