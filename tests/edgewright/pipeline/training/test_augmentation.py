"""Shifts: whole samples move, each by its own offset, along the axes that they have."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgewright.pipeline.training.augmentation import shifted


def test_shifts_move_whole_images_and_lose_no_ink(some_digits: Any) -> None:
    images = torch.from_numpy(some_digits.inputs[:300])
    margin = torch.ones(28, 28, dtype=torch.bool)
    margin[2:-2, 2:-2] = False
    batch = images[(images[..., margin] == images.min()).all(dim=(1, 2))]  # moved by up to 2, their ink stays inside
    assert len(batch) > 200
    moved = shifted(batch, 2, torch.Generator().manual_seed(0))
    assert moved.shape == batch.shape and moved.dtype == batch.dtype
    background = batch.min()
    seen = set()
    for before, after in zip(batch, moved, strict=True):
        fits = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(torch.roll(before, (down, right), (1, 2)), after)
        ]
        assert len(fits) == 1, "an image is itself, moved"
        seen.add(fits[0])
        assert (after > background).sum() == (before > background).sum()
    assert len(seen) == 25, "all offsets occur"


def test_no_shift_is_no_change(some_digits: Any) -> None:
    batch = torch.from_numpy(some_digits.inputs[:4])
    assert torch.equal(shifted(batch, 0, torch.Generator()), batch)


@pytest.mark.parametrize("shape", [(3, 1, 20), (3, 20, 1)])
def test_a_window_moves_along_time_alone_and_holds_its_edge_values(shape: tuple[int, int, int]) -> None:
    batch = torch.arange(200 * 60, dtype=torch.float32).reshape(200, *shape)
    moved = shifted(batch, 3, torch.Generator().manual_seed(0))
    assert moved.shape == batch.shape
    seen = set()
    for before, after in zip(batch.reshape(200, 3, 20), moved.reshape(200, 3, 20), strict=True):
        offset = int((after[0, 10] - before[0, 10]).item())
        places = (torch.arange(20) + offset).clamp(0, 19)
        assert torch.equal(after, before[:, places]), "all channels by the same offset, filled with the ends"
        seen.add(offset)
    assert seen == set(range(-3, 4)), "all offsets occur"


def test_a_row_has_no_places_and_draws_no_random_number() -> None:
    order = torch.Generator().manual_seed(0)
    before = order.get_state()
    batch = torch.randn(5, 9, 1, 1)
    assert torch.equal(shifted(batch, 2, order), batch)
    assert torch.equal(order.get_state(), before)
