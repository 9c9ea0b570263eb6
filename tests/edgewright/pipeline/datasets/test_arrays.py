"""Arrays of your own become a data set only if nothing about them has to be guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from edgewright.errors import DataError
from edgewright.pipeline.datasets.arrays import dataset_from_arrays
from edgewright.pipeline.datasets.dataset import content_sha256
from edgewright.pipeline.datasets.dataset_checks import LARGEST_VALUE

ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)
LABELS = np.array([0, 1, 0, 1, 0, 1])


def made(**changes: Any) -> Any:
    values: dict[str, Any] = {"name": "own", "source": "own.npz", "kind": "row", "x": ROWS, "y": LABELS, **changes}
    return dataset_from_arrays(**values)


def test_texts_are_sorted_into_classes() -> None:
    dataset = made(y=np.array(["b", "a", "c", "a", "b", "c"]))
    assert dataset.labels_names == ("a", "b", "c")
    assert dataset.labels.tolist() == [1, 0, 2, 0, 1, 2]


def test_numbers_name_themselves_or_are_named() -> None:
    assert made().labels_names == ("0", "1")
    assert made(labels_names=("off", "on")).labels_names == ("off", "on")


def test_groups_may_be_numbers() -> None:
    assert made(group=np.array([7, 7, 8, 8, 9, 9])).groups == ("7", "7", "8", "8", "9", "9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": ROWS.tolist()}, "x is list, need a numpy array"),
        ({"x": np.array([[None]] * 6)}, "x holds Python objects"),
        ({"x": ROWS.astype(np.float64)}, "rows are float64, need float32"),
        ({"x": ROWS.astype(np.uint8)}, "rows are uint8, need float32"),
        ({"x": ROWS.reshape(6, 2, 1)}, r"rows have shape \[6, 2, 1\], need \[N, F\]"),
        ({"kind": "window"}, r"windows have shape \[6, 2\], need \[N, T, C\]"),
        ({"kind": "video"}, 'kind is "video", needs to be "image", "window" or "row"'),
        ({"y": LABELS[:5]}, r"6 rows but labels of shape \[5\], need one label per row"),
        ({"y": LABELS.astype(float)}, r"y is float64 \[6\], need integers or texts"),
        ({"y": LABELS.reshape(6, 1)}, r"y is int64 \[6, 1\]"),
        ({"y": LABELS == 1}, "y is bool"),
        ({"y": LABELS * 2 - 1}, r"a label out of range \(the first is -1\)"),
        (
            {"y": LABELS * 2},
            'no sample of class "1", needs at least one of every class. Number the labels without gaps',
        ),
        ({"y": LABELS * 2**40}, r"y goes up to 1099511627776 with 6 samples, needs 0 … K - 1"),
        ({"y": LABELS * 0}, "need at least two distinct names"),
        ({"labels_names": ("a", "b", "c")}, 'no sample of class "c"'),
        (
            {"y": np.array(list("ababab")), "labels_names": ("a", "b")},
            "y holds texts, which are the class names already",
        ),
        ({"y": np.array(["a", "a "] * 3)}, "a class is named 'a ', needs a name without space"),
        ({"y": np.array(["a", ""] * 3)}, "a class is named ''"),
        ({"y": np.array(["walk", "Walk"] * 3)}, '"Walk" and "walk" differ only in upper and lower case'),
        ({"group": np.array(list("abc"))}, "3 groups for 6 rows"),
        ({"group": np.array(["a", "a "] * 3)}, "groups of samples 1, 3, 5 have space around them"),
        ({"group": np.array(["a", ""] * 3)}, r"3 samples \(1, 3, 5\) have no group name in groups \(the first is ''\)"),
        ({"group": LABELS / 2}, "group is float64"),
        ({"channel_names": ("ax",)}, r"channel_names are \['ax'\], need 2 distinct names"),
        ({"channel_names": ("ax", "ax")}, "need 2 distinct names"),
    ],
)
def test_broken_arrays_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=r"^own \(own\.npz\): .*" + message):
        made(**changes)


ANY_FLOAT32 = stn.arrays(np.float32, (6, 2), elements=st.floats(width=32, allow_nan=True, allow_infinity=True))


@settings(max_examples=100, deadline=None)
@given(x=ANY_FLOAT32)
def test_values_are_finite_and_bounded_or_named(x: Any) -> None:
    if not np.isfinite(x).all():
        with pytest.raises(DataError, match="NaN or infinite values"):
            made(x=x)
    elif np.abs(x).max() > LARGEST_VALUE:
        with pytest.raises(DataError, match=r"values beyond ±16777216 \(the largest is .*wrong unit"):
            made(x=x)
    else:
        assert np.array_equal(made(x=x).images, x)


def test_the_content_digest_covers_everything_but_the_source() -> None:
    digests = {
        content_sha256(made(**changes))
        for changes in (
            {},
            {"name": "other"},
            {"x": ROWS + 1},
            {"y": 1 - LABELS},
            {"labels_names": ("off", "on")},
            {"group": LABELS},
            {"channel_names": ("a", "b")},
        )
    }
    assert len(digests) == 7
    assert content_sha256(made(source="elsewhere")) == content_sha256(made())
