"""Raw samples become model input: the same code in training, in evaluation and on the device.

A model is only as good as the match between what it was trained on and what it is fed; a second implementation of this
on the device would be a second truth. What is done is data (it travels in the bundle's manifest), not code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BundleError, DataError
from edgewright.strict_json import Fields

SampleKind = Literal["image", "window", "row"]
SampleDtype = Literal["uint8", "float32"]


@dataclass(frozen=True)
class Preprocessing:
    """How raw samples become model input: ``(raw * scale - mean) / std``, channels first.

    Every kind of sample becomes float32 ``[N, C, H, W]``, so that one network, one engine and one benchmark serve all:
    a window's sensor channels are channels and its time is the width; each attribute of a row is a channel of one place
    (``docs/decisions/0011-samples-and-answers.md``).

    Attributes:
        input_shape: Channels, height, width of one sample. A window has the height 1, a row height and width 1.
        scale: Factor that brings raw values to the range in which mean and std were taken, e.g. 1/255 for bytes.
        mean: Per channel, after scaling.
        std: Per channel, after scaling; greater than 0.
        kind: What a sample is: an image, a window of sensor channels, or a row of attributes.
        dtype: Type of the raw values. ``uint8`` for images only.
    """

    input_shape: tuple[int, int, int]
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    kind: SampleKind = "image"
    dtype: SampleDtype = "uint8"

    def __post_init__(self) -> None:
        if len(self.input_shape) != 3 or any(size < 1 for size in self.input_shape):
            raise DataError(f"preprocessing input_shape must be (channels, height, width), found {self.input_shape}.")
        _check_kind(self.kind, self.dtype, self.input_shape)
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

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw sample: ``(H, W)`` or ``(H, W, C)`` of an image, ``(T, C)`` of a window, ``(F,)`` of a row."""
        channels, height, width = self.input_shape
        if self.kind == "row":
            return (channels,)
        if self.kind == "window":
            return width, channels
        return (height, width) if channels == 1 else (height, width, channels)

    def apply(self, raw: NDArray[Any], first_number: int = 0) -> NDArray[np.float32]:
        """Turn raw samples into model input.

        Args:
            raw: ``[N, *raw_shape]`` of the dtype; images of one channel also ``[N, H, W, 1]``.
            first_number: Number of the first sample, for errors, where these are part of more.

        Returns:
            float32 ``[N, C, H, W]``, contiguous and finite.

        Raises:
            DataError: The dtype or the shape is not the model's; or a sample holds NaN, an infinity, or a value that
            float32 cannot hold once it is normalised.
        """
        if raw.dtype != np.dtype(self.dtype):
            remedy = "bytes from 0 to 255" if self.dtype == "uint8" else "float32, in the unit of the training data"
            raise DataError(f"raw samples must be {self.dtype}, found {raw.dtype}: convert them to {remedy}.")
        grey = self.kind == "image" and self.input_shape[0] == 1 and raw.ndim == 4 and raw.shape[3] == 1
        plain = raw[..., 0] if grey else raw
        if plain.ndim != 1 + len(self.raw_shape) or plain.shape[1:] != self.raw_shape:
            wanted = ", ".join(str(size) for size in self.raw_shape)
            raise DataError(f"raw samples must have the shape [N, {wanted}], found {list(raw.shape)}.")
        channels, height, width = self.input_shape
        places = plain.reshape(len(plain), height, width, channels)
        # Every step in float32, in this order: a device and the workshop round alike. What overflows is refused below.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scaled = places.astype(np.float32) * np.float32(self.scale)
            normal = (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        result: NDArray[np.float32] = np.ascontiguousarray(normal.transpose(0, 3, 1, 2))
        refuse_broken_samples(result, first_number)
        return result

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form that `from_json` reads back to an equal value."""
        return {
            "kind": self.kind,
            "dtype": self.dtype,
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
            input_shape=(shape[0], shape[1], shape[2]),
            scale=fields.number("scale"),
            mean=fields.numbers("mean"),
            std=fields.numbers("std"),
            kind=cast(SampleKind, fields.text("kind")),
            dtype=cast(SampleDtype, fields.text("dtype")),
        )
        fields.end()
        return result


def refuse_broken_samples(samples: NDArray[np.float32], first_number: int = 0) -> None:
    """Refuse NaN and infinities: a network answers them too, with nonsense.

    Args:
        samples: float32 ``[N, ...]``.
        first_number: Number of the first sample, for the error.

    Raises:
        DataError: A sample holds one; the message gives the first one's number.
    """
    finite = np.isfinite(samples)
    if not finite.all():
        broken = ~finite.reshape(len(samples), -1).all(axis=1)
        raise DataError(
            f"sample {first_number + int(broken.argmax())} holds NaN, an infinity, or a value too large for float32: "
            f"correct it, or leave the sample out."
        )


def _check_kind(kind: str, dtype: str, input_shape: tuple[int, int, int]) -> None:
    if kind not in get_args(SampleKind):
        raise DataError(f"preprocessing kind must be one of {', '.join(get_args(SampleKind))}, found {kind!r}.")
    if dtype not in (("uint8", "float32") if kind == "image" else ("float32",)):
        raise DataError(f"preprocessing dtype must be float32, or uint8 for images, found {dtype!r} for a {kind}.")
    _, height, width = input_shape
    if (kind == "window" and height != 1) or (kind == "row" and (height, width) != (1, 1)):
        wanted = "(channels, 1, samples)" if kind == "window" else "(attributes, 1, 1)"
        raise DataError(f"preprocessing input_shape of a {kind} must be {wanted}, found {input_shape}.")
