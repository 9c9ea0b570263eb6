"""What a float model costs, whatever framework holds it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelCost:
    """What a float model costs.

    Attributes:
        parameters: Number of weights.
        nonzero_parameters: Those of them that are not zero.
        macs: Multiply-accumulate operations for one sample.
        size_bytes: Bytes of its float32 weights.
        compressed_size_bytes: The same, gzip-compressed.
    """

    parameters: int
    nonzero_parameters: int
    macs: int
    size_bytes: int
    compressed_size_bytes: int
