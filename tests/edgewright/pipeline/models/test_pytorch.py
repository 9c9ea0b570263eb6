"""Architectures: what shape they take and give, and how large they are."""

from __future__ import annotations

import pytest
import torch

from edgewright.errors import StageError
from edgewright.pipeline.models.pytorch import BasicBlock, build_model


@pytest.mark.parametrize(("channels", "side", "classes"), [(1, 28, 10), (3, 32, 4)])
def test_resnet8_gives_one_score_per_class_for_any_batch(channels: int, side: int, classes: int) -> None:
    model = build_model("resnet8", (channels, side, side), classes, (8, 16, 24)).eval()
    for batch in (1, 5):
        assert model(torch.zeros(batch, channels, side, side)).shape == (batch, classes)


def test_resnet8_has_its_stages_widths_and_nothing_hidden() -> None:
    model = build_model("resnet8", (1, 28, 28), 10, (8, 16, 24))
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


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(StageError, match=r"architecture\.name 'vgg' is not known\. Known: resnet8\."):
        build_model("vgg", (1, 28, 28), 10, (8, 8, 8))
