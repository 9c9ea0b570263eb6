"""Folds over groups: everybody is test once, and nobody is in two splits of one fold."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgewright.errors import DataError
from edgewright.pipeline.datasets import motion
from edgewright.pipeline.datasets.dataset import Dataset, sample_digests
from edgewright.pipeline.folds import LEAST_GROUPS, GroupFolds, take_folds
from edgewright.pipeline.split_rule import SPLIT_NAMES, Minimums

FEW = Minimums(calibration_samples=1, test_samples=1)


def people(per_person: list[int], seed: int = 0, **changes: Any) -> Dataset:
    """Random windows of so many samples per person, two classes in turn."""
    count = sum(per_person)
    values: dict[str, Any] = {
        "name": "people",
        "images": np.random.default_rng(seed).normal(size=(count, 4, 2)).astype(np.float32),
        "labels": np.concatenate([np.arange(samples) % 2 for samples in per_person]),
        "labels_names": ("sit", "walk"),
        "fixed_split": None,
        "groups": tuple(f"p{person}" for person, samples in enumerate(per_person) for _ in range(samples)),
        "source": "people.npz",
        "kind": "window",
    }
    return Dataset(**{**values, **changes})


NAMES = st.sets(st.text(min_size=1, max_size=8), min_size=4, max_size=40)


@settings(max_examples=200, deadline=None)
@given(
    names=NAMES, folds=st.integers(2, 12), validation=st.integers(1, 3), calibration=st.integers(1, 3), data=st.data()
)
def test_everybody_is_test_once_and_every_fold_fills_its_splits(
    names: set[str], folds: int, validation: int, calibration: int, data: Any
) -> None:
    rule = GroupFolds(folds, validation, calibration)
    assume(len(names) >= max(folds, -(-len(names) // folds) + validation + calibration + 1))
    order = data.draw(st.permutations(sorted(names)))
    dealt = rule.deal([*order, order[0]])
    assert dealt == rule.deal(names)
    assert len(dealt) == folds
    tested = Counter(name for split_of in dealt for name, split in split_of.items() if split == "test")
    assert tested == dict.fromkeys(names, 1)
    for split_of in dealt:
        counts = Counter(split_of.values())
        assert set(split_of) == names
        assert (counts["validation"], counts["calibration"]) == (validation, calibration)
        assert counts["train"] >= 1
        assert len(names) // folds <= counts["test"] <= -(-len(names) // folds)


@settings(max_examples=25, deadline=None)
@given(
    samples=st.lists(st.integers(2, 12), min_size=5, max_size=14),
    folds=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_group_is_ever_in_two_splits_of_one_fold(samples: list[int], folds: int, seed: int) -> None:
    dataset = people(samples, seed)
    assume(len(samples) >= -(-len(samples) // folds) + 3)
    snapshots = take_folds(dataset, GroupFolds(folds), FEW)
    group_of = dict(zip(sample_digests(dataset.images), dataset.groups or (), strict=True))
    for snapshot in snapshots:
        splits_of: dict[str, set[str]] = {}
        for name in SPLIT_NAMES:
            split = snapshot.splits[name]
            assert split.groups == tuple(group_of[digest] for digest in split.sample_sha256)
            for group in split.groups:
                splits_of.setdefault(group, set()).add(name)
        assert set(splits_of) == set(group_of.values())
        assert all(len(names) == 1 for names in splits_of.values())
        assert sum(len(snapshot.splits[name].labels) for name in SPLIT_NAMES) == sum(samples)
    tested = [digest for snapshot in snapshots for digest in snapshot.test.sample_sha256]
    assert sorted(tested) == sorted(group_of)
    assert len({snapshot.sha256 for snapshot in snapshots}) == folds


def test_more_samples_of_the_same_people_move_nobody() -> None:
    few, many = people([4] * 10), people([40] * 10, seed=1)
    for before, after in zip(take_folds(few, GroupFolds(), FEW), take_folds(many, GroupFolds(), FEW), strict=True):
        for name in SPLIT_NAMES:
            assert set(before.splits[name].groups or ()) == set(after.splits[name].groups or ())


def test_the_deal_is_pinned_down_for_ever() -> None:
    # Another salt or another ring would deal everybody anew: it must not pass unnoticed.
    first = GroupFolds().deal(f"person {number:02}" for number in range(1, 11))[0]
    assert {name: split for name, split in first.items() if split != "train"} == {
        "person 02": "test",
        "person 05": "test",
        "person 08": "validation",
        "person 09": "calibration",
    }


def test_motion_is_dealt_into_five_folds_that_all_pass_the_usual_minimums() -> None:
    snapshots = take_folds(motion.load(), GroupFolds())
    assert sum(len(snapshot.test.labels) for snapshot in snapshots) == 2854
    assert all(len(set(snapshot.train.groups or ())) == 6 for snapshot in snapshots)
    assert all(snapshot.kind == "window" and snapshot.channel_names == motion.CHANNEL_NAMES for snapshot in snapshots)
    for snapshot in snapshots:
        recordings = [set(snapshot.splits[name].columns["recording"]) for name in SPLIT_NAMES]
        assert sum(map(len, recordings)) == len(set.union(*recordings)) == 140


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"folds": 1}, "folds is 1, needs at least 2"),
        ({"validation_groups": 0}, "validation_groups is 0, needs at least 1"),
        ({"calibration_groups": 0}, "calibration_groups is 0"),
    ],
)
def test_folds_that_hold_out_nobody_are_refused(numbers: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        GroupFolds(**numbers)


def test_too_few_groups_are_refused_with_the_number_needed() -> None:
    with pytest.raises(DataError, match=r"4 groups, 5 folds with 1 \+ 1 groups .* need at least 5"):
        GroupFolds().deal("abcd")
    with pytest.raises(DataError, match=r"4 groups, 2 folds .* need at least 5"):
        GroupFolds(folds=2).deal("abcd")
    assert len(GroupFolds().deal("abcde")) == LEAST_GROUPS == 5


def test_data_without_groups_or_with_a_fixed_test_split_is_refused() -> None:
    with pytest.raises(DataError, match=r"people \(people\.npz\): has no groups, folds hold out groups"):
        take_folds(people([4] * 10, groups=None), GroupFolds(), FEW)
    with pytest.raises(DataError, match="fixes its own test split, folds test everybody once"):
        take_folds(people([4] * 10, fixed_split=np.arange(40) < 4), GroupFolds(), FEW)


def test_what_holds_for_any_split_holds_for_folds() -> None:
    dataset = people([4] * 10)
    leaking = dataset.images.copy()
    leaking[39] = leaking[1]  # p9 and p0, both "walk"
    with pytest.raises(DataError, match=r'one content must have one group.*samples 1 \("p0"\) and 39 \("p9"\)'):
        take_folds(people([4] * 10, images=leaking), GroupFolds(), FEW)
    leaking = dataset.images.copy()
    leaking[2] = leaking[1]  # "sit" and "walk"
    with pytest.raises(DataError, match="one content must have one label"):
        take_folds(people([4] * 10, images=leaking), GroupFolds(), FEW)
    one_class = np.where(np.array(dataset.groups) == "p3", 0, dataset.labels)
    with pytest.raises(DataError, match='split has no sample of class "walk"'):
        take_folds(people([4] * 10, labels=one_class), GroupFolds(), FEW)
    with pytest.raises(DataError, match="the calibration split has 4 samples, needs at least 64"):
        take_folds(dataset, GroupFolds())
