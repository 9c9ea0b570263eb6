"""Random shifts and noise of training samples.

What a sample shows does not depend on where exactly it was cut out, nor on a sensor's noise.
"""

from __future__ import annotations

import torch

from edgewright.pipeline.training.plan import Noise


def shifted(batch: torch.Tensor, shift: int, order: torch.Generator) -> torch.Tensor:
    """Moves each sample by its own random offset of up to ``shift`` in both directions.

    An image moves along both axes and is filled with the batch's lowest value, its background; a window of a sensor moves
    along time and is filled with its own first or last value, as a sensor has no background; a row has no places to move
    between.

    Args:
        batch: float32 ``[N, C, H, W]``.
        shift: Largest offset, in pixels or samples.
        order: Where the random numbers come from, on the CPU; a row draws none.

    Returns:
        The moved samples, of the same shape.
    """
    height, width = batch.shape[2:]
    if shift == 0 or height == width == 1:
        return batch
    if height > 1 and width > 1:
        return _shifted_images(batch, shift, order)
    return _shifted_windows(batch, shift, order, axis=3 if height == 1 else 2)


def noisy(batch: torch.Tensor, noise: Noise | None, order: torch.Generator) -> torch.Tensor:
    """Adds white noise: each sample gets its own strength, anything from none to the largest.

    Args:
        batch: float32 ``[N, C, H, W]``.
        noise: How much; None gives the batch back and draws nothing.
        order: Where the random numbers come from, on the CPU.

    Returns:
        The noisy samples, of the same shape.
    """
    if noise is None:
        return batch
    strength = torch.rand((len(batch), 1, 1, 1), generator=order)
    drawn = (strength * torch.randn(batch.shape, generator=order)).to(batch.device)
    found = batch + drawn * _per_channel(noise.deviation, batch)
    if noise.lowest is not None and noise.highest is not None:
        found = found.clamp(_per_channel(noise.lowest, batch), _per_channel(noise.highest, batch))
    return found


def _per_channel(values: tuple[float, ...], batch: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=batch.dtype, device=batch.device).reshape(1, -1, 1, 1)


def _shifted_images(batch: torch.Tensor, shift: int, order: torch.Generator) -> torch.Tensor:
    count, _, height, width = batch.shape
    padded = torch.nn.functional.pad(batch, (shift,) * 4, value=float(batch.min()))
    offsets = torch.randint(0, 2 * shift + 1, (2, count), generator=order).to(batch.device)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # [N, C, dy, dx, H, W], a view
    moved: torch.Tensor = windows[torch.arange(count, device=batch.device), :, offsets[0], offsets[1]]
    return moved


def _shifted_windows(batch: torch.Tensor, shift: int, order: torch.Generator, axis: int) -> torch.Tensor:
    length = batch.shape[axis]
    offsets = torch.randint(-shift, shift + 1, (len(batch),), generator=order).to(batch.device)
    places = (torch.arange(length, device=batch.device) + offsets[:, None]).clamp(0, length - 1)
    shape = [len(batch), 1, 1, 1]
    shape[axis] = length
    return batch.gather(axis, places.reshape(shape).expand(batch.shape))
