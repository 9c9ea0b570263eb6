"""What must hold for a data set's arrays, whoever made them: a broken rule names the samples, the rule and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.preprocessing import SampleKind

# Beyond 2**24 a float32 no longer holds every whole number: what is larger is a clock, a counter, a fill value or a wrong
# unit, and one such sample would stretch an INT8 range until nothing else is left in it.
LARGEST_VALUE = float(2**24)

_SHOWN_INDICES = 5
_DTYPES: Mapping[SampleKind, tuple[np.dtype[Any], ...]] = {
    "image": (np.dtype(np.uint8), np.dtype(np.float32)),
    "window": (np.dtype(np.float32),),
    "row": (np.dtype(np.float32),),
}
_DIMENSIONS: Mapping[SampleKind, tuple[tuple[int, ...], str]] = {
    "image": ((3, 4), "[N, H, W] or [N, H, W, C]"),
    "window": ((3,), "[N, T, C]"),
    "row": ((2,), "[N, F]"),
}


def check_samples(where: str, images: npt.NDArray[Any], kind: SampleKind) -> None:
    """Whether dtype, shape and values of the samples fit their kind.

    Raises:
        DataError: It does not.
    """
    if kind not in _DTYPES:
        raise DataError(f'{where}: kind is "{kind}", needs to be "image", "window" or "row".')
    if not isinstance(images, np.ndarray) or images.dtype not in _DTYPES[kind]:
        given = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        needed = "uint8 (raw) or float32" if kind == "image" else "float32"
        raise DataError(f"{where}: {kind}s are {given}, need {needed}. Convert them where they are loaded.")
    dimensions, wanted = _DIMENSIONS[kind]
    if images.ndim not in dimensions or 0 in images.shape[1:]:
        raise DataError(
            f"{where}: {kind}s have shape {list(images.shape)}, need {wanted} with no empty side. "
            "Reshape them where they are loaded."
        )
    if len(images) == 0:
        raise DataError(f"{where}: the data set is empty, needs at least one sample. Check what it was loaded from.")
    if images.dtype.kind == "f":
        _check_values(where, images)


def check_values_to_answer(where: str, values: npt.NDArray[Any], count: int, kind: SampleKind) -> None:
    """Whether every sample has one finite value of a sane size.

    Raises:
        DataError: It does not.
    """
    if values.shape != (count,):
        raise DataError(
            f"{where}: {count} {kind}s but values of shape {list(values.shape)}, need one value per {kind}. "
            "Check that both were loaded from the same release of the data."
        )
    _check_values(where, values.reshape(-1, 1), " to answer")


def _check_values(where: str, values: npt.NDArray[Any], purpose: str = "") -> None:
    axes = tuple(range(1, values.ndim))
    bad = np.flatnonzero(~np.isfinite(values).all(axis=axes))
    if len(bad):
        raise DataError(f"{where}: {_samples(bad)} NaN or infinite values{purpose}. Repair or drop them.")
    largest = np.abs(values).max(axis=axes)
    huge = np.flatnonzero(largest > LARGEST_VALUE)
    if len(huge):
        raise DataError(
            f"{where}: {_samples(huge)} values{purpose} beyond ±{LARGEST_VALUE:.0f} (the largest is {largest.max():.6g}): a "
            "fill value, a clock or a wrong unit. Correct the unit, or drop the samples or the channel."
        )


def check_channel_names(where: str, images: npt.NDArray[Any], names: tuple[str, ...] | None) -> None:
    """Whether there is one distinct name per channel, or none at all.

    Raises:
        DataError: It does not.
    """
    if names is None:
        return
    channels = images.shape[-1]
    if len(names) != channels or len(set(names)) != len(names):
        raise DataError(
            f"{where}: channel_names are {list(names)}, need {channels} distinct names, one per channel. "
            "Name each channel once, in the order of the last axis."
        )


def check_labels(where: str, labels: npt.NDArray[Any], count: int, names: tuple[str, ...], kind: SampleKind) -> None:
    """Whether every label is the position of a class.

    Raises:
        DataError: It does not.
    """
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        given = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise DataError(f"{where}: labels are {given}, need integers. Store each class's position in labels_names.")
    if labels.shape != (count,):
        raise DataError(
            f"{where}: {count} {kind}s but labels of shape {list(labels.shape)}, need one label per {kind}. "
            "Check that both were loaded from the same release of the data."
        )
    if len(set(names)) != len(names) or len(names) < 2:
        raise DataError(f"{where}: labels_names are {list(names)}, need at least two distinct names.")
    bad = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(bad):
        raise DataError(
            f"{where}: {_samples(bad)} a label out of range (the first is {labels[bad[0]]}), labels go from 0 to "
            f"{len(names) - 1}. Correct the labels or add the class to labels_names."
        )


def check_fixed_split(where: str, fixed_split: Any, count: int) -> None:
    """Whether the publisher's test split says yes or no of every sample.

    Raises:
        DataError: It does not.
    """
    if fixed_split is not None and (
        not isinstance(fixed_split, np.ndarray) or fixed_split.dtype != np.bool_ or fixed_split.shape != (count,)
    ):
        given = f"{getattr(fixed_split, 'dtype', type(fixed_split).__name__)} {list(np.shape(fixed_split))}"
        raise DataError(f"{where}: fixed_split is {given}, needs bool [{count}]: True for each test sample.")


def check_texts(where: str, word: str, texts: Any, count: int, kind: SampleKind) -> None:
    """Whether groups or a column have one text per sample.

    Raises:
        DataError: It does not.
    """
    if texts is None:
        return
    name = "group name" if word == "groups" else "text"
    if len(texts) != count:
        raise DataError(f"{where}: {len(texts)} {word} for {count} {kind}s, need one {name} per {kind}.")
    bad = np.flatnonzero([not isinstance(text, str) or not text for text in texts])
    if len(bad):
        raise DataError(
            f"{where}: {_samples(bad)} no {name} in {word} (the first is {texts[bad[0]]!r}), every {kind} needs one. "
            "Fill it in or drop the samples."
        )


def _samples(indices: npt.NDArray[np.int64]) -> str:
    """Name the first few samples by index, e.g. ``2 samples (3, 17) have``."""
    shown = ", ".join(str(index) for index in indices[:_SHOWN_INDICES])
    more = ", …" if len(indices) > _SHOWN_INDICES else ""
    return f"1 sample ({shown}) has" if len(indices) == 1 else f"{len(indices)} samples ({shown}{more}) have"
