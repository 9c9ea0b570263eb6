"""A data set is checked when it is made; a sample is known by its content; a subset depends on content alone."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset, content_sha256, sample_digests, take_subset


def small(**changes: Any) -> Dataset:
    """Six 4x4 samples of two classes, with whatever a test changes."""
    values: dict[str, Any] = {
        "name": "small",
        "images": np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4),
        "labels": np.array([0, 0, 0, 1, 1, 1]),
        "labels_names": ("cat", "dog"),
        "fixed_split": None,
        "groups": None,
        "source": "small.npz",
    }
    return Dataset(**{**values, **changes})


HUGE_AT_3 = np.zeros((6, 4, 4), dtype=np.float32)
HUGE_AT_3[3, 1, 1] = -(2.0**24 + 2)

NAN_AT_2_AND_4 = np.zeros((6, 4, 4), dtype=np.float32)
NAN_AT_2_AND_4[2, 0, 0] = np.nan
NAN_AT_2_AND_4[4, 3, 3] = np.inf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((6, 4, 4))}, r"images are float64, need uint8 \(raw\) or float32"),
        ({"images": np.zeros((6, 4, 4), dtype=">f4")}, r"images are >f4"),
        ({"images": [[0]]}, r"images are list"),
        ({"images": np.zeros((6, 16), np.uint8)}, r"shape \[6, 16\], need \[N, H, W\]"),
        ({"images": np.zeros((6, 4, 0), np.uint8)}, r"shape \[6, 4, 0\]"),
        ({"images": np.zeros((0, 4, 4), np.uint8), "labels": np.zeros(0, int)}, r"the data set is empty"),
        ({"images": NAN_AT_2_AND_4}, r"2 samples \(2, 4\) have NaN or infinite values"),
        ({"labels": np.array([0.0, 0, 0, 1, 1, 1])}, r"labels are float64, need integers"),
        ({"labels": np.array([0, 1])}, r"6 images but labels of shape \[2\], need one label per image"),
        (
            {"labels": np.array([0, 0, 0, 1, 1, 2])},
            r"1 sample \(5\) has a label out of range \(the first is 2\), .* 0 to 1",
        ),
        ({"labels": np.array([0, -1, 0, 1, 1, 1])}, r"1 sample \(1\) has a label out of range \(the first is -1\)"),
        ({"labels_names": ("cat", "cat")}, r"need at least two distinct names"),
        ({"fixed_split": np.zeros(6, int)}, r"fixed_split is int64 \[6\], needs bool \[6\]"),
        ({"fixed_split": np.zeros(5, bool)}, r"fixed_split is bool \[5\], needs bool \[6\]"),
        ({"groups": ("ann",)}, r"1 groups for 6 images"),
        ({"groups": ("ann", "", "ann", "ann", "ann", "ann")}, r"1 sample \(1\) has no group name in groups"),
        ({"groups": (1, 2, 3, 4, 5, 6)}, r"6 samples .* have no group name in groups \(the first is 1\)"),
        ({"columns": {"side": ("left",)}}, r"1 side for 6 images, need one text per image"),
        ({"columns": {"side": ("left", None) * 3}}, r"3 samples \(1, 3, 5\) have no text in side"),
        ({"images": HUGE_AT_3}, r"1 sample \(3\) has values beyond ±16777216 \(the largest is 1\.67772e\+07\)"),
        ({"kind": "video"}, r'kind is "video", needs to be "image", "window" or "row"'),
        ({"kind": "window"}, r"windows are uint8, need float32"),
        ({"kind": "row", "images": np.zeros((6, 4, 4), np.float32)}, r"rows have shape \[6, 4, 4\], need \[N, F\]"),
        ({"channel_names": ("a", "b")}, r"channel_names are \['a', 'b'\], need 4 distinct names"),
    ],
)
def test_a_broken_data_set_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=r"^small \(small\.npz\): .*" + message):
        small(**changes)


def test_the_largest_value_is_allowed() -> None:
    assert small(images=np.full((6, 4, 4), -(2.0**24), dtype=np.float32)).images.min() == -(2**24)


def test_columns_and_channels_do_not_follow_the_callers_either() -> None:
    columns = {"side": ["left", "right"] * 3}
    dataset = small(columns=columns, channel_names=["a", "b", "c", "d"])
    columns["side"][0] = "up"
    assert dataset.columns["side"] == ("left", "right") * 3
    assert dataset.channel_names == ("a", "b", "c", "d")


def test_a_data_set_can_be_sent_to_another_process() -> None:
    dataset = small(columns={"side": ("left", "right") * 3})
    sent = pickle.loads(pickle.dumps(dataset))
    assert content_sha256(sent) == content_sha256(dataset)


def test_a_long_list_of_bad_samples_is_cut() -> None:
    with pytest.raises(DataError, match=r"6 samples \(0, 1, 2, 3, 4, …\) have a label out of range"):
        small(labels=np.full(6, 7))


def test_arrays_cannot_be_written_and_do_not_follow_the_callers() -> None:
    images = np.zeros((6, 4, 4), np.uint8)
    dataset = small(images=images)
    images[0] = 9
    assert not dataset.images.any()
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0] = 9
    with pytest.raises(ValueError, match="read-only"):
        dataset.labels[0] = 1


def test_small_integer_labels_become_int64() -> None:
    assert small(labels=np.array([0, 0, 0, 1, 1, 1], np.uint8)).labels.dtype == np.int64


def test_a_digest_covers_pixels_shape_and_dtype() -> None:
    zeros = np.zeros((1, 4, 4), np.uint8)
    one_pixel = zeros.copy()
    one_pixel[0, 3, 3] = 1
    variants: list[Any] = [
        zeros,
        one_pixel,
        zeros.reshape(1, 2, 8),
        zeros.reshape(1, 4, 4, 1),
        np.zeros((1, 2, 2), np.float32),
    ]
    assert len({sample_digests(images)[0] for images in variants}) == len(variants)


def test_a_digest_is_the_same_in_every_memory_layout_and_on_every_machine() -> None:
    images = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
    assert sample_digests(np.asfortranarray(images)) == sample_digests(images)
    assert sample_digests(images.astype(">f4")) == sample_digests(images)
    assert sample_digests(images[::-1])[0] == sample_digests(images)[1]
    # Written down so that a change of the rule, which would move every sample, cannot pass unnoticed.
    assert sample_digests(np.zeros((1, 2, 2), np.uint8)) == (
        "fc0cc0ccd28242b5467177bcc1bbac8a3ace025df68ca1233db76f453e6abeeb",
    )


def random_data(count: int = 60, seed: int = 0, **changes: Any) -> Dataset:
    rng = np.random.default_rng(seed)
    return small(images=rng.integers(0, 256, (count, 4, 4), dtype=np.uint8), labels=np.arange(count) % 2, **changes)


def test_a_subset_has_so_many_of_each_class_and_keeps_the_rest_of_what_is_known() -> None:
    in_test = np.arange(60) % 3 == 0
    numbers = tuple(str(index) for index in range(60))
    dataset = random_data(fixed_split=in_test, groups=numbers, columns={"number": numbers})
    subset = take_subset(dataset, per_class_train=4, per_class_test=2)
    assert subset.columns["number"] == subset.groups
    assert subset.fixed_split is not None
    assert np.bincount(subset.labels[~subset.fixed_split]).tolist() == [4, 4]
    assert np.bincount(subset.labels[subset.fixed_split]).tolist() == [2, 2]
    assert subset.groups is not None
    kept = [int(group) for group in subset.groups]
    assert kept == sorted(kept)
    assert np.array_equal(subset.images, dataset.images[kept])
    assert np.array_equal(subset.fixed_split, in_test[kept])


def test_a_subset_depends_on_content_alone_and_grows_by_adding() -> None:
    dataset = random_data()
    backwards = small(images=dataset.images[::-1], labels=dataset.labels[::-1])
    four = set(sample_digests(take_subset(dataset, 4).images))
    assert set(sample_digests(take_subset(backwards, 4).images)) == four
    assert four < set(sample_digests(take_subset(dataset, 9).images))


def test_a_limit_above_what_there_is_keeps_everything() -> None:
    assert len(take_subset(small(), 100).labels) == 6
    assert len(take_subset(small(), None).labels) == 6


@pytest.mark.parametrize(
    ("train", "test", "message"), [(0, None, "per_class_train is 0"), (1, 1, "does not fix its test split")]
)
def test_a_limit_that_makes_no_sense_is_refused(train: int, test: int | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        take_subset(small(), train, test)
