from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.errors import BundleError, DataError
from edgewright.preprocessing import Preprocessing

GREY = Preprocessing((1, 4, 3), 1 / 255, (0.5,), (0.25,))
COLOUR = Preprocessing((3, 2, 2), 1.0, (1.0, 2.0, 3.0), (1.0, 2.0, 4.0))


def test_grey_samples_gain_a_channel_and_are_normalised() -> None:
    raw = np.full((2, 4, 3), 255, np.uint8)
    found = GREY.apply(raw)
    assert found.shape == (2, 1, 4, 3)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found == pytest.approx((1.0 - 0.5) / 0.25)


def test_a_last_axis_of_one_channel_is_the_same_sample() -> None:
    raw = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(GREY.apply(raw), GREY.apply(raw[..., np.newaxis]))


def test_colour_channels_go_first_and_keep_their_own_mean_and_std() -> None:
    raw = np.zeros((1, 2, 2, 3), np.uint8)
    raw[..., 1], raw[..., 2] = 6, 7
    found = COLOUR.apply(raw)
    assert [found[0, channel, 0, 0] for channel in range(3)] == [-1.0, 2.0, 1.0]


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_a_batch_is_the_same_as_its_samples_one_by_one(count: int, seed: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    assert np.array_equal(COLOUR.apply(raw), np.concatenate([COLOUR.apply(raw[i : i + 1]) for i in range(count)]))


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (np.zeros((2, 4, 3)), "must be uint8, found float64"),
        (np.zeros((2, 3, 4), np.uint8), r"\[N, 4, 3\], found \[2, 3, 4\]"),
        (np.zeros((4, 3), np.uint8), "shape"),
        (np.zeros((2, 4, 3, 3), np.uint8), "shape"),
    ],
)
def test_other_samples_are_refused(raw: Any, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        GREY.apply(raw)


def test_grey_samples_are_refused_by_a_colour_model() -> None:
    with pytest.raises(DataError, match=r"\[N, 2, 2, 3\]"):
        COLOUR.apply(np.zeros((3, 2, 2), np.uint8))


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        (((1, 0, 3), 1.0, (0.0,), (1.0,)), "input_shape"),
        (((2, 4, 3), 1.0, (0.0,), (1.0,)), "each of 2 channels"),
        (((1, 4, 3), 1.0, (0.0,), (0.0,)), "std must be above 0"),
        (((1, 4, 3), float("nan"), (0.0,), (1.0,)), "finite"),
        (((1, 4, 3), 0.0, (0.0,), (1.0,)), "scale must not be 0"),
    ],
)
def test_impossible_preprocessing_cannot_exist(fields: Any, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        Preprocessing(*fields)


def test_it_survives_json_to_the_bit() -> None:
    assert Preprocessing.from_json(json.loads(json.dumps(GREY.to_json()))) == GREY


@pytest.mark.parametrize("change", [{"scale": "1"}, {"extra": 1}, {"mean": None}, {"input_shape": [1, 4]}])
def test_other_json_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        Preprocessing.from_json({**GREY.to_json(), **change})
