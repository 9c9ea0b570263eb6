"""Which split a sample belongs to, and the least that a split is worth anything with.

A sample's split follows from its own content, or from its group's name, and from nothing else: not from order, seed or
neighbours.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields
from typing import Literal

from edgewright.errors import DataError

SplitName = Literal["train", "calibration", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "calibration", "validation", "test")

# Part of every sample's fate: another salt would move nearly every sample to another split.
_SALT = b"edgewright split 1\0"
# Likewise, of samples that join data whose test split the publisher fixed. Another salt than the rule's, so that the shares
# of the rest hold for what does not test.
_SALT_OF_NEW = b"edgewright new samples 1\0"
_UNIT_BITS = 53  # what a float64 holds exactly: the unit interval's points are the same on every machine


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
        for name in (each.name for each in fields(self)):
            share = getattr(self, name)
            lowest_allowed = name == "test_share" and share == 0
            if not math.isfinite(share) or not (lowest_allowed or 0 < share < 1):
                raise DataError(f"split rule: {name} is {share}, needs to be above 0 and below 1.")
        total = self.calibration_share + self.validation_share + self.test_share
        if total >= 1:
            raise DataError(
                f"split rule: calibration_share {self.calibration_share} + validation_share {self.validation_share} + "
                f"test_share {self.test_share} is {total:g}, needs to be below 1: the rest trains. Lower a share."
            )

    def split_of(self, digest: str) -> SplitName:
        """Say which split a sample or a group with this sha256 (hex) belongs to, for life."""
        position = _position(_SALT, digest)
        if position < self.test_share:
            return "test"
        if position >= 1 - self.validation_share:
            return "validation"
        if position >= 1 - self.validation_share - self.calibration_share:
            return "calibration"
        return "train"


@dataclass(frozen=True)
class Minimums:
    """The least that a split is worth anything with.

    Attributes:
        calibration_samples: An INT8 range from fewer than 64 samples depends on which ones they are. Only normal samples
            calibrate where there is a normal class.
        test_samples: Below 299 samples a drop of 1 point cannot be excluded with 95 % confidence even if the variant
            agrees with its reference on every one of them (0.99 ** 299 < 0.05).
        normal: Where anomalies are looked for, the class that is none: only it has to be there to train and to
            calibrate, it and any other to validate and to test. None: every class has to be in every split.
    """

    calibration_samples: int = 64
    test_samples: int = 299
    normal: str | None = None


def group_sha256(group: str) -> str:
    """Digest a group's name: sha256, 64 hex digits."""
    return hashlib.sha256(group.encode("utf-8")).hexdigest()


def joins_test(digest: str, test_share: float) -> bool:
    """Whether a new sample or group with this sha256 (hex) tests, where the publisher fixed the test split.

    The rest of the new samples is split by the data's own rule. A larger share adds test samples and takes none away.
    """
    return _position(_SALT_OF_NEW, digest) < test_share


def _position(salt: bytes, digest: str) -> float:
    """A place in the unit interval that follows from a digest alone."""
    salted = hashlib.sha256(salt + bytes.fromhex(digest)).digest()
    position: float = (int.from_bytes(salted[:8], "big") >> (64 - _UNIT_BITS)) / 2**_UNIT_BITS
    return position
