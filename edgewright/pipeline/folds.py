"""Held-out groups in folds: every person's samples are test samples exactly once, of a model that never met that person.

Where there are ten people, one fixed test split holds two of them, and what two people show says next to nothing about
the eleventh. Folds ask all ten, at the price of one training per fold. ``docs/decisions/0010-ten-people.md`` says what
can be decided that way and what cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset, sample_digests
from edgewright.pipeline.snapshot import Snapshot, freeze
from edgewright.pipeline.split_rule import Minimums, SplitName, group_sha256

# Below five groups not even a difference that all of them show is beyond chance: each may have fallen either way, and
# 0.5 ** 4 is more than 5 %. What is judged over fewer is not measurable, whatever its figures.
LEAST_GROUPS = 5

# Part of every group's fate: another salt would deal the groups anew.
_SALT = b"edgewright folds 1\0"
# What to do about a split that is too small, where groups are held out.
_REMEDIES: Mapping[str, str] = {
    "train": "Lower validation_groups or calibration_groups",
    "calibration": "Lower calibration_samples or raise calibration_groups",
    "validation": "Raise validation_groups",
    "test": "Lower folds",
}


@dataclass(frozen=True)
class GroupFolds:
    """Deal groups into folds, and each fold's other groups into its splits.

    The groups stand in a ring, in the order of their salted digests. Fold i tests every ``folds``-th one from the i-th
    on; of the others, going on from there, the first validate, the next calibrate and the rest train. So every group is
    test exactly once, and validation and calibration move round as well. It depends on the groups' names alone: more
    samples of the same groups move nobody; another group deals anew (the decision says what follows from that).

    Attributes:
        folds: How many; at least 2, and at most as many as there are groups.
        validation_groups: Groups that choose variants and thresholds, per fold.
        calibration_groups: Groups that give INT8 ranges, per fold.

    Raises:
        DataError: A number is too small.
    """

    folds: int = 5
    validation_groups: int = 1
    calibration_groups: int = 1

    def __post_init__(self) -> None:
        """Check each number."""
        for name in (each.name for each in fields(self)):
            least = 2 if name == "folds" else 1
            if getattr(self, name) < least:
                raise DataError(f"group folds: {name} is {getattr(self, name)}, needs at least {least}. Raise it.")

    def deal(self, groups: Iterable[str]) -> tuple[Mapping[str, SplitName], ...]:
        """Say for each fold which split each group belongs to.

        Args:
            groups: The groups' names; repetitions and order do not matter.

        Returns:
            One mapping per fold, from every group's name to its split.

        Raises:
            DataError: Too few groups to fill every split of every fold.
        """
        ring = sorted(set(groups), key=_position)
        largest_test = -(-len(ring) // self.folds)
        needed = largest_test + self.validation_groups + self.calibration_groups + 1
        if len(ring) < max(self.folds, needed):
            raise DataError(
                f"group folds: {len(ring)} groups, {self.folds} folds with {self.validation_groups} + "
                f"{self.calibration_groups} groups to validate and calibrate need at least {max(self.folds, needed)}. "
                "Use other folds, or add groups."
            )
        return tuple(MappingProxyType(self._fold(ring, fold)) for fold in range(self.folds))

    def _fold(self, ring: list[str], fold: int) -> dict[str, SplitName]:
        test = ring[fold :: self.folds]
        others = [group for group in ring[fold:] + ring[:fold] if group not in test]
        validating = others[: self.validation_groups]
        calibrating = others[self.validation_groups : self.validation_groups + self.calibration_groups]
        split_of: dict[str, SplitName] = dict.fromkeys(ring, "train")
        split_of.update(dict.fromkeys(test, "test"))
        split_of.update(dict.fromkeys(validating, "validation"))
        split_of.update(dict.fromkeys(calibrating, "calibration"))
        return split_of


def take_folds(dataset: Dataset, group_folds: GroupFolds, minimums: Minimums | None = None) -> tuple[Snapshot, ...]:
    """Take one snapshot per fold; their test splits together are the data set.

    Args:
        dataset: What to split; it has groups and does not fix a test split.
        group_folds: How the groups are dealt.
        minimums: The least that each split of every fold needs, and the test splits together; None means
            :class:`Minimums`' defaults.

    Returns:
        One snapshot per fold, each with a digest of its own.

    Raises:
        DataError: No groups, a fixed test split, too few groups, or in a fold whatever
            :func:`~edgewright.pipeline.snapshot.take_snapshot` refuses.
    """
    where = f"{dataset.name} ({dataset.source})"
    if dataset.groups is None:
        raise DataError(f"{where}: has no groups, folds hold out groups. Name them, or take one snapshot instead.")
    if dataset.fixed_split is not None:
        raise DataError(f"{where}: fixes its own test split, folds test everybody once. Take one snapshot instead.")
    needs = minimums or Minimums()
    digests = sample_digests(dataset.images)
    snapshots = tuple(
        freeze(
            f"{where}, fold {number} of {group_folds.folds}",
            dataset,
            digests,
            [split_of[group] for group in dataset.groups],
            replace(needs, test_samples=1),  # the folds are judged together
            _REMEDIES,
        )
        for number, split_of in enumerate(group_folds.deal(dataset.groups), start=1)
    )
    if len(dataset.labels) < needs.test_samples:
        raise DataError(
            f"{where}: {len(dataset.labels)} samples, the folds' test splits need {needs.test_samples} together. Add data."
        )
    return snapshots


def _position(group: str) -> bytes:
    return hashlib.sha256(_SALT + bytes.fromhex(group_sha256(group))).digest()
