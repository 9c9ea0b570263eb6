"""What must hold for the splits of a data set, whichever rule made them: checked before anything trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset

_SHOWN_PAIRS = 3


def check_rule_fits(dataset: Dataset, test_share: float) -> None:
    """Refuse a share for the test split exactly where the data set fixes that split itself.

    Raises:
        DataError: ``test_share`` is above 0 with a fixed test split, or 0 without one.
    """
    where = f"{dataset.name} ({dataset.source})"
    if dataset.fixed_split is not None and test_share > 0:
        raise DataError(
            f"{where}: test_share is {test_share}, but the data set fixes its own test split. Set test_share to 0."
        )
    if dataset.fixed_split is None and test_share == 0:
        raise DataError(
            f"{where}: test_share is 0, but the data set does not fix a test split. Set test_share above 0, e.g. 0.2."
        )


def check_one_each(
    where: str, keys: npt.NDArray[Any], values: npt.NDArray[Any], key_word: str, value_word: str, remedy: str
) -> None:
    """Refuse data in which samples with the same key have different values.

    Args:
        where: What the samples belong to; the error starts with it.
        keys: ``[N]``: digests or groups.
        values: ``[N]``: what all samples with one key must agree in.
        key_word: What a key is, e.g. ``content``.
        value_word: What a value is, e.g. ``label``.
        remedy: What a person can do about it.

    Raises:
        DataError: A key has two values; the message names the samples.
    """
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


def check_sizes(
    where: str, labels: Mapping[str, npt.NDArray[Any]], least: Mapping[str, int], remedies: Mapping[str, str]
) -> None:
    """Refuse splits that have too few samples.

    Args:
        where: What the samples belong to; the error starts with it.
        labels: Each split's labels.
        least: The fewest samples, by split.
        remedies: What to do about a split that is too small, by split.

    Raises:
        DataError: The message names the split, what it has and what it needs.
    """
    for name, needed in least.items():
        count = len(labels[name])
        if count < needed:
            raise DataError(
                f"{where}: the {name} split has {count} samples, needs at least {needed}. {remedies[name]}, or add data."
            )


def check_classes(
    where: str, labels: Mapping[str, npt.NDArray[Any]], labels_names: tuple[str, ...], remedies: Mapping[str, str]
) -> None:
    """Refuse splits that lack a class.

    Args:
        where: What the samples belong to; the error starts with it.
        labels: Each split's labels.
        labels_names: One name per class.
        remedies: What to do about a split that is too small, by split.

    Raises:
        DataError: The message names the split and what it lacks.
    """
    for name, of_split in labels.items():
        present = set(of_split.tolist())
        missing = [f'"{label}"' for index, label in enumerate(labels_names) if index not in present]
        if missing:
            raise DataError(
                f"{where}: the {name} split has no sample of class {', '.join(missing)} ({len(of_split)} samples "
                f"in all), needs at least one of every class. {remedies[name]}, add data, or remove the class."
            )


def check_normal_and_anomalous(
    where: str,
    labels: Mapping[str, npt.NDArray[Any]],
    normal: int,
    normal_name: str,
    least_calibration: int,
    remedies: Mapping[str, str],
) -> None:
    """Refuse splits in which nothing is normal, and splits that judge without an anomaly.

    Args:
        where: What the samples belong to; the error starts with it.
        labels: Each split's labels.
        normal: The normal class.
        normal_name: Its name.
        least_calibration: The fewest normal samples of the calibration split.
        remedies: What to do about a split that is too small, by split.

    Raises:
        DataError: The message names the split and what it lacks.
    """
    for name, of_split in labels.items():
        normal_samples = int(np.count_nonzero(of_split == normal))
        needed = least_calibration if name == "calibration" else 1
        if normal_samples < needed:
            raise DataError(
                f'{where}: the {name} split has {normal_samples} samples of the normal class "{normal_name}" '
                f"({len(of_split)} in all), needs at least {needed}. {remedies[name]}, or add data."
            )
        if name in ("validation", "test") and normal_samples == len(of_split):
            raise DataError(
                f'{where}: all {len(of_split)} samples of the {name} split are "{normal_name}", needs anomalies too: without '
                f"them nothing shows what is found. {remedies[name]}, or add anomalies."
            )


def check_spread(where: str, values: Mapping[str, npt.NDArray[Any]], remedies: Mapping[str, str]) -> None:
    """Refuse splits whose samples all have one value: there a constant answer is perfect.

    Args:
        where: What the samples belong to; the error starts with it.
        values: Each split's values.
        remedies: What to do about a split that is too small, by split.

    Raises:
        DataError: The message names the split and the value.
    """
    for name, of_split in values.items():
        if len(of_split) == 0:
            raise DataError(f"{where}: the {name} split has no sample. {remedies[name]}, or add data.")
        if of_split.min() == of_split.max() or of_split.std() == 0:
            raise DataError(
                f"{where}: all {len(of_split)} samples of the {name} split have the value {of_split[0]:.6g}, needs values "
                f"that differ: here a constant answer is perfect. {remedies[name]}, or add data."
            )
