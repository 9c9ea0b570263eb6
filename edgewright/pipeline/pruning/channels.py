"""How many channels a pruned layer keeps: pure arithmetic, so that a recipe can be checked without a framework."""

from __future__ import annotations

import math

# Kernels work in blocks of 8: odd widths were measured slower than the full model.
CHANNEL_MULTIPLE = 8


def kept_channels(width: int, sparsity: float) -> int:
    """Channels that a layer keeps: the multiple of 8 nearest to what the sparsity asks for, never none.

    Args:
        width: Channels before, a multiple of 8.
        sparsity: Share to remove, 0..1.
    """
    blocks = math.floor(width * (1 - sparsity) / CHANNEL_MULTIPLE + 0.5)
    return min(width, max(1, blocks) * CHANNEL_MULTIPLE)
