"""A data set in memory, checked once at the door, and the digest by which each of its samples is known.

Everything after this file trusts a :class:`Dataset`: its arrays fit together, hold only finite numbers and known
classes, and cannot be written to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError

Kind = Literal["image", "window", "row"]

# Beyond 2**24 a float32 no longer holds every whole number: what is larger is a clock, a counter, a fill value or a wrong
# unit, and one such sample would stretch an INT8 range until nothing else is left in it.
LARGEST_VALUE = float(2**24)

_SHOWN_INDICES = 5
_DTYPES: Mapping[Kind, tuple[np.dtype[Any], ...]] = {
    "image": (np.dtype(np.uint8), np.dtype(np.float32)),
    "window": (np.dtype(np.float32),),
    "row": (np.dtype(np.float32),),
}
_DIMENSIONS: Mapping[Kind, tuple[tuple[int, ...], str]] = {
    "image": ((3, 4), "[N, H, W] or [N, H, W, C]"),
    "window": ((3,), "[N, T, C]"),
    "row": ((2,), "[N, F]"),
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with labels, and what the publisher said about how they may be split.

    The arrays are copied and set read-only, so that a digest taken once stays true. A uint8 sample is raw: what a
    sensor gives and what the device's preprocessing accepts. float32 is for data that was never 8 bits wide.

    Attributes:
        name: What the data set is called, e.g. ``digits``.
        images: The samples. Images: uint8 or float32 ``[N, H, W]`` or ``[N, H, W, C]``. Windows of sensor channels:
            float32 ``[N, T, C]``, oldest first. Rows of attributes: float32 ``[N, F]``. Float values lie within
            ``LARGEST_VALUE``.
        labels: int64 ``[N]``, positions in ``labels_names``.
        labels_names: One distinct name per class.
        fixed_split: bool ``[N]``, True where the publisher put a sample into the test split; None where nobody did.
        groups: One name per sample (a person, a device, a day) whose samples must stay together; None where samples
            stand alone.
        source: Where the data came from, e.g. a file; errors name it.
        kind: What a sample is; says how to read the axes of ``images``.
        channel_names: One distinct name per channel of a window or attribute of a row; None where they have none.
        columns: What else is known of each sample (recording, side, shift …), by column name, one text per sample:
            what an evaluation can be sliced by. Never seen by a model.

    Raises:
        DataError: A wrong shape, dtype, count, label or a NaN; the message names the samples.
    """

    name: str
    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    labels_names: tuple[str, ...]
    fixed_split: npt.NDArray[np.bool_] | None
    groups: tuple[str, ...] | None
    source: str
    kind: Kind = "image"
    channel_names: tuple[str, ...] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Copy the arrays, check them, and set them read-only."""
        where = f"{self.name} ({self.source})"
        _check_images(where, self.images, self.kind)
        _check_channel_names(where, self.images, self.channel_names)
        _check_labels(where, self.labels, len(self.images), self.labels_names, self.kind)
        _check_fixed_split(where, self.fixed_split, len(self.images))
        for word, texts in (("groups", self.groups), *self.columns.items()):
            _check_texts(where, word, texts, len(self.images), self.kind)
        object.__setattr__(self, "images", read_only(self.images))
        object.__setattr__(self, "labels", read_only(np.asarray(self.labels, dtype=np.int64)))
        object.__setattr__(self, "labels_names", tuple(self.labels_names))
        if self.fixed_split is not None:
            object.__setattr__(self, "fixed_split", read_only(self.fixed_split))
        if self.groups is not None:
            object.__setattr__(self, "groups", tuple(self.groups))
        if self.channel_names is not None:
            object.__setattr__(self, "channel_names", tuple(self.channel_names))
        object.__setattr__(self, "columns", {name: tuple(texts) for name, texts in self.columns.items()})


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Copy an array into one block of memory that refuses to be written to."""
    copy = np.array(array, order="C", copy=True)
    copy.setflags(write=False)
    return copy


def sample_digests(images: npt.NDArray[Any]) -> tuple[str, ...]:
    """Name every sample by its content.

    Args:
        images: ``[N, ...]`` of any dtype.

    Returns:
        N sha256 digests (64 hex digits), each over one sample's dtype, shape and pixels, the same on every platform.
    """
    little_endian = np.ascontiguousarray(images, dtype=images.dtype.newbyteorder("<"))
    shape = "x".join(str(side) for side in images.shape[1:])
    # The header keeps 28x28 bytes apart from 14x56 bytes, and 784 bytes apart from 196 floats, that happen to be equal.
    start = hashlib.sha256(f"{little_endian.dtype.str}|{shape}|".encode())
    sample_bytes = little_endian.itemsize * int(np.prod(images.shape[1:]))
    content = memoryview(little_endian.tobytes())
    digests = []
    for offset in range(0, len(content), sample_bytes):
        digest = start.copy()
        digest.update(content[offset : offset + sample_bytes])
        digests.append(digest.hexdigest())
    return tuple(digests)


def content_sha256(dataset: Dataset) -> str:
    """Digest everything in a data set but its source: what a stage's cache may go by where there is no file to digest.

    Returns:
        sha256 (64 hex digits); another order of the samples is another digest.
    """
    head = [dataset.name, dataset.kind, dataset.labels_names, dataset.channel_names, sorted(dataset.columns)]
    digest = hashlib.sha256(json.dumps(head).encode("utf-8"))
    nothing = (None,) * len(dataset.labels)
    fixed = nothing if dataset.fixed_split is None else dataset.fixed_split.tolist()
    columns = [dataset.columns[name] for name in sorted(dataset.columns)]
    for row in zip(
        sample_digests(dataset.images), dataset.labels.tolist(), fixed, dataset.groups or nothing, *columns, strict=True
    ):
        digest.update(json.dumps(row).encode("utf-8"))
    return digest.hexdigest()


def check_every_class_present(dataset: Dataset) -> None:
    """Refuse a data set that names a class of which it has no sample: a gap in the labels is a mistake in the making.

    Raises:
        DataError: A class has no sample; the message names it.
    """
    present = set(dataset.labels.tolist())
    missing = [f'"{name}"' for index, name in enumerate(dataset.labels_names) if index not in present]
    if missing:
        raise DataError(
            f"{dataset.name} ({dataset.source}): no sample of class {', '.join(missing[:_SHOWN_INDICES])}"
            f"{', …' if len(missing) > _SHOWN_INDICES else ''}, needs at least one of every class. "
            "Number the labels without gaps, or add samples."
        )


def take_subset(dataset: Dataset, per_class_train: int | None, per_class_test: int | None = None) -> Dataset:
    """Keep at most so many samples of each class: the ones with the smallest digests.

    A choice by digest depends on nothing but content: no seed, no order, and a larger subset contains a smaller one. It
    says nothing about splits either, because those follow from a second, salted digest.

    Args:
        dataset: What to choose from.
        per_class_train: Most samples of a class outside a fixed test split; None keeps all.
        per_class_test: Most samples of a class inside the fixed test split; None keeps all.

    Returns:
        The chosen samples in the data set's order.

    Raises:
        DataError: A limit is below 1, or limits a test split that the data set does not fix.
    """
    for key, limit in (("per_class_train", per_class_train), ("per_class_test", per_class_test)):
        if limit is not None and limit < 1:
            raise DataError(f"{dataset.name}: {key} is {limit}, needs at least 1. Leave it out to keep all samples.")
    if per_class_test is not None and dataset.fixed_split is None:
        raise DataError(
            f"{dataset.name} ({dataset.source}): per_class_test is {per_class_test}, but the data set does not fix its "
            "test split. Limit per_class_train alone."
        )
    in_test = np.zeros(len(dataset.labels), dtype=np.bool_) if dataset.fixed_split is None else dataset.fixed_split
    by_digest = np.argsort(np.array(sample_digests(dataset.images)), kind="stable")
    kept = np.zeros(len(dataset.labels), dtype=np.bool_)
    for part, limit in ((~in_test, per_class_train), (in_test, per_class_test)):
        for label in range(len(dataset.labels_names)):
            members = by_digest[(part & (dataset.labels == label))[by_digest]]
            kept[members[:limit]] = True
    return _at(dataset, np.flatnonzero(kept))


def _at(dataset: Dataset, indices: npt.NDArray[np.int64]) -> Dataset:
    return replace(
        dataset,
        images=dataset.images[indices],
        labels=dataset.labels[indices],
        fixed_split=None if dataset.fixed_split is None else dataset.fixed_split[indices],
        groups=None if dataset.groups is None else tuple(dataset.groups[index] for index in indices),
        columns={name: tuple(texts[index] for index in indices) for name, texts in dataset.columns.items()},
    )


def _check_images(where: str, images: npt.NDArray[Any], kind: Kind) -> None:
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


def _check_values(where: str, images: npt.NDArray[Any]) -> None:
    axes = tuple(range(1, images.ndim))
    bad = np.flatnonzero(~np.isfinite(images).all(axis=axes))
    if len(bad):
        raise DataError(f"{where}: {_samples(bad)} NaN or infinite values. Repair or drop them.")
    largest = np.abs(images).max(axis=axes)
    huge = np.flatnonzero(largest > LARGEST_VALUE)
    if len(huge):
        raise DataError(
            f"{where}: {_samples(huge)} values beyond ±{LARGEST_VALUE:.0f} (the largest is {largest.max():.6g}): a fill "
            "value, a clock or a wrong unit. Correct the unit, or drop the samples or the channel."
        )


def _check_channel_names(where: str, images: npt.NDArray[Any], names: tuple[str, ...] | None) -> None:
    if names is None:
        return
    channels = images.shape[-1]
    if len(names) != channels or len(set(names)) != len(names):
        raise DataError(
            f"{where}: channel_names are {list(names)}, need {channels} distinct names, one per channel. "
            "Name each channel once, in the order of the last axis."
        )


def _check_labels(where: str, labels: npt.NDArray[Any], count: int, names: tuple[str, ...], kind: Kind) -> None:
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


def _check_fixed_split(where: str, fixed_split: Any, count: int) -> None:
    if fixed_split is not None and (
        not isinstance(fixed_split, np.ndarray) or fixed_split.dtype != np.bool_ or fixed_split.shape != (count,)
    ):
        given = f"{getattr(fixed_split, 'dtype', type(fixed_split).__name__)} {list(np.shape(fixed_split))}"
        raise DataError(f"{where}: fixed_split is {given}, needs bool [{count}]: True for each test sample.")


def _check_texts(where: str, word: str, texts: Any, count: int, kind: Kind) -> None:
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
