"""ViT: patches of images of any size, attention by its definition, and a position that counts."""

from __future__ import annotations

import pytest
import torch

from edgewright.pipeline.models.vit import Vit, patch_geometry


@pytest.mark.parametrize(
    ("shape", "patch", "size", "tokens"),
    [
        ((1, 28, 28), 4, (4, 4), 49),
        ((3, 30, 33), 8, (8, 8), 4 * 5),
        ((6, 1, 100), 10, (1, 10), 10),
        ((6, 1, 5), 10, (1, 5), 1),
        ((1, 9, 9), 5, (5, 5), 4),
    ],
)
def test_patches_cover_the_whole_sample(
    shape: tuple[int, int, int], patch: int, size: tuple[int, int], tokens: int
) -> None:
    found_size, padding, found_tokens = patch_geometry(shape, patch)
    assert (found_size, found_tokens) == (size, tokens)
    grid = [(length + 2 * pad - step) // step + 1 for length, pad, step in zip(shape[1:], padding, size, strict=True)]
    assert grid[0] * grid[1] == tokens
    assert all(
        count * step - pad >= length for count, step, pad, length in zip(grid, size, padding, shape[1:], strict=True)
    )


def test_every_pixel_and_its_place_count() -> None:
    torch.manual_seed(0)
    model = Vit((1, 9, 11), 3, patch=4, embedding=16, depth=1, heads=2, mlp_width=16).eval()
    image = torch.randn(1, 1, 9, 11, requires_grad=True)
    model(image)[0, 0].backward()
    assert image.grad is not None and bool((image.grad != 0).all())
    assert not torch.allclose(model(image), model(image.flip(3)))


def test_layers_that_write_into_the_embedding_keep_their_width() -> None:
    model = Vit((1, 8, 8), 3, patch=4, embedding=16, depth=2, heads=2, mlp_width=24)
    assert [layer.weight.shape[0] for layer in model.keeps_width()] == [16, 16, 16]
