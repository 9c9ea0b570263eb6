"""Named corruptions of raw samples: what a sensor or a camera does to a model in the field, in a form that can be repeated.

What chance decides follows from a sample's own digest and the corruption's name, and from nothing else: two models see the
same corrupted samples on any machine, in any order and in any batch, so that their answers can be paired. One strength for
each: the gate compares a variant with its reference under the same corruption and draws no curve.
``docs/decisions/0016-corruptions.md`` says where the strengths come from and what they cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import DataError
from edgewright.pipeline.broken_rule import did_you_mean
from edgewright.preprocessing import SampleKind

_FULL_SCALE_8_BIT = 255.0
# A float image has no full scale of its own. Photographs spread by about a quarter of theirs.
_FULL_SCALE_IN_STD = 4.0
# A drift is older than the window that it is seen in: it stands at this share of its strength when the window begins.
_DRIFT_AT_START = 0.5
# Bounds the memory of the work, whatever the number and size of samples: 32 MiB per array of float64.
_VALUES_AT_ONCE = 4 * 1024**2
_BYTES_PER_WORD = 8
_Of = TypeVar("_Of", bound=np.generic)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some samples while they are corrupted.

    Attributes:
        values: float64 ``[n, ..., C]``: images ``[n, H, W, C]``, windows ``[n, T, C]``, rows ``[n, F]``.
        mean: float64 ``[C]``, the training split's, in raw units.
        unit: float64 ``[C]``, what a strength of 1 is, in raw units.
        keys: One 128-bit key per sample: where its chance comes from.
    """

    values: NDArray[np.float64]
    mean: NDArray[np.float64]
    unit: NDArray[np.float64]
    keys: tuple[int, ...]

    def words(self, count: int) -> NDArray[np.uint64]:
        """Draw uint64 ``[n, count]``: raw words of a counter-based generator, which no version of numpy may change."""
        drawn = np.empty((len(self.keys), count), np.uint64)
        for row, key in zip(drawn, self.keys, strict=True):
            row[:] = np.random.Philox(key=key).random_raw(count)
        return drawn

    def below(self, bound: int) -> NDArray[np.int64]:
        """Draw one whole number of 0 to bound - 1 per sample: int64 ``[n]``."""
        return (self.words(1)[:, 0] % np.uint64(bound)).astype(np.int64)

    def signs(self) -> NDArray[np.float64]:
        """Draw -1 or 1 per sample and channel: float64 ``[n, C]``."""
        return np.where(self.words(self.values.shape[-1]) >> np.uint64(63), 1.0, -1.0)

    def per_channel(self, of_channel: NDArray[_Of]) -> NDArray[_Of]:
        """Shape ``[n, C]`` so that it meets ``[n, ..., C]``."""
        return of_channel.reshape(len(of_channel), *[1] * (self.values.ndim - 2), of_channel.shape[-1])


Effect = Callable[[_Batch, float], NDArray[np.float64]]


@dataclass(frozen=True)
class Corruption:
    """One way in which samples go wrong.

    Attributes:
        name: What recipes and reports call it.
        meaning: What it stands for in the field, for people.
        strengths: How strong it is, by each kind of sample that it applies to; ``effect`` says in which unit.
        effect: Batch and strength to float64 values of the batch's shape.
        least_channels: With fewer channels it would leave nothing of a sample.
    """

    name: str
    meaning: str
    strengths: Mapping[SampleKind, float]
    effect: Effect
    least_channels: int = 1

    @property
    def kinds(self) -> tuple[SampleKind, ...]:
        """The kinds of sample that it applies to."""
        return tuple(self.strengths)

    def apply(
        self,
        raw: NDArray[Any],
        sample_sha256: Sequence[str],
        kind: SampleKind,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> NDArray[Any]:
        """Corrupt samples; arguments, result and errors as of ``corrupt``."""
        self._check(raw, sample_sha256, kind, mean, std)
        values = raw[..., np.newaxis] if kind == "image" and raw.ndim == 3 else raw
        means, units = np.asarray(mean, np.float64), _units(raw.dtype, kind, std)
        corrupted = np.empty_like(values, order="C", subok=False)
        step = max(1, _VALUES_AT_ONCE // max(1, int(np.prod(values.shape[1:]))))
        for start in range(0, len(values), step):
            part = slice(start, start + step)
            keys = tuple(self._key(digest) for digest in sample_sha256[part])
            batch = _Batch(values[part].astype(np.float64), means, units, keys)
            corrupted[part] = _as_raw(self.effect(batch, self.strengths[kind]), raw.dtype)
        return corrupted.reshape(raw.shape)

    def _key(self, sample_sha256: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.name} {sample_sha256}".encode()).digest()[:16], "big")

    def _check(
        self,
        raw: NDArray[Any],
        sample_sha256: Sequence[str],
        kind: SampleKind,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        where = f"corruption {self.name}"
        if kind not in self.strengths:
            known = ", ".join(corruptions_for(kind))
            raise DataError(f"{where} does not apply to samples of the kind {kind}. Use one of: {known}.")
        dimensions = {"image": (3, 4), "window": (3,), "row": (2,)}[kind]
        dtypes = (np.uint8, np.float32) if kind == "image" else (np.float32,)
        if raw.ndim not in dimensions or raw.dtype not in dtypes:
            raise DataError(f"{where}: samples of the kind {kind} are {raw.dtype} {raw.shape}, which is no raw {kind}.")
        if len(sample_sha256) != len(raw):
            raise DataError(f"{where}: {len(raw)} samples have {len(sample_sha256)} digests. Give one for each.")
        channels = 1 if kind == "image" and raw.ndim == 3 else raw.shape[-1]
        if len(mean) != channels or len(std) != channels:
            raise DataError(f"{where}: {channels} channels have {len(mean)} means and {len(std)} deviations.")
        if channels < self.least_channels:
            raise DataError(f"{where} leaves nothing of samples with {channels} channel. Take it out of the recipe.")


def _units(dtype: np.dtype[Any], kind: SampleKind, std: Sequence[float]) -> NDArray[np.float64]:
    """What a strength of 1 is per channel: an image's full scale, otherwise the standard deviation. float64 ``[C]``."""
    deviations = np.asarray(std, np.float64)
    if kind != "image":
        return deviations
    return np.full_like(deviations, _FULL_SCALE_8_BIT) if dtype == np.uint8 else _FULL_SCALE_IN_STD * deviations


def _as_raw(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype == np.uint8:
        return np.clip(np.rint(values), 0, _FULL_SCALE_8_BIT).astype(np.uint8)
    return values.astype(dtype)


def _noise(batch: _Batch, strength: float) -> NDArray[np.float64]:
    """Add white noise of this standard deviation to every value, in units.

    The sum of a word's eight bytes stands for a normal deviate: near enough (kurtosis 2.85 for 3), never beyond 4.9 standard
    deviations, and the same bits on every machine, which logarithms are not.
    """
    words = batch.words(int(np.prod(batch.values.shape[1:])))
    pairs = (words & np.uint64(0x00FF00FF00FF00FF)) + ((words >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF))
    pairs = (pairs & np.uint64(0x0000FFFF0000FFFF)) + ((pairs >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF))
    sums = (pairs & np.uint64(0xFFFFFFFF)) + (pairs >> np.uint64(32))
    centred = sums.astype(np.float64) - _BYTES_PER_WORD * 255 / 2
    deviates = centred / np.sqrt(_BYTES_PER_WORD * (256**2 - 1) / 12)
    noise: NDArray[np.float64] = strength * batch.unit * deviates.reshape(batch.values.shape)
    return batch.values + noise


def _blur(batch: _Batch, strength: float) -> NDArray[np.float64]:
    """Blur by a Gaussian whose standard deviation is this share of the shorter side."""
    from scipy.ndimage import gaussian_filter

    sigma_px = strength * min(batch.values.shape[1:3])
    blurred: NDArray[np.float64] = gaussian_filter(
        batch.values, (0, sigma_px, sigma_px, 0), mode="nearest", truncate=3.0
    )
    return blurred


def _brightness(batch: _Batch, strength: float) -> NDArray[np.float64]:
    """Add this share of the full scale to every pixel."""
    return batch.values + strength * batch.unit


def _contrast(batch: _Batch, strength: float) -> NDArray[np.float64]:
    """Leave this share of every pixel's difference to its own image's mean, channel by channel."""
    mean = batch.values.mean(axis=(1, 2), keepdims=True)
    shrunk: NDArray[np.float64] = mean + strength * (batch.values - mean)
    return shrunk


def _occlusion(batch: _Batch, strength: float) -> NDArray[np.float64]:
    """Cover a square whose side is this share of the shorter side with the training split's mean."""
    height, width = batch.values.shape[1:3]
    side = max(1, round(strength * min(height, width)))
    corners = batch.below((height - side + 1) * (width - side + 1))
    top, left = np.divmod(corners, width - side + 1)
    rows, columns = np.arange(height) - top[:, None], np.arange(width) - left[:, None]
    covered = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    return np.where(covered[..., None], batch.mean, batch.values)


def _drift(batch: _Batch, strength: float) -> NDArray[np.float64]:
    """Move every channel up or down: by this many units, to which a window comes steadily by its end."""
    offset = batch.per_channel(strength * batch.unit * batch.signs())
    if batch.values.ndim == 2:
        return batch.values + offset
    course = np.linspace(_DRIFT_AT_START, 1.0, batch.values.shape[1])
    return batch.values + offset * course[:, None]


def _missing_channel(batch: _Batch, strength: float) -> NDArray[np.float64]:
    """Hold this many channels at the training split's mean: it says nothing, and is no value that was never seen."""
    channels = batch.values.shape[-1]
    ranked = np.argsort(np.argsort(batch.words(channels), axis=1), axis=1)
    missing = ranked < strength
    return np.where(batch.per_channel(missing), batch.mean, batch.values)


def _gain(batch: _Batch, strength: float) -> NDArray[np.float64]:
    """Stretch or shrink every channel about the training split's mean by this share.

    About the mean and not about 0, because nothing is known of the zero of a channel's unit.
    """
    return batch.mean + (batch.values - batch.mean) * (1 + batch.per_channel(strength * batch.signs()))


def _dropout(batch: _Batch, strength: float) -> NDArray[np.float64]:
    """Repeat the last value, in all channels, through a stretch of this share of the window."""
    steps = batch.values.shape[1]
    length = min(max(1, round(strength * steps)), steps - 1)
    first = 1 + batch.below(steps - length)
    moments = np.arange(steps)[None, :]
    lost = (moments >= first[:, None]) & (moments < first[:, None] + length)
    held = np.where(lost, first[:, None] - 1, moments)
    return np.take_along_axis(batch.values, held[:, :, None], axis=1)


_ALL: tuple[Corruption, ...] = (
    Corruption(
        "noise",
        "little light, a long gain, electrical interference",
        {"image": 0.08, "window": 0.5, "row": 0.5},
        _noise,
    ),
    Corruption("blur", "out of focus, a dirty or wet lens", {"image": 0.035}, _blur),
    Corruption("brightness", "overexposed, the sun in the picture", {"image": 0.05}, _brightness),
    Corruption("contrast", "fog, dusk, a dirty lens", {"image": 0.7}, _contrast),
    Corruption("occlusion", "something in front of the lens", {"image": 0.25}, _occlusion),
    Corruption("drift", "a sensor's zero that wandered with temperature or age", {"window": 0.4, "row": 0.5}, _drift),
    Corruption("missing_channel", "a dead sensor or a broken wire", {"window": 1, "row": 1}, _missing_channel, 2),
    Corruption("gain", "a sensor that reads too much or too little", {"window": 0.3}, _gain),
    Corruption("dropout", "lost packets: the last value is repeated", {"window": 0.25}, _dropout),
)

CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType({corruption.name: corruption for corruption in _ALL})


def corruptions_for(kind: SampleKind) -> tuple[str, ...]:
    """Names of the corruptions that apply to a kind of sample."""
    return tuple(name for name, corruption in CORRUPTIONS.items() if kind in corruption.kinds)


def corrupt(
    name: str,
    raw: NDArray[Any],
    sample_sha256: Sequence[str],
    kind: SampleKind,
    mean: Sequence[float],
    std: Sequence[float],
) -> NDArray[Any]:
    """Corrupt raw samples, before any preprocessing.

    Args:
        name: One of ``corruptions_for(kind)``.
        raw: Images uint8 or float32 ``[N, H, W]`` or ``[N, H, W, C]``, windows float32 ``[N, T, C]`` with T at least 2,
            rows float32 ``[N, F]``.
        sample_sha256: The samples' digests before corruption.
        kind: What a sample is.
        mean: The training split's mean per channel, in raw units.
        std: Its standard deviation per channel, in raw units.

    Returns:
        As ``raw``, of the same dtype and shape; uint8 saturates at 0 and 255.

    Raises:
        DataError: No such corruption, it does not apply to the samples, or the arguments do not fit together.
    """
    if name not in CORRUPTIONS:
        raise DataError(f"{name!r} is not a corruption. {did_you_mean(name, tuple(CORRUPTIONS))}")
    return CORRUPTIONS[name].apply(raw, sample_sha256, kind, mean, std)
