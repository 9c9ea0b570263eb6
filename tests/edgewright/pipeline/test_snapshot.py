"""A snapshot: four disjoint splits under one digest, in which a sample never changes its split."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset, sample_digests, take_subset
from edgewright.pipeline.datasets.digits import load as load_digits
from edgewright.pipeline.datasets.motion import load as load_motion
from edgewright.pipeline.datasets.shuttle import load as load_shuttle
from edgewright.pipeline.snapshot import Snapshot, take_snapshot
from edgewright.pipeline.split_rule import SPLIT_NAMES, Minimums, SplitRule

RULE = SplitRule(calibration_share=0.2, validation_share=0.2, test_share=0.2)
FIXED_TEST_RULE = SplitRule(calibration_share=0.3, validation_share=0.3)
FEW = Minimums(calibration_samples=1, test_samples=1)


def data(count: int = 300, seed: int = 0, **changes: Any) -> Dataset:
    """Random 4x4 samples of two classes, with whatever a test changes."""
    values: dict[str, Any] = {
        "name": "noise",
        "images": np.random.default_rng(seed).integers(0, 256, (count, 4, 4), dtype=np.uint8),
        "labels": np.arange(count) % 2,
        "labels_names": ("cat", "dog"),
        "fixed_split": None,
        "groups": None,
        "source": "noise.npz",
    }
    return Dataset(**{**values, **changes})


def reorder(dataset: Dataset, indices: Sequence[int] | npt.NDArray[np.int64]) -> Dataset:
    picked = np.asarray(indices)
    return data(
        images=dataset.images[picked],
        labels=dataset.labels[picked],
        fixed_split=None if dataset.fixed_split is None else dataset.fixed_split[picked],
        groups=None if dataset.groups is None else tuple(dataset.groups[index] for index in picked),
    )


def split_by_digest(snapshot: Snapshot) -> dict[str, str]:
    return {digest: name for name, split in snapshot.splits.items() for digest in split.sample_sha256}


# --- for life -----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(200, 400), added=st.integers(1, 200), fixed=st.booleans())
def test_adding_samples_never_moves_an_old_one(seed: int, count: int, added: int, fixed: bool) -> None:
    in_test = np.random.default_rng(seed).random(count + added) < 0.3 if fixed else None
    grown = data(count + added, seed, fixed_split=in_test)
    rule = FIXED_TEST_RULE if fixed else RULE
    before = split_by_digest(take_snapshot(reorder(grown, range(count)), rule, FEW))
    after = split_by_digest(take_snapshot(grown, rule, FEW))
    assert {digest: after[digest] for digest in before} == before


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shuffle=st.randoms(use_true_random=False))
def test_order_does_not_matter_at_all(seed: int, shuffle: Any) -> None:
    dataset = data(seed=seed)
    indices = [*range(300), 7, 7, 8]  # exact duplicates too
    snapshot = take_snapshot(reorder(dataset, indices), RULE, FEW)
    shuffle.shuffle(indices)
    other = take_snapshot(reorder(dataset, indices), RULE, FEW)
    assert other.sha256 == snapshot.sha256
    for name in SPLIT_NAMES:
        assert other.splits[name].sample_sha256 == snapshot.splits[name].sample_sha256
        assert np.array_equal(other.splits[name].images, snapshot.splits[name].images)
        assert np.array_equal(other.splits[name].labels, snapshot.splits[name].labels)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), fixed=st.booleans())
def test_splits_are_disjoint_and_complete_and_keep_each_label(seed: int, fixed: bool) -> None:
    in_test = np.random.default_rng(seed).random(300) < 0.3 if fixed else None
    dataset = data(seed=seed, fixed_split=in_test)
    snapshot = take_snapshot(dataset, FIXED_TEST_RULE if fixed else RULE, FEW)
    everywhere = [digest for split in snapshot.splits.values() for digest in split.sample_sha256]
    assert sorted(everywhere) == sorted(sample_digests(dataset.images))
    assert len(set(everywhere)) == len(everywhere)
    label_of = dict(zip(sample_digests(dataset.images), dataset.labels.tolist(), strict=True))
    for split in snapshot.splits.values():
        assert sample_digests(split.images) == split.sample_sha256
        assert [label_of[digest] for digest in split.sample_sha256] == split.labels.tolist()
    if in_test is not None:
        assert set(snapshot.test.sample_sha256) == set(sample_digests(dataset.images[in_test]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), people=st.integers(80, 160), added=st.integers(1, 100))
def test_a_group_is_never_in_two_splits_and_never_moves(seed: int, people: int, added: int) -> None:
    names = tuple(f"person {number}" for number in np.random.default_rng(seed).integers(0, people, 600 + added))
    grown = data(600 + added, seed, groups=names)
    before = split_by_digest(take_snapshot(reorder(grown, range(600)), RULE, FEW))
    after = split_by_digest(take_snapshot(grown, RULE, FEW))
    assert {digest: after[digest] for digest in before} == before
    splits_of: dict[str, set[str]] = {}
    for digest, name in zip(sample_digests(grown.images), names, strict=True):
        splits_of.setdefault(name, set()).add(after[digest])
    assert all(len(splits) == 1 for splits in splits_of.values())


def test_a_split_is_pinned_down_for_ever() -> None:
    # A change of salt or layout would move old test samples into training: it must not pass unnoticed.
    digests = sample_digests(np.arange(12, dtype=np.uint8).reshape(12, 1, 1))
    assert " ".join(RULE.split_of(digest)[:2] for digest in digests) == "te tr tr tr tr te tr tr te va ca ca"


SHARE = st.floats(0.01, 0.33)


@settings(max_examples=200, deadline=None)
@given(digest=st.binary(min_size=32, max_size=32), shares=st.tuples(SHARE, SHARE, SHARE), other=SHARE)
def test_another_share_moves_only_what_it_must(digest: bytes, shares: tuple[float, float, float], other: float) -> None:
    calibration, validation, test = shares
    split = SplitRule(calibration, validation, test).split_of(digest.hex())
    assert {split, SplitRule(other, validation, test).split_of(digest.hex())} in (
        {split},
        {"train", "calibration"},
    )
    assert {split, SplitRule(calibration, validation, other).split_of(digest.hex())} in ({split}, {"train", "test"})
    assert (SplitRule(calibration, other, test).split_of(digest.hex()) == "test") == (split == "test")


def test_shares_are_met_on_average() -> None:
    snapshot = take_snapshot(data(20_000), SplitRule(0.05, 0.15, 0.25), FEW)
    shares = {name: len(split.labels) / 20_000 for name, split in snapshot.splits.items()}
    # Four standard deviations of a share near a quarter are 1.2 points.
    assert shares == pytest.approx({"train": 0.55, "calibration": 0.05, "validation": 0.15, "test": 0.25}, abs=0.012)


def test_a_subset_chosen_by_digest_still_reaches_every_split() -> None:
    subset = take_subset(data(20_000), per_class_train=500)
    counts = {name: len(split.labels) for name, split in take_snapshot(subset, RULE, FEW).splits.items()}
    # 200 are expected in each of the three; the standard deviation is 13.
    assert all(140 < counts[name] < 260 for name in ("calibration", "validation", "test"))


# --- the digest ---------------------------------------------------------------------------------------------------


def test_the_digest_changes_with_pixels_labels_class_names_and_splits() -> None:
    dataset = data()
    pixels = dataset.images.copy()
    pixels[0, 0, 0] ^= 1
    digests = [
        take_snapshot(changed, rule, FEW).sha256
        for changed, rule in [
            (dataset, RULE),
            (data(images=pixels), RULE),
            (data(labels=1 - dataset.labels), RULE),
            (data(labels_names=("dog", "cat")), RULE),
            (dataset, SplitRule(0.25, 0.2, 0.2)),
            (reorder(dataset, [*range(300), 0]), RULE),
        ]
    ]
    assert len(set(digests)) == len(digests)


def test_the_digest_does_not_depend_on_where_the_data_came_from() -> None:
    assert take_snapshot(data(source="elsewhere"), RULE, FEW).sha256 == take_snapshot(data(), RULE, FEW).sha256


# --- errors -------------------------------------------------------------------------------------------------------


def _twins(dataset: Dataset, **changes: Any) -> Dataset:
    """The data set with sample 11 a copy of sample 3 (both are dogs)."""
    images = dataset.images.copy()
    images[11] = images[3]
    return data(images=images, **changes)


def test_the_same_content_in_pool_and_fixed_test_is_refused() -> None:
    in_test = (np.arange(300) % 4 < 2) | (np.arange(300) == 11)  # 11, and not 3
    expected = r'noise \(noise\.npz\): one content must have one split.*samples (3|11) \(".*"\) and (3|11) \(".*"\)'
    with pytest.raises(DataError, match=expected):
        take_snapshot(_twins(data(), fixed_split=in_test), FIXED_TEST_RULE, FEW)


def test_the_same_content_with_two_labels_is_refused() -> None:
    images = data().images.copy()
    images[4] = images[3]
    with pytest.raises(
        DataError, match=r'one label.*samples 4 \("cat"\) and 3 \("dog"\), sha256 [0-9a-f]{12}….*Correct'
    ):
        take_snapshot(data(images=images), RULE, FEW)


def test_the_same_content_in_two_groups_is_refused() -> None:
    groups = tuple(f"person {index // 4}" for index in range(300))
    with pytest.raises(DataError, match=r'one group.*samples 3 \("person 0"\) and 11 \("person 2"\)'):
        take_snapshot(_twins(data(), groups=groups), RULE, FEW)


def test_a_group_in_pool_and_fixed_test_is_refused() -> None:
    groups = tuple(f"person {index // 4}" for index in range(300))
    in_test = np.arange(300) >= 202  # within person 50
    with pytest.raises(DataError, match=r'one group must have one split.*"person 50"'):
        take_snapshot(data(groups=groups, fixed_split=in_test), FIXED_TEST_RULE, FEW)


def test_exact_duplicates_inside_one_split_are_kept_and_counted() -> None:
    card = take_snapshot(_twins(data()), RULE, FEW).card()
    assert card["samples"] == 300
    assert sum(split["duplicates"] for split in card["splits"].values()) == 1


def test_an_empty_class_in_a_split_is_refused() -> None:
    in_test = (np.arange(300) % 2 == 0) & (np.arange(300) < 100)  # cats only
    with pytest.raises(DataError, match=r'the test split has no sample of class "dog" \(50 samples in all\)'):
        take_snapshot(data(fixed_split=in_test), FIXED_TEST_RULE, FEW)


def test_too_few_calibration_samples_are_refused_by_default() -> None:
    with pytest.raises(
        DataError, match=r"calibration split has \d+ samples, needs at least 64. Raise calibration_share"
    ):
        take_snapshot(data(2_000), SplitRule(0.01, 0.2, 0.3))


def test_too_few_test_samples_are_refused_by_default() -> None:
    with pytest.raises(DataError, match=r"test split has \d+ samples, needs at least 299. Raise test_share"):
        take_snapshot(data(1_000), SplitRule(0.3, 0.2, 0.1))


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((0.5, 0.3, 0.2), "is 1, needs to be below 1"),
        ((0.6, 0.6, 0.0), r"calibration_share 0\.6 \+ validation_share 0\.6 \+ test_share 0\.0 is 1\.2"),
        ((0.0, 0.2, 0.2), "calibration_share is 0.0, needs to be above 0 and below 1"),
        ((0.2, -0.1, 0.2), "validation_share is -0.1"),
        ((0.2, 0.2, float("nan")), "test_share is nan"),
    ],
)
def test_shares_that_leave_nothing_to_train_on_are_refused(shares: tuple[float, float, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SplitRule(*shares)


def test_a_test_share_must_fit_the_data_set() -> None:
    with pytest.raises(DataError, match=r"the data set fixes its own test split. Set test_share to 0"):
        take_snapshot(data(fixed_split=np.arange(300) < 100), RULE, FEW)
    with pytest.raises(DataError, match=r"does not fix a test split. Set test_share above 0"):
        take_snapshot(data(), FIXED_TEST_RULE, FEW)


# --- on disk ------------------------------------------------------------------------------------------------------


def test_a_saved_snapshot_loads_as_it_was(tmp_path: Path) -> None:
    snapshot = take_snapshot(data(), RULE, FEW)
    snapshot.save(tmp_path / "new")
    loaded = Snapshot.load(tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["snapshot.json", "snapshot.npz"]
    assert loaded.card() == snapshot.card() == json.loads((tmp_path / "new" / "snapshot.json").read_text())
    for name in SPLIT_NAMES:
        assert np.array_equal(loaded.splits[name].images, snapshot.splits[name].images)
        assert np.array_equal(loaded.splits[name].labels, snapshot.splits[name].labels)
        assert loaded.splits[name].sample_sha256 == snapshot.splits[name].sample_sha256
        assert not loaded.splits[name].images.flags.writeable


def test_the_same_snapshot_is_the_same_bytes(tmp_path: Path) -> None:
    snapshot = take_snapshot(data(), RULE, FEW)
    for folder in ("one", "two"):
        snapshot.save(tmp_path / folder)
    for file in ("snapshot.npz", "snapshot.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("array", ["train_images", "test_labels"])
def test_a_changed_snapshot_is_refused(tmp_path: Path, array: str) -> None:
    take_snapshot(data(), RULE, FEW).save(tmp_path)
    with np.load(tmp_path / "snapshot.npz") as saved:
        arrays = dict(saved)
    arrays[array].flat[0] ^= 1
    np.savez(tmp_path / "snapshot.npz", **arrays)
    with pytest.raises(DataError, match=r"sha256 is .*, its card promises .* take the snapshot again"):
        Snapshot.load(tmp_path)


def windows(**changes: Any) -> Dataset:
    """Windows of 60 people with all that a data set can know of a sample."""
    values: dict[str, Any] = {
        "images": np.random.default_rng(3).normal(size=(300, 4, 2)).astype(np.float32),
        "groups": tuple(f"person {index // 5}" for index in range(300)),
        "kind": "window",
        "channel_names": ("ax", "ay"),
        "columns": {"side": ("left", "right") * 150, "day": ("monday",) * 300},
    }
    return data(**{**values, **changes})


def test_groups_columns_kind_and_channels_come_along(tmp_path: Path) -> None:
    dataset = windows()
    snapshot = take_snapshot(dataset, RULE, FEW)
    snapshot.save(tmp_path)
    loaded = Snapshot.load(tmp_path)
    assert loaded.card() == snapshot.card()
    assert (loaded.kind, loaded.channel_names) == ("window", ("ax", "ay"))
    digests = sample_digests(dataset.images)
    known = {digest: (dataset.groups[i], dataset.columns["side"][i]) for i, digest in enumerate(digests)}
    for name in SPLIT_NAMES:
        split = loaded.splits[name]
        assert split.groups is not None
        assert [known[digest] for digest in split.sample_sha256] == list(
            zip(split.groups, split.columns["side"], strict=True)
        )
        assert loaded.card()["splits"][name]["per_group"] == dict.fromkeys(sorted(set(split.groups)), 5)


def test_the_digest_changes_with_groups_columns_kind_and_channels() -> None:
    images = np.random.default_rng(3).normal(size=(300, 4, 2)).astype(np.float32)
    renamed = tuple(f"person {index // 5}" if index >= 5 else "nobody" for index in range(300))
    sides = {"side": ("right", "left") * 150, "day": ("monday",) * 300}
    changed = [
        windows(),
        windows(groups=renamed),
        windows(columns=sides),
        windows(columns={}),
        windows(channel_names=("ay", "ax")),
        windows(kind="image"),
        data(images=images),
    ]
    assert len({take_snapshot(dataset, RULE, FEW).sha256 for dataset in changed}) == len(changed)


@pytest.mark.parametrize("array", ["test_groups", "train_column_side"])
def test_a_changed_group_or_column_is_refused(tmp_path: Path, array: str) -> None:
    take_snapshot(windows(), RULE, FEW).save(tmp_path)
    with np.load(tmp_path / "snapshot.npz") as saved:
        arrays = dict(saved)
    arrays[array][0] = "other"
    np.savez(tmp_path / "snapshot.npz", **arrays)
    with pytest.raises(DataError, match=r"sha256 is .*, its card promises"):
        Snapshot.load(tmp_path)


def test_images_without_groups_are_saved_as_ever(tmp_path: Path) -> None:
    take_snapshot(data(), RULE, FEW).save(tmp_path)
    with np.load(tmp_path / "snapshot.npz") as saved:
        assert sorted(saved) == sorted(f"{name}_{part}" for name in SPLIT_NAMES for part in ("images", "labels"))
    card = json.loads((tmp_path / "snapshot.json").read_text())
    assert sorted(card) == ["labels_names", "name", "samples", "sha256", "source", "splits"]
    assert sorted(card["splits"]["test"]) == ["duplicates", "per_class", "samples"]


@pytest.mark.parametrize("file", ["snapshot.npz", "snapshot.json"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b"PK\x03\x04 cut short"])
def test_an_unreadable_snapshot_is_refused(tmp_path: Path, file: str, content: bytes | None) -> None:
    take_snapshot(data(), RULE, FEW).save(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match="not a readable snapshot"):
        Snapshot.load(tmp_path)


# --- the other data that ships -------------------------------------------------------------------------------------


def test_the_shipped_rows_reach_every_split_and_no_content_is_in_two() -> None:
    snapshot = take_snapshot(load_shuttle(), SplitRule(0.1, 0.2, 0.2))
    digests = [set(split.sample_sha256) for split in snapshot.splits.values()]
    assert sum(map(len, digests)) == len(set.union(*digests)) == 49_097
    assert snapshot.sha256 == "017706fc244bbb4096c0f8dd062d8412703df0df3c48634a389341f7d0e18c57"


def test_ten_people_are_too_few_for_shares() -> None:
    with pytest.raises(DataError, match="the calibration split has 0 samples, needs at least 64"):
        take_snapshot(load_motion(), SplitRule(0.1, 0.2, 0.2))


# --- the real digits ----------------------------------------------------------------------------------------------


def test_the_shipped_digits_are_split_within_a_second() -> None:
    dataset = load_digits()
    started = time.process_time()
    snapshot = take_snapshot(dataset, SplitRule(calibration_share=0.05, validation_share=0.15))
    assert time.process_time() - started < 1
    card = snapshot.card()
    assert card["samples"] == 29_000
    assert card["splits"]["test"]["samples"] == 10_000
    assert [split["duplicates"] for split in card["splits"].values()] == [0, 0, 0, 0]
    assert snapshot.sha256 == "68e4511fa9fc3e42432ea8ce561abb6f40306f12d7d4fcfac81d39c0795d17bc"
