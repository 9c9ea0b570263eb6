"""Freeze a data set into four disjoint splits under one digest.

A sample's split follows from its own content, or from its group's name, and from nothing else: not from order, seed or
neighbours. New data therefore never moves an old sample, and last month's test samples are still unseen next year.
The same content in a different order is the same snapshot, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset, read_only, sample_digests

SplitName = Literal["train", "calibration", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "calibration", "validation", "test")

# Part of every sample's fate: another salt would move nearly every sample to another split.
_SALT = b"edgewright split 1\0"
_UNIT_BITS = 53  # what a float64 holds exactly: the unit interval's points are the same on every machine
_ARRAYS_FILE = "snapshot.npz"
_CARD_FILE = "snapshot.json"
_SHOWN_PAIRS = 3


@dataclass(frozen=True)
class SplitRule:
    """How much of the data goes where.

    The unit interval is laid out as ``test | train | calibration | validation``: test grows from 0, validation from 1
    downwards, and calibration ends where validation starts. So test depends on its own share alone, validation on its
    own share alone, and another calibration share exchanges samples with train only.

    Attributes:
        calibration_share: Of the samples that may train, 0 < share < 1.
        validation_share: Likewise.
        test_share: 0 where the data set fixes its test split; then the other shares are of the rest.

    Raises:
        DataError: A share is out of bounds, or nothing is left to train on.
    """

    calibration_share: float
    validation_share: float
    test_share: float = 0.0

    def __post_init__(self) -> None:
        """Check each share and their sum."""
        for field in fields(self):
            share = getattr(self, field.name)
            lowest_allowed = field.name == "test_share" and share == 0
            if not math.isfinite(share) or not (lowest_allowed or 0 < share < 1):
                raise DataError(f"split rule: {field.name} is {share}, needs to be above 0 and below 1.")
        total = self.calibration_share + self.validation_share + self.test_share
        if total >= 1:
            raise DataError(
                f"split rule: calibration_share {self.calibration_share} + validation_share {self.validation_share} + "
                f"test_share {self.test_share} is {total:g}, needs to be below 1: the rest trains. Lower a share."
            )

    def split_of(self, digest: str) -> SplitName:
        """Say which split a sample or a group with this sha256 (hex) belongs to, for life."""
        salted = hashlib.sha256(_SALT + bytes.fromhex(digest)).digest()
        position = (int.from_bytes(salted[:8], "big") >> (64 - _UNIT_BITS)) / 2**_UNIT_BITS
        if position < self.test_share:
            return "test"
        if position >= 1 - self.validation_share:
            return "validation"
        if position >= 1 - self.validation_share - self.calibration_share:
            return "calibration"
        return "train"


@dataclass(frozen=True)
class Minimums:
    """The fewest samples that a split is worth anything with.

    Attributes:
        calibration_samples: An INT8 range from fewer than 64 samples depends on which ones they are.
        test_samples: Below 299 samples a drop of 1 point cannot be excluded with 95 % confidence even if the variant
            agrees with its reference on every one of them (0.99 ** 299 < 0.05).
    """

    calibration_samples: int = 64
    test_samples: int = 299


@dataclass(frozen=True, eq=False)
class Split:
    """One split, ordered by digest; arrays are read-only.

    Attributes:
        images: As in the data set, ``[n, H, W]`` or ``[n, H, W, C]``.
        labels: int64 ``[n]``.
        sample_sha256: One content digest (64 hex digits) per sample.
    """

    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    sample_sha256: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A data set as one build sees it.

    Attributes:
        name: The data set's name.
        source: Where it was loaded from; not part of the digest.
        labels_names: One name per class.
        train, calibration, validation, test: The disjoint splits.
        sha256: Over every sample's digest, label and split and the classes' names; the same for any order of samples.
    """

    name: str
    source: str
    labels_names: tuple[str, ...]
    train: Split
    calibration: Split
    validation: Split
    test: Split
    sha256: str

    @property
    def splits(self) -> Mapping[SplitName, Split]:
        """The four splits by name, in the order of ``SPLIT_NAMES``."""
        return MappingProxyType({name: getattr(self, name) for name in SPLIT_NAMES})

    def card(self) -> dict[str, Any]:
        """Summarise the snapshot for people and for tracking: plain JSON values.

        Returns:
            name, source, sha256, labels_names, samples, and under ``splits`` for each split: samples, per_class (by
            class name) and duplicates (samples whose exact content came earlier in the same split).
        """
        return {
            "name": self.name,
            "source": self.source,
            "sha256": self.sha256,
            "labels_names": list(self.labels_names),
            "samples": sum(len(split.labels) for split in self.splits.values()),
            "splits": {name: _split_card(split, self.labels_names) for name, split in self.splits.items()},
        }

    def save(self, folder: Path) -> None:
        """Write ``snapshot.npz`` and, last, ``snapshot.json`` into a folder, each at once or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {}
        for name, split in self.splits.items():
            arrays[f"{name}_images"], arrays[f"{name}_labels"] = split.images, split.labels
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
            with np.load(folder / _ARRAYS_FILE, allow_pickle=False) as arrays:
                splits = {name: _split(arrays[f"{name}_images"], arrays[f"{name}_labels"]) for name in SPLIT_NAMES}
            labels_names, promised = tuple(card["labels_names"]), card["sha256"]
            name, source = card["name"], card["source"]
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise DataError(f"{folder}: not a readable snapshot ({type(error).__name__}: {error}). {remedy}") from error
        found = _snapshot_sha256(splits, labels_names)
        if found != promised:
            raise DataError(
                f"{folder}: the snapshot's sha256 is {found}, its card promises {promised}. It was changed. {remedy}"
            )
        return cls(name=name, source=source, labels_names=labels_names, sha256=found, **splits)


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
    where = f"{dataset.name} ({dataset.source})"
    _check_rule_fits(where, dataset, split_rule)
    digests = np.array(sample_digests(dataset.images))
    assigned = np.array(_assign(dataset, digests, split_rule))
    labels = np.array(dataset.labels_names)[dataset.labels]
    _check_one_each(where, digests, labels, "content", "label", "Correct the wrong label or drop both samples.")
    if dataset.groups is not None:
        groups = np.array(dataset.groups)
        _check_one_each(where, digests, groups, "content", "group", "Drop all but one of them.")
        _check_one_each(where, groups, assigned, "group", "split", "Drop the group's samples from one of them.")
    _check_one_each(where, digests, assigned, "content", "split", "Drop the one that is not in the test split.")
    order = np.argsort(digests, kind="stable")
    splits = {}
    for name in SPLIT_NAMES:
        members = order[assigned[order] == name]
        splits[name] = _split(dataset.images[members], dataset.labels[members], tuple(digests[members].tolist()))
    _check_sizes(where, splits, dataset.labels_names, minimums or Minimums())
    return Snapshot(
        name=dataset.name,
        source=dataset.source,
        labels_names=dataset.labels_names,
        sha256=_snapshot_sha256(splits, dataset.labels_names),
        **splits,
    )


def _assign(dataset: Dataset, digests: npt.NDArray[np.str_], rule: SplitRule) -> list[SplitName]:
    """Name every sample's split."""
    if dataset.groups is None:
        assigned = [rule.split_of(digest) for digest in digests.tolist()]
    else:
        of_group = {group: rule.split_of(_group_digest(group)) for group in set(dataset.groups)}
        assigned = [of_group[group] for group in dataset.groups]
    if dataset.fixed_split is None:
        return assigned
    return ["test" if fixed else split for fixed, split in zip(dataset.fixed_split, assigned, strict=True)]


def _group_digest(group: str) -> str:
    return hashlib.sha256(group.encode("utf-8")).hexdigest()


def _split(images: npt.NDArray[Any], labels: npt.NDArray[Any], digests: tuple[str, ...] | None = None) -> Split:
    return Split(read_only(images), read_only(labels), sample_digests(images) if digests is None else digests)


def _snapshot_sha256(splits: Mapping[SplitName, Split], labels_names: tuple[str, ...]) -> str:
    rows = sorted(
        f"{digest} {label} {name}\n"
        for name, split in splits.items()
        for digest, label in zip(split.sample_sha256, split.labels.tolist(), strict=True)
    )
    return hashlib.sha256((json.dumps(list(labels_names)) + "\n" + "".join(rows)).encode("utf-8")).hexdigest()


def _split_card(split: Split, labels_names: tuple[str, ...]) -> dict[str, Any]:
    counts = np.bincount(split.labels, minlength=len(labels_names)).tolist()
    return {
        "samples": len(split.labels),
        "per_class": dict(zip(labels_names, counts, strict=True)),
        "duplicates": len(split.labels) - len(set(split.sample_sha256)),
    }


def _check_rule_fits(where: str, dataset: Dataset, rule: SplitRule) -> None:
    if dataset.fixed_split is not None and rule.test_share > 0:
        raise DataError(
            f"{where}: test_share is {rule.test_share}, but the data set fixes its own test split. Set test_share to 0."
        )
    if dataset.fixed_split is None and rule.test_share == 0:
        raise DataError(
            f"{where}: test_share is 0, but the data set does not fix a test split. Set test_share above 0, e.g. 0.2."
        )


def _check_one_each(
    where: str, keys: npt.NDArray[Any], values: npt.NDArray[Any], key_word: str, value_word: str, remedy: str
) -> None:
    """Refuse data in which samples with the same key have different values."""
    order = np.lexsort((values, keys))
    same_key = keys[order][1:] == keys[order][:-1]
    conflicts = np.flatnonzero(same_key & (values[order][1:] != values[order][:-1]))
    if len(conflicts) == 0:
        return
    pairs = []
    for position in conflicts[:_SHOWN_PAIRS]:
        first, second = order[position], order[position + 1]
        key = f"sha256 {keys[first][:12]}…" if key_word == "content" else f'"{keys[first]}"'
        pairs.append(f'samples {first} ("{values[first]}") and {second} ("{values[second]}"), {key}')
    more = f" and {len(conflicts) - _SHOWN_PAIRS} more" if len(conflicts) > _SHOWN_PAIRS else ""
    raise DataError(
        f"{where}: one {key_word} must have one {value_word}, but these have two: {'; '.join(pairs)}{more}. {remedy}"
    )


def _check_sizes(
    where: str, splits: Mapping[SplitName, Split], labels_names: tuple[str, ...], minimums: Minimums
) -> None:
    needed: dict[SplitName, int] = {"calibration": minimums.calibration_samples, "test": minimums.test_samples}
    for name, least in needed.items():
        count = len(splits[name].labels)
        if count < least:
            remedy = f"Raise {name}_share" + (
                " where the data set does not fix its test split" if name == "test" else ""
            )
            raise DataError(
                f"{where}: the {name} split has {count} samples, needs at least {least}. {remedy}, or add data."
            )
    for name, split in splits.items():
        present = set(split.labels.tolist())
        missing = [f'"{label}"' for index, label in enumerate(labels_names) if index not in present]
        if missing:
            raise DataError(
                f"{where}: the {name} split has no sample of class {', '.join(missing)} ({len(split.labels)} samples "
                "in all), needs at least one of every class. Raise the split's share, add data, or remove the class."
            )
