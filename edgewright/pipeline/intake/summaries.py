"""A few numbers that say what a sample is like: by their distributions two sets of samples are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.datasets.dataset import Dataset

_SAMPLES_PER_CHUNK = 1000
_OUTLINE_PARTS = 8
_MOST_OUTLINE = 256

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Summaries:
    """Numbers per sample.

    Attributes:
        names: What each column is.
        values: ``[N, F]``.
    """

    names: tuple[str, ...]
    values: Floats


def summarize(dataset: Dataset) -> Summaries:
    """What samples are like.

    Returns:
        Of rows every attribute. Of windows each channel's mean and spread (standard deviation) over time. Of images each
        channel's brightness (mean), contrast (standard deviation) and edges (mean difference of neighbouring pixels).
    """
    channels = _channels(dataset)
    if dataset.kind == "row":
        return Summaries(channels, dataset.images.astype(np.float64))
    if dataset.kind == "window":
        names = tuple(f"{channel}, {what}" for what in ("mean", "spread") for channel in channels)
        return Summaries(
            names, _in_chunks(dataset.images, lambda part: np.hstack([part.mean(axis=1), part.std(axis=1)]))
        )
    words = ("brightness", "contrast", "edges")
    names = words if len(channels) == 1 else tuple(f"{channel}, {what}" for what in words for channel in channels)
    return Summaries(names, _in_chunks(dataset.images, _look_of_images))


def outline(dataset: Dataset) -> Floats:
    """A coarse picture of every sample, for a linear model: ``[N, D]``, D at most 256.

    Returns:
        Of rows every attribute; of windows each channel's mean in 8 parts of the window, and its spread; of images the means
        of 8 x 8 fields of each channel. What has more numbers is projected onto 256 random directions, always the same ones.
    """
    if dataset.kind == "row":
        found = dataset.images.astype(np.float64)
    elif dataset.kind == "window":
        found = _in_chunks(dataset.images, lambda part: np.hstack([_flat(_averaged(part, 1)), part.std(axis=1)]))
    else:
        found = _in_chunks(dataset.images, lambda part: _flat(_averaged(_averaged(part, 1), 2)))
    if found.shape[1] > _MOST_OUTLINE:
        directions = np.random.default_rng(0).normal(size=(found.shape[1], _MOST_OUTLINE))
        found = found @ (directions / np.sqrt(found.shape[1]))
    return found


def _channels(dataset: Dataset) -> tuple[str, ...]:
    if dataset.channel_names is not None:
        return dataset.channel_names
    if dataset.kind == "image":
        count = dataset.images.shape[3] if dataset.images.ndim == 4 else 1
    else:
        count = dataset.images.shape[-1]
    word = "attribute" if dataset.kind == "row" else "channel"
    return tuple(f"{word} {index}" for index in range(count))


def _look_of_images(part: Floats) -> Floats:
    images = part if part.ndim == 4 else part[..., np.newaxis]
    down = np.abs(np.diff(images, axis=1)).mean(axis=(1, 2)) if images.shape[1] > 1 else 0.0
    across = np.abs(np.diff(images, axis=2)).mean(axis=(1, 2)) if images.shape[2] > 1 else 0.0
    looks = [images.mean(axis=(1, 2)), images.std(axis=(1, 2)), down + across]
    return np.hstack([np.broadcast_to(look, looks[0].shape) for look in looks])


def _averaged(part: Floats, axis: int) -> Floats:
    """Means of at most 8 stretches along an axis."""
    length = part.shape[axis]
    starts = np.unique(np.linspace(0, length, min(_OUTLINE_PARTS, length), endpoint=False).astype(np.int64))
    sums = np.add.reduceat(part, starts, axis=axis)
    lengths = np.diff([*starts.tolist(), length]).astype(np.float64)
    return np.asarray(sums / lengths.reshape([-1 if each == axis else 1 for each in range(part.ndim)]))


def _flat(part: Floats) -> Floats:
    return part.reshape(len(part), -1)


def _in_chunks(samples: npt.NDArray[Any], look: Callable[[Floats], Floats]) -> Floats:
    """In memory for one chunk only."""
    return np.concatenate(
        [
            look(samples[start : start + _SAMPLES_PER_CHUNK].astype(np.float64))
            for start in range(0, len(samples), _SAMPLES_PER_CHUNK)
        ]
    )
