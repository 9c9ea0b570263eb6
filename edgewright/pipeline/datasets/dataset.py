"""A data set in memory, checked once at the door, and the digest by which each of its samples is known.

Everything after this file trusts a :class:`Dataset`: its arrays fit together, hold only finite numbers and known
classes, and cannot be written to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets import dataset_checks as checks
from edgewright.preprocessing import SampleKind

_SHOWN_CLASSES = 5


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with labels, and what the publisher said about how they may be split.

    The arrays are copied and set read-only, so that a digest taken once stays true. A uint8 sample is raw: what a
    sensor gives and what the device's preprocessing accepts. float32 is for data that was never 8 bits wide.

    Attributes:
        name: What the data set is called, e.g. ``digits``.
        images: The samples. Images: uint8 or float32 ``[N, H, W]`` or ``[N, H, W, C]``. Windows of sensor channels:
            float32 ``[N, T, C]``, oldest first. Rows of attributes: float32 ``[N, F]``. Float values lie within
            ``dataset_checks.LARGEST_VALUE``.
        labels: int64 ``[N]``, positions in ``labels_names``; or float64 ``[N]``, values to be answered, finite and within
            the same bound.
        labels_names: One distinct name per class; none where the labels are values.
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
    labels: npt.NDArray[Any]
    labels_names: tuple[str, ...]
    fixed_split: npt.NDArray[np.bool_] | None
    groups: tuple[str, ...] | None
    source: str
    kind: SampleKind = "image"
    channel_names: tuple[str, ...] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Copy the arrays, check them, and set them read-only."""
        where = f"{self.name} ({self.source})"
        checks.check_samples(where, self.images, self.kind)
        checks.check_channel_names(where, self.images, self.channel_names)
        if self.has_values:
            checks.check_values_to_answer(where, self.labels, len(self.images), self.kind)
        else:
            checks.check_labels(where, self.labels, len(self.images), self.labels_names, self.kind)
        checks.check_fixed_split(where, self.fixed_split, len(self.images))
        for word, texts in (("groups", self.groups), *self.columns.items()):
            checks.check_texts(where, word, texts, len(self.images), self.kind)
        object.__setattr__(self, "images", read_only(self.images))
        # Adding 0 makes -0.0 a 0.0: one value, one digest.
        labels = (
            np.asarray(self.labels, dtype=np.float64) + 0.0 if self.has_values else np.asarray(self.labels, np.int64)
        )
        object.__setattr__(self, "labels", read_only(labels))
        object.__setattr__(self, "labels_names", tuple(self.labels_names))
        if self.fixed_split is not None:
            object.__setattr__(self, "fixed_split", read_only(self.fixed_split))
        if self.groups is not None:
            object.__setattr__(self, "groups", tuple(self.groups))
        if self.channel_names is not None:
            object.__setattr__(self, "channel_names", tuple(self.channel_names))
        object.__setattr__(self, "columns", {name: tuple(texts) for name, texts in self.columns.items()})

    @property
    def has_values(self) -> bool:
        """Whether the labels are values to be answered, not classes."""
        return not self.labels_names and isinstance(self.labels, np.ndarray) and self.labels.dtype.kind == "f"


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
            f"{dataset.name} ({dataset.source}): no sample of class {', '.join(missing[:_SHOWN_CLASSES])}"
            f"{', …' if len(missing) > _SHOWN_CLASSES else ''}, needs at least one of every class. "
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
        DataError: A limit is below 1, or limits a test split that the data set does not fix; or there are no classes.
    """
    if dataset.has_values:
        raise DataError(f"{dataset.name} ({dataset.source}): holds values, not classes. Remove limit_per_class.")
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
    return at(dataset, np.flatnonzero(kept))


def at(dataset: Dataset, indices: npt.NDArray[np.int64]) -> Dataset:
    """The samples at these positions, in that order."""
    return replace(
        dataset,
        images=dataset.images[indices],
        labels=dataset.labels[indices],
        fixed_split=None if dataset.fixed_split is None else dataset.fixed_split[indices],
        groups=None if dataset.groups is None else tuple(dataset.groups[index] for index in indices),
        columns={name: tuple(texts[index] for index in indices) for name, texts in dataset.columns.items()},
    )
