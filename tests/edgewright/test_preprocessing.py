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
WINDOW = Preprocessing((2, 1, 5), 1.0, (0.0, 10.0), (1.0, 2.0), "window", "float32")
ROW = Preprocessing((3, 1, 1), 1.0, (1.0, 2.0, 3.0), (1.0, 2.0, 4.0), "row", "float32")
THERMAL = Preprocessing((1, 4, 3), 1.0, (0.0,), (1.0,), "image", "float32")


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


def test_a_windows_channels_are_channels_and_its_time_is_the_width() -> None:
    raw = np.stack([np.arange(5), 10 + 2 * np.arange(5)], axis=1, dtype=np.float32)[np.newaxis]
    found = WINDOW.apply(raw)
    assert (found.shape, found.dtype) == ((1, 2, 1, 5), np.float32)
    assert np.array_equal(found[0, :, 0], [[0, 1, 2, 3, 4]] * 2), "oldest first, each with its own mean and std"


def test_each_attribute_of_a_row_is_a_channel_of_one_place() -> None:
    found = ROW.apply(np.array([[1, 2, 3], [2, 4, 7]], np.float32))
    assert found.shape == (2, 3, 1, 1)
    assert np.array_equal(found[:, :, 0, 0], [[0, 0, 0], [1, 1, 1]])


def test_images_may_hold_what_never_was_a_byte() -> None:
    raw = np.linspace(-40, 120, 12, dtype=np.float32).reshape(1, 4, 3)
    assert np.array_equal(THERMAL.apply(raw)[0, 0], raw[0])


@pytest.mark.parametrize(
    ("preprocessing", "shape"),
    [(GREY, (4, 3)), (COLOUR, (2, 2, 3)), (THERMAL, (4, 3)), (WINDOW, (5, 2)), (ROW, (3,))],
)
def test_it_takes_samples_of_its_raw_shape(preprocessing: Preprocessing, shape: tuple[int, ...]) -> None:
    assert preprocessing.raw_shape == shape
    assert preprocessing.apply(np.ones((7, *shape), preprocessing.dtype)).shape == (7, *preprocessing.input_shape)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("preprocessing", [WINDOW, ROW, THERMAL])
def test_a_sample_that_is_not_finite_is_refused_by_its_number(preprocessing: Preprocessing, broken: float) -> None:
    raw = np.ones((4, *preprocessing.raw_shape), np.float32)
    raw[2].flat[1] = broken
    with pytest.raises(DataError, match=r"^sample 2 holds NaN, an infinity, or a value too large for float32: "):
        preprocessing.apply(raw)
    with pytest.raises(DataError, match=r"^sample 66 holds"):
        preprocessing.apply(raw, first_number=64)


def test_a_value_that_overflows_when_it_is_normalised_is_refused_too() -> None:
    narrow = Preprocessing((1, 1, 1), 1.0, (0.0,), (1e-3,), "row", "float32")
    assert narrow.apply(np.array([[1e35]], np.float32)).item() == pytest.approx(1e38)
    with pytest.raises(DataError, match=r"sample 1 .* too large for float32"):
        narrow.apply(np.array([[0], [1e36]], np.float32))


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


@pytest.mark.parametrize(
    ("preprocessing", "raw", "rule"),
    [
        (ROW, np.zeros((2, 3)), "must be float32, found float64: convert them to float32, in the unit"),
        (ROW, np.zeros((2, 4), np.float32), r"\[N, 3\], found \[2, 4\]"),
        (WINDOW, np.zeros((1, 2, 5), np.float32), r"\[N, 5, 2\], found \[1, 2, 5\]"),
        (THERMAL, np.zeros((1, 4, 3), np.uint8), "must be float32, found uint8"),
    ],
)
def test_other_floating_point_samples_are_refused(preprocessing: Preprocessing, raw: Any, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        preprocessing.apply(raw)


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
        (((1, 4, 3), 1.0, (0.0,), (1.0,), "sound", "float32"), "kind must be one of image, window, row, found 'sound'"),
        (((1, 4, 3), 1.0, (0.0,), (1.0,), "image", "float64"), "float32, or uint8 for images, found 'float64'"),
        (((1, 1, 3), 1.0, (0.0,), (1.0,), "window", "uint8"), "found 'uint8' for a window"),
        (((1, 4, 3), 1.0, (0.0,), (1.0,), "window", "float32"), r"of a window must be \(channels, 1, samples\)"),
        (((1, 1, 3), 1.0, (0.0,), (1.0,), "row", "float32"), r"of a row must be \(attributes, 1, 1\)"),
    ],
)
def test_impossible_preprocessing_cannot_exist(fields: Any, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        Preprocessing(*fields)


@pytest.mark.parametrize("preprocessing", [GREY, COLOUR, WINDOW, ROW, THERMAL])
def test_it_survives_json_to_the_bit(preprocessing: Preprocessing) -> None:
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing


@pytest.mark.parametrize("change", [{"scale": "1"}, {"extra": 1}, {"mean": None}, {"input_shape": [1, 4]}, {"kind": 3}])
def test_other_json_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        Preprocessing.from_json({**GREY.to_json(), **change})
