"""Samples that a model's collection holds beyond the recipe's own data: how a batch is kept, and how it joins a data set.

A sample's split is settled when it is taken in, and for life (``docs/decisions/0002``): by the data's own shares or folds;
where the publisher fixed the test split, by its own digest (or its group's name) and the share that was in force that day.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError, IntegrityError
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore
from edgewright.pipeline.datasets.dataset import Dataset, sample_digests
from edgewright.pipeline.split_rule import group_sha256, joins_test

_COLUMN = "column_"


@dataclass(frozen=True)
class CollectedBatch:
    """Samples that came together.

    Attributes:
        content: Where they are kept (npz).
        test_share: Which share of them tests, where the data's own test split is fixed.
    """

    content: Artifact
    test_share: float


@dataclass(frozen=True)
class CollectedSamples:
    """Batches that join the recipe's own data in a build, in the order in which they came.

    Attributes:
        batches: At least one.
    """

    batches: tuple[CollectedBatch, ...]

    def __post_init__(self) -> None:
        """Nothing collected is no collection: a build without one is remembered under another key."""
        if not self.batches:
            raise DataError("a collection without a batch: leave it out instead.")

    @classmethod
    def of(cls, batches: Iterable[CollectedBatch | None]) -> CollectedSamples | None:
        """The batches that hold something; None where none does."""
        kept = tuple(batch for batch in batches if batch is not None)
        return cls(kept) if kept else None

    @property
    def sha256(self) -> str:
        """Digest of what joins, and how."""
        return hashlib.sha256(json.dumps(self.inputs(test_is_fixed=True)).encode()).hexdigest()

    def inputs(self, test_is_fixed: bool) -> list[list[str | float]]:
        """What a stage's result depends on: each batch, and its share of test samples where that is asked for."""
        return [[each.content.sha256, *([each.test_share] if test_is_fixed else [])] for each in self.batches]


@dataclass(frozen=True, eq=False)
class BatchContent:
    """The samples of one batch.

    Attributes:
        images: As in a data set, ``[n, ...]``.
        labels: ``[n]``: class names (texts), or float64 values to be answered.
        sample_sha256: One content digest per sample.
        groups: One group per sample; None where samples stand alone.
        columns: What else is known of each sample.
    """

    images: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    sample_sha256: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)


def batch_content(dataset: Dataset, rows: npt.NDArray[np.int64]) -> BatchContent:
    """Some samples of a data set as a batch: classes by name, so that a class added later renumbers nobody."""
    images = dataset.images[rows]
    labels = dataset.labels[rows] if dataset.has_values else np.array(dataset.labels_names)[dataset.labels[rows]]
    return BatchContent(
        images=images,
        labels=labels,
        sample_sha256=sample_digests(images),
        groups=None if dataset.groups is None else tuple(dataset.groups[row] for row in rows),
        columns={name: tuple(texts[row] for row in rows) for name, texts in dataset.columns.items()},
    )


def concatenate(parts: Sequence[BatchContent]) -> BatchContent:
    """Batches of one form as one."""
    first = parts[0]
    return BatchContent(
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        sample_sha256=tuple(digest for part in parts for digest in part.sample_sha256),
        groups=None if first.groups is None else tuple(group for part in parts for group in part.groups or ()),
        columns={name: tuple(text for part in parts for text in part.columns[name]) for name in first.columns},
    )


def pack_batch(content: BatchContent) -> bytes:
    """An npz without pickle; equal content gives equal bytes."""
    digests = np.frombuffer(bytes.fromhex("".join(content.sample_sha256)), dtype=np.uint8).reshape(-1, 32)
    arrays: dict[str, npt.NDArray[Any]] = {"x": content.images, "y": content.labels, "sample_sha256": digests}
    if content.groups is not None:
        arrays["group"] = np.array(content.groups, dtype=np.str_)
    for name in sorted(content.columns):
        arrays[_COLUMN + name] = np.array(content.columns[name], dtype=np.str_)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_batch(store: ArtifactStore, content: Artifact) -> BatchContent:
    """Reads a batch back, checked by its digest.

    Raises:
        DataError: It is missing or damaged.
    """
    with _arrays(store, content) as arrays:
        groups = tuple(arrays["group"].tolist()) if "group" in arrays else None
        columns = {
            name.removeprefix(_COLUMN): tuple(arrays[name].tolist()) for name in arrays if name.startswith(_COLUMN)
        }
        return BatchContent(arrays["x"], arrays["y"], _digests(arrays["sample_sha256"]), groups, columns)


def read_labels(store: ArtifactStore, content: Artifact) -> Iterator[tuple[str, str | float]]:
    """Digest and label of every sample of a batch, without its samples.

    Raises:
        DataError: It is missing or damaged.
    """
    with _arrays(store, content) as arrays:
        yield from zip(_digests(arrays["sample_sha256"]), arrays["y"].tolist(), strict=True)


def join(store: ArtifactStore, base: Dataset, collected: CollectedSamples) -> Dataset:
    """The recipe's own data and the batches as one data set.

    A sample that is there already under the same label is left out. Where the base fixes its test split, the result fixes
    it too: for the base as before, for each new sample by the share of its batch; a group stays where it is.

    Raises:
        DataError: A batch is missing or damaged, or does not fit the base (shape, classes, groups, columns, or another
            label for the same content).
    """
    parts = [(batch, read_batch(store, batch.content)) for batch in collected.batches]
    label_of = dict(zip(sample_digests(base.images), label_texts(base), strict=True))
    images, labels = [base.images], [base.labels]
    groups = None if base.groups is None else list(base.groups)
    columns = {name: list(texts) for name, texts in base.columns.items()}
    fixed = None if base.fixed_split is None else base.fixed_split.tolist()
    fate = {} if fixed is None or base.groups is None else dict(zip(base.groups, fixed, strict=True))
    for batch, part in parts:
        where = _where(base, batch)
        _check_fits(where, base, part)
        fresh = _fresh(where, part, label_of)
        images.append(part.images[fresh])
        labels.append(_as_labels(where, part.labels[fresh], base))
        for name, texts in columns.items():
            texts += [part.columns[name][row] for row in fresh]
        if groups is not None and part.groups is not None:
            groups += [part.groups[row] for row in fresh]
        if fixed is not None:
            fixed += [_tests(part, row, batch.test_share, fate) for row in fresh]
    return replace(
        base,
        images=np.concatenate(images),
        labels=np.concatenate(labels),
        fixed_split=None if fixed is None else np.array(fixed, dtype=np.bool_),
        groups=None if groups is None else tuple(groups),
        source=f"{base.source} and {len(parts)} batch{'' if len(parts) == 1 else 'es'} taken in since",
        columns={name: tuple(texts) for name, texts in columns.items()},
    )


def dataset_of(store: ArtifactStore, base: Dataset, collected: CollectedSamples) -> Dataset:
    """The batches alone, in the terms of the recipe's own data; nothing is split.

    Raises:
        DataError: A batch is missing or damaged, or does not fit the base.
    """
    parts = []
    for batch in collected.batches:
        parts.append(read_batch(store, batch.content))
        _check_fits(_where(base, batch), base, parts[-1])
    content = concatenate(parts)
    return replace(
        base,
        images=content.images,
        labels=_as_labels(f"the collection of {base.name}", content.labels, base),
        fixed_split=None,
        groups=content.groups,
        source="the collection",
        columns={name: content.columns[name] for name in base.columns},
    )


def _where(base: Dataset, batch: CollectedBatch) -> str:
    return f"batch {batch.content.sha256[:12]} of the collection of {base.name}"


def _tests(part: BatchContent, row: int, share: float, fate: dict[str, bool]) -> bool:
    """Whether a new sample tests, where the test split is fixed: its group decides, once."""
    if part.groups is None:
        return joins_test(part.sample_sha256[row], share)
    group = part.groups[row]
    return fate.setdefault(group, joins_test(group_sha256(group), share))


def _fresh(where: str, part: BatchContent, label_of: dict[str, str | float]) -> list[int]:
    """The rows that are not there yet; remembers them."""
    rows = []
    for row, (digest, label) in enumerate(zip(part.sample_sha256, part.labels.tolist(), strict=True)):
        if digest not in label_of:
            label_of[digest] = label
            rows.append(row)
        elif label_of[digest] != label:
            raise DataError(
                f'{where}: sample {row} (sha256 {digest[:12]}…) is "{label}" there and "{label_of[digest]}" before it. '
                "Correct the wrong label, or refuse the batch."
            )
    return rows


def _check_fits(where: str, base: Dataset, part: BatchContent) -> None:
    problem = None
    if part.images.shape[1:] != base.images.shape[1:] or part.images.dtype != base.images.dtype:
        problem = (
            f"holds {part.images.dtype} samples of shape {list(part.images.shape[1:])}, the data has {base.images.dtype} "
            f"{list(base.images.shape[1:])}"
        )
    elif (part.groups is None) != (base.groups is None):
        problem = f"has {'no ' if part.groups is None else ''}groups, the data {'none' if part.groups else 'has some'}"
    elif missing := sorted(set(base.columns) - set(part.columns)):
        problem = f"lacks the column {missing[0]}, which the data has"
    elif (part.labels.dtype.kind == "f") != base.has_values:
        problem = f"holds {'classes, the data values' if base.has_values else 'values, the data classes'}"
    if problem:
        raise DataError(
            f"{where}: {problem}. The recipe's data was changed since: change it back, or refuse the batch."
        )


def _as_labels(where: str, labels: npt.NDArray[Any], base: Dataset) -> npt.NDArray[Any]:
    if base.has_values:
        return labels.astype(np.float64)
    position = {name: index for index, name in enumerate(base.labels_names)}
    unknown = sorted(set(labels.tolist()) - set(position))
    if unknown:
        raise DataError(
            f'{where}: holds the class "{unknown[0]}", which the data has no more. Add it there again, or refuse the batch.'
        )
    return np.array([position[label] for label in labels.tolist()], dtype=np.int64)


def label_texts(dataset: Dataset) -> list[str | float]:
    """Every sample's class by name, or its value."""
    texts: list[str | float] = (
        dataset.labels.tolist()
        if dataset.has_values
        else [dataset.labels_names[label] for label in dataset.labels.tolist()]
    )
    return texts


def _digests(rows: npt.NDArray[np.uint8]) -> tuple[str, ...]:
    return tuple(row.tobytes().hex() for row in rows)


def _arrays(store: ArtifactStore, content: Artifact) -> Any:
    try:
        return np.load(store.path(content), allow_pickle=False)
    except (IntegrityError, OSError, ValueError) as error:
        raise DataError(
            f"batch {content.sha256[:12]} of the collection: {error} It holds delivered samples: restore it from a backup."
        ) from error
