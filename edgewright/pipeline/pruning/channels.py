"""How many channels or heads a pruned layer keeps: pure arithmetic, so that a recipe can be checked without a framework."""

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


def kept_heads(heads: int, sparsity: float) -> int:
    """Attention heads that a layer keeps: the whole number nearest to what the sparsity asks for, at least one.

    Args:
        heads: Heads before.
        sparsity: Share to remove, 0..1.
    """
    return min(heads, max(1, math.floor(heads * (1 - sparsity) + 0.5)))


def scaled_width(channels: int, width_factor: float) -> int:
    """The multiple of 8 nearest to ``channels * width_factor``, at least 8."""
    return max(1, math.floor(channels * width_factor / CHANNEL_MULTIPLE + 0.5)) * CHANNEL_MULTIPLE
