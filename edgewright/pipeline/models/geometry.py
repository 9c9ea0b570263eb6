"""How kernels and strides follow the shape of a sample, so that one architecture serves images and windows of any size.

A window of sensor channels is a picture of height 1 (``[C, 1, T]``): a kernel that reaches beyond that height only multiplies
padding, and a stride has nothing to halve.
"""

from __future__ import annotations

from collections.abc import Sequence

InputShape = tuple[int, int, int]
"""Channels, height, width of one sample."""
Pair = tuple[int, int]

# Below this an axis is not halved any further: what is left is averaged, and averages of one value say nothing of place.
_SHORTEST_HALVED = 5


def kernel_for(input_shape: InputShape, size: int = 3) -> Pair:
    """Kernel of (height, width): ``size``, and 1 along an axis that the sample does not have."""
    return (size if input_shape[1] > 1 else 1, size if input_shape[2] > 1 else 1)


def padding_for(kernel: Pair) -> Pair:
    """Padding that keeps the size under an odd kernel."""
    return kernel[0] // 2, kernel[1] // 2


def strides_for(input_shape: InputShape, wanted: Sequence[int]) -> list[Pair]:
    """Strides of (height, width) per layer: what the architecture wants, until an axis is down to about four.

    Args:
        input_shape: Of one sample.
        wanted: The architecture's own strides (1 or 2) for a large image.
    """
    sizes = [input_shape[1], input_shape[2]]
    strides = []
    for stride in wanted:
        pair = [stride if size >= _SHORTEST_HALVED else 1 for size in sizes]
        sizes = [-(-size // step) for size, step in zip(sizes, pair, strict=True)]
        strides.append((pair[0], pair[1]))
    return strides


def patch_geometry(input_shape: InputShape, patch: int) -> tuple[Pair, Pair, int]:
    """Patch size and padding of (height, width), and the number of tokens, of a sample of any size.

    A patch is never longer than its axis. A rest at the border is filled by padding on both sides.
    """
    size = min(patch, input_shape[1]), min(patch, input_shape[2])
    rests = [-length % step for length, step in zip(input_shape[1:], size, strict=True)]
    counts = [-(-length // step) for length, step in zip(input_shape[1:], size, strict=True)]
    return size, (-(-rests[0] // 2), -(-rests[1] // 2)), counts[0] * counts[1]
