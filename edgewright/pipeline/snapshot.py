"""Freeze a data set into four disjoint splits under one digest.

A sample's split follows from its own content, or from its group's name, and from nothing else: not from order, seed or
neighbours. New data therefore never moves an old sample, and last month's test samples are still unseen next year.
The same content in a different order is the same snapshot, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset, read_only, sample_digests
from edgewright.pipeline.split_checks import (
    check_classes,
    check_normal_and_anomalous,
    check_one_each,
    check_rule_fits,
    check_sizes,
    check_spread,
)
from edgewright.pipeline.split_rule import SPLIT_NAMES, Minimums, SplitName, SplitRule, group_sha256
from edgewright.preprocessing import SampleKind

_ARRAYS_FILE = "snapshot.npz"
_CARD_FILE = "snapshot.json"


# What to do about a split that is too small, where shares were asked for.
_SHARE_REMEDIES: Mapping[str, str] = {
    "train": "Lower another split's share",
    "calibration": "Raise calibration_share or lower calibration_samples",
    "validation": "Raise validation_share",
    "test": "Raise test_share where the data set does not fix its test split",
}


@dataclass(frozen=True, eq=False)
class Split:
    """One split, ordered by digest; arrays are read-only.

    Attributes:
        images: As in the data set, ``[n, H, W]`` or ``[n, H, W, C]``.
        labels: int64 ``[n]`` positions of classes, or float64 ``[n]`` values to be answered.
        sample_sha256: One content digest (64 hex digits) per sample.
        groups: One group name per sample; None where samples stand alone.
        columns: What else the data set knows of each sample, by column name.
    """

    images: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    sample_sha256: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A data set as one build sees it.

    Attributes:
        name: The data set's name.
        source: Where it was loaded from; not part of the digest.
        labels_names: One name per class; none where the labels are values.
        train, calibration, validation, test: The disjoint splits.
        sha256: Over every sample's digest, label and split and the classes' names, and over groups, columns, kind and
            channels where there are any; the same for any order of samples.
        kind: What a sample is, as in the data set.
        channel_names: One name per channel; None where they have none.
    """

    name: str
    source: str
    labels_names: tuple[str, ...]
    train: Split
    calibration: Split
    validation: Split
    test: Split
    sha256: str
    kind: SampleKind = "image"
    channel_names: tuple[str, ...] | None = None

    @property
    def splits(self) -> Mapping[SplitName, Split]:
        """The four splits by name, in the order of ``SPLIT_NAMES``."""
        return MappingProxyType({name: getattr(self, name) for name in SPLIT_NAMES})

    def card(self) -> dict[str, Any]:
        """Summarise the snapshot for people and for tracking: plain JSON values.

        Returns:
            name, source, sha256, labels_names, samples, and under ``splits`` for each split: samples, per_class (by class
            name; or values: least, mean and largest), duplicates (samples whose exact content came earlier in the same
            split) and, where samples have groups, per_group. Kind and channel_names are there where samples are not
            plain images.
        """
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "labels_names": list(self.labels_names),
            "samples": sum(len(split.labels) for split in self.splits.values()),
            "splits": {name: _split_card(split, self.labels_names) for name, split in self.splits.items()},
            **({} if self.kind == "image" else {"kind": self.kind}),
            **({} if self.channel_names is None else {"channel_names": list(self.channel_names)}),
        }

    def save(self, folder: Path) -> None:
        """Write ``snapshot.npz`` and, last, ``snapshot.json`` into a folder, each at once or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {}
        for name, split in self.splits.items():
            arrays[f"{name}_images"], arrays[f"{name}_labels"] = split.images, split.labels
            if split.groups is not None:
                arrays[f"{name}_groups"] = np.array(split.groups, dtype=np.str_)
            for column, texts in split.columns.items():
                arrays[f"{name}_column_{column}"] = np.array(texts, dtype=np.str_)
        unfinished = folder / f".{_ARRAYS_FILE}.{os.getpid()}.npz"
        np.savez(unfinished, allow_pickle=False, **arrays)
        unfinished.replace(folder / _ARRAYS_FILE)
        unfinished = folder / f".{_CARD_FILE}.{os.getpid()}"
        unfinished.write_text(json.dumps(self.card(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        unfinished.replace(folder / _CARD_FILE)

    @classmethod
    def load(cls, folder: Path) -> Snapshot:
        """Read what ``save`` wrote and verify it against its digest.

        Raises:
            DataError: A file is missing or unreadable, or the content is not what the digest promises.
        """
        remedy = "Delete the folder and take the snapshot again."
        try:
            card = json.loads((folder / _CARD_FILE).read_text(encoding="utf-8"))
            with (folder / _ARRAYS_FILE).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                splits = {name: _read_split(arrays, name) for name in SPLIT_NAMES}
            labels_names, promised = tuple(card["labels_names"]), card["sha256"]
            name, source, kind = card["name"], card["source"], card.get("kind", "image")
            channel_names = tuple(card["channel_names"]) if "channel_names" in card else None
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(f"{folder}: not a readable snapshot ({type(error).__name__}: {error}). {remedy}") from error
        found = _snapshot_sha256(splits, labels_names, kind, channel_names)
        if found != promised:
            raise DataError(
                f"{folder}: the snapshot's sha256 is {found}, its card promises {promised}. It was changed. {remedy}"
            )
        return cls(
            name=name,
            source=source,
            labels_names=labels_names,
            sha256=found,
            kind=kind,
            channel_names=channel_names,
            **splits,
        )


def take_snapshot(dataset: Dataset, split_rule: SplitRule, minimums: Minimums | None = None) -> Snapshot:
    """Split a data set and check everything about the splits that can be known before training.

    Args:
        dataset: What to split; its own fixed test split is kept.
        split_rule: The shares. ``test_share`` must be 0 exactly where the data set fixes its test split.
        minimums: The fewest samples per split; None means :class:`Minimums`' defaults.

    Returns:
        The snapshot. Exact duplicates inside one split stay, and are counted in its card.

    Raises:
        DataError: One content has two labels, two groups or two splits; a group is in two splits; a split lacks a class
            or has too few samples; or the rule does not fit the data set.
    """
    check_rule_fits(dataset, split_rule.test_share)
    digests = sample_digests(dataset.images)
    where = f"{dataset.name} ({dataset.source})"
    assigned = assign(dataset, digests, split_rule)
    return freeze(where, dataset, digests, assigned, minimums or Minimums(), _SHARE_REMEDIES)


def freeze(
    where: str,
    dataset: Dataset,
    sample_sha256: Sequence[str],
    assigned: Sequence[SplitName],
    minimums: Minimums,
    remedies: Mapping[str, str],
) -> Snapshot:
    """Make a snapshot of splits that a rule has settled, after every check that holds for any rule.

    Args:
        where: What is split, for errors.
        dataset: What is split.
        sample_sha256: Its samples' digests.
        assigned: Its samples' splits.
        minimums: The least that each split needs.
        remedies: What to do about a split that is too small, by split.

    Raises:
        DataError: One content has two labels, two groups or two splits; a group is in two splits; a split lacks a class,
            has values without spread, or has too few samples.
    """
    digests, splits_of = np.array(sample_sha256), np.array(assigned)
    labels = dataset.labels if dataset.has_values else np.array(dataset.labels_names)[dataset.labels]
    word = "value" if dataset.has_values else "label"
    check_one_each(where, digests, labels, "content", word, f"Correct the wrong {word} or drop both samples.")
    if dataset.groups is not None:
        groups = np.array(dataset.groups)
        check_one_each(where, digests, groups, "content", "group", "Drop all but one of them.")
        check_one_each(where, groups, splits_of, "group", "split", "Drop the group's samples from one of them.")
    check_one_each(where, digests, splits_of, "content", "split", "Drop the one that is not in the test split.")
    order = np.argsort(digests, kind="stable")
    splits = {name: _members(dataset, order[splits_of[order] == name], digests) for name in SPLIT_NAMES}
    of_split: dict[str, npt.NDArray[Any]] = {name: split.labels for name, split in splits.items()}
    check_sizes(where, of_split, {"calibration": minimums.calibration_samples, "test": minimums.test_samples}, remedies)
    if dataset.has_values:
        check_spread(where, of_split, remedies)
    elif minimums.normal is None:
        check_classes(where, of_split, dataset.labels_names, remedies)
    else:
        normal = dataset.labels_names.index(minimums.normal)
        check_normal_and_anomalous(where, of_split, normal, minimums.normal, minimums.calibration_samples, remedies)
    return Snapshot(
        name=dataset.name,
        source=dataset.source,
        labels_names=dataset.labels_names,
        sha256=_snapshot_sha256(splits, dataset.labels_names, dataset.kind, dataset.channel_names),
        kind=dataset.kind,
        channel_names=dataset.channel_names,
        **splits,
    )


def assign(dataset: Dataset, digests: Sequence[str], rule: SplitRule) -> list[SplitName]:
    """Name every sample's split: by its group's name, or its own digest; a fixed test split stays as it is."""
    if dataset.groups is None:
        assigned = [rule.split_of(digest) for digest in digests]
    else:
        of_group = {group: rule.split_of(group_sha256(group)) for group in set(dataset.groups)}
        assigned = [of_group[group] for group in dataset.groups]
    if dataset.fixed_split is None:
        return assigned
    return ["test" if fixed else split for fixed, split in zip(dataset.fixed_split, assigned, strict=True)]


def _members(dataset: Dataset, members: npt.NDArray[np.int64], digests: npt.NDArray[np.str_]) -> Split:
    """Take some of the data set's samples, in the order given."""
    return Split(
        images=read_only(dataset.images[members]),
        labels=read_only(dataset.labels[members]),
        sample_sha256=tuple(digests[members].tolist()),
        groups=None if dataset.groups is None else tuple(dataset.groups[index] for index in members),
        columns={name: tuple(texts[index] for index in members) for name, texts in dataset.columns.items()},
    )


def _read_split(arrays: Mapping[str, npt.NDArray[Any]], name: SplitName) -> Split:
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
    prefix = f"{name}_column_"
    columns = {key.removeprefix(prefix): tuple(arrays[key].tolist()) for key in arrays if key.startswith(prefix)}
    groups = tuple(arrays[f"{name}_groups"].tolist()) if f"{name}_groups" in arrays else None
    return Split(read_only(images), read_only(labels), sample_digests(images), groups, columns)


def _snapshot_sha256(
    splits: Mapping[SplitName, Split],
    labels_names: tuple[str, ...],
    kind: SampleKind,
    channel_names: tuple[str, ...] | None,
) -> str:
    # What an image without groups and columns has is digested as it always was: its snapshots keep their names.
    head = json.dumps(list(labels_names)) + "\n"
    if kind != "image" or channel_names is not None:
        head += json.dumps([kind, channel_names]) + "\n"
    rows = sorted(row for name, split in splits.items() for row in _digest_rows(name, split))
    return hashlib.sha256((head + "".join(rows)).encode("utf-8")).hexdigest()


def _digest_rows(name: SplitName, split: Split) -> list[str]:
    rows = [
        f"{digest} {label} {name}" for digest, label in zip(split.sample_sha256, split.labels.tolist(), strict=True)
    ]
    if split.groups is not None:
        rows = [f"{row} {json.dumps(group)}" for row, group in zip(rows, split.groups, strict=True)]
    for column in sorted(split.columns):
        texts = split.columns[column]
        rows = [f"{row} {json.dumps([column, text])}" for row, text in zip(rows, texts, strict=True)]
    return [row + "\n" for row in rows]


def _split_card(split: Split, labels_names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "samples": len(split.labels),
        **_labels_card(split.labels, labels_names),
        "duplicates": len(split.labels) - len(set(split.sample_sha256)),
        **({} if split.groups is None else {"per_group": dict(sorted(Counter(split.groups).items()))}),
    }


def _labels_card(labels: npt.NDArray[Any], labels_names: tuple[str, ...]) -> dict[str, Any]:
    if not labels_names:
        return {"values": {"least": float(labels.min()), "mean": float(labels.mean()), "largest": float(labels.max())}}
    counts = np.bincount(labels, minlength=len(labels_names)).tolist()
    return {"per_class": dict(zip(labels_names, counts, strict=True))}
