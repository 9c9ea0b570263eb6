"""Shifts: samples move, each by its own offset, along the axes that they have. Noise: each has its own strength."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgewright.pipeline.training.augmentation import noisy, shifted
from edgewright.pipeline.training.plan import Noise


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


def test_no_noise_is_no_change_and_draws_nothing() -> None:
    order = torch.Generator().manual_seed(0)
    batch = torch.ones(4, 1, 2, 2)
    assert noisy(batch, None, order) is batch
    assert torch.equal(torch.rand(3, generator=order), torch.rand(3, generator=torch.Generator().manual_seed(0)))


def test_noise_is_of_each_samples_own_strength_up_to_the_largest_in_each_channel() -> None:
    batch = torch.zeros(400, 2, 20, 20)
    found = noisy(batch, Noise((0.5, 2.0)), torch.Generator().manual_seed(3))
    strengths = found.std(dim=(2, 3))
    assert torch.allclose(strengths[:, 0] * 4, strengths[:, 1], atol=0.25), "one strength a sample"
    assert 0.45 < float(strengths[:, 0].max()) < 0.58
    assert float(strengths[:, 0].min()) < 0.02
    assert abs(float(found.mean())) < 0.01


def test_noisy_images_keep_their_scale() -> None:
    batch = torch.full((50, 1, 10, 10), -0.4)
    found = noisy(batch, Noise((3.0,), (-0.5,), (2.5,)), torch.Generator().manual_seed(3))
    assert float(found.min()) == -0.5
    assert float(found.max()) == 2.5
