"""What holds for the splits of any data: sizes, classes, normal samples, spread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.split_checks import check_classes, check_normal_and_anomalous, check_sizes, check_spread

REMEDIES = {name: f"Raise {name}" for name in ("train", "calibration", "validation", "test")}


def splits(**changes: list[float]) -> dict[str, Any]:
    """Labels of the four splits: both classes everywhere, unless said otherwise."""
    return {name: np.array(changes.get(name, [0, 1, 0])) for name in REMEDIES}


def test_sound_splits_pass_every_check() -> None:
    check_sizes("d", splits(), {"calibration": 3, "test": 3}, REMEDIES)
    check_classes("d", splits(), ("a", "b"), REMEDIES)
    check_normal_and_anomalous("d", splits(train=[0], calibration=[0, 0]), 0, "a", 2, REMEDIES)
    check_spread("d", splits(), REMEDIES)


def test_a_small_split_is_told_with_its_remedy() -> None:
    with pytest.raises(
        DataError, match=r"^d: the test split has 1 samples, needs at least 2\. Raise test, or add data"
    ):
        check_sizes("d", splits(test=[0]), {"test": 2}, REMEDIES)


def test_a_missing_class_is_named() -> None:
    with pytest.raises(DataError, match=r'the train split has no sample of class "b" \(2 samples in all\)'):
        check_classes("d", splits(train=[0, 0]), ("a", "b"), REMEDIES)


@pytest.mark.parametrize("name", ["train", "calibration", "validation", "test"])
def test_every_split_needs_normal_samples(name: str) -> None:
    with pytest.raises(DataError, match=rf'the {name} split has 0 samples of the normal class "a" \(1 in all\)'):
        check_normal_and_anomalous("d", splits(**{name: [1]}), 0, "a", 1, REMEDIES)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_what_judges_needs_anomalies(name: str) -> None:
    with pytest.raises(DataError, match=rf'all 2 samples of the {name} split are "a", needs anomalies too'):
        check_normal_and_anomalous("d", splits(**{name: [0, 0]}), 0, "a", 1, REMEDIES)


def test_only_normal_samples_calibrate() -> None:
    with pytest.raises(DataError, match=r'calibration split has 1 samples .*"a" \(3 in all\), needs at least 2'):
        check_normal_and_anomalous("d", splits(calibration=[0, 1, 2]), 0, "a", 2, REMEDIES)


@pytest.mark.parametrize("name", ["train", "calibration", "validation", "test"])
def test_values_must_differ_in_every_split(name: str) -> None:
    with pytest.raises(DataError, match=rf"all 3 samples of the {name} split have the value 0\.1, needs values that"):
        check_spread("d", splits(**{name: [0.1, 0.1, 0.1]}), REMEDIES)
    with pytest.raises(DataError, match=rf"the {name} split has no sample"):
        check_spread("d", splits(**{name: []}), REMEDIES)
