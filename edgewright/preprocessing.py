"""Raw samples become model input: the same code in training, in evaluation and on the device.

A model is only as good as the match between what it was trained on and what it is fed; a second implementation of this
on the device would be a second truth. What is done is data (it travels in the bundle's manifest), not code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BundleError, DataError
from edgewright.strict_json import Fields


@dataclass(frozen=True)
class Preprocessing:
    """How raw samples become model input: ``(raw * scale - mean) / std``, channels first.

    Attributes:
        input_shape: Channels, height, width of one sample.
        scale: Factor that brings raw bytes to the range in which mean and std were taken, e.g. 1/255.
        mean: Per channel, after scaling.
        std: Per channel, after scaling; greater than 0.
    """

    input_shape: tuple[int, int, int]
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.input_shape) != 3 or any(size < 1 for size in self.input_shape):
            raise DataError(f"preprocessing input_shape must be (channels, height, width), found {self.input_shape}.")
        channels = self.input_shape[0]
        if len(self.mean) != channels or len(self.std) != channels:
            raise DataError(
                f"preprocessing needs one mean and one std for each of {channels} channels, "
                f"found {len(self.mean)} and {len(self.std)}."
            )
        if not all(math.isfinite(value) for value in (self.scale, *self.mean, *self.std)):
            raise DataError("preprocessing scale, mean and std must be finite.")
        if self.scale == 0 or any(value <= 0 for value in self.std):
            raise DataError(
                f"preprocessing scale must not be 0 and std must be above 0, found {self.scale}, {self.std}."
            )

    def apply(self, raw: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn raw samples into model input.

        Args:
            raw: uint8, ``[N, H, W]`` for one channel, or ``[N, H, W, C]``.

        Returns:
            float32 ``[N, C, H, W]``, contiguous.

        Raises:
            DataError: The dtype is not uint8, or the shape is not the model's.
        """
        channels, height, width = self.input_shape
        if raw.dtype != np.uint8:
            raise DataError(f"raw samples must be uint8, found {raw.dtype}: convert them to bytes from 0 to 255.")
        plain = raw[..., np.newaxis] if raw.ndim == 3 and channels == 1 else raw
        if plain.ndim != 4 or plain.shape[1:] != (height, width, channels):
            wanted = f"[N, {height}, {width}]" if channels == 1 else f"[N, {height}, {width}, {channels}]"
            raise DataError(f"raw samples must have the shape {wanted}, found {list(raw.shape)}.")
        # Every step in float32, in this order: a device and the workshop round alike.
        scaled = plain.astype(np.float32) * np.float32(self.scale)
        normal = (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form that `from_json` reads back to an equal value."""
        return {
            "input_shape": list(self.input_shape),
            "scale": self.scale,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_json(cls, value: object) -> Preprocessing:
        """Read the JSON form.

        Raises:
            BundleError: A key is missing, unknown, or of the wrong type.
            DataError: The values do not fit together.
        """
        fields = Fields(value, "preprocessing", BundleError)
        shape = fields.integers("input_shape")
        if len(shape) != 3:
            raise fields.fail("input_shape", "three positive integers", list(shape))
        result = cls(
            (shape[0], shape[1], shape[2]), fields.number("scale"), fields.numbers("mean"), fields.numbers("std")
        )
        fields.end()
        return result
