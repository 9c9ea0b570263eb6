"""Collected samples join a data set: no old sample moves, a new one's split is settled by its own or its group's digest."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import DataError
from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.collected import (
    CollectedBatch,
    CollectedSamples,
    batch_content,
    dataset_of,
    join,
    pack_batch,
    read_batch,
    read_labels,
)
from edgewright.pipeline.datasets.dataset import Dataset, at
from edgewright.pipeline.folds import GroupFolds, take_folds
from edgewright.pipeline.snapshot import take_snapshot
from edgewright.pipeline.split_rule import Minimums, SplitRule, joins_test

RULE, OF_REST = SplitRule(0.2, 0.2, 0.2), SplitRule(0.2, 0.2)
FEW = Minimums(calibration_samples=1, test_samples=1)


def data(count: int, seed: int, **changes: Any) -> Dataset:
    """Noise of two classes; samples of another seed are others."""
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


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store")


def collect(store: ArtifactStore, *parts: Dataset, share: float = 0.2) -> CollectedSamples:
    contents = [pack_batch(batch_content(part, np.arange(len(part.labels)))) for part in parts]
    return CollectedSamples(tuple(CollectedBatch(store.put_bytes(content), share) for content in contents))


def splits_of(dataset: Dataset, rule: SplitRule = RULE) -> dict[str, str]:
    snapshot = take_snapshot(dataset, rule, FEW)
    return {digest: name for name, split in snapshot.splits.items() for digest in split.sample_sha256}


class TestABatch:
    def test_comes_back_as_it_was_kept(self, store: ArtifactStore) -> None:
        part = data(6, 1, groups=tuple("aabbcc"), columns={"shift": ("day",) * 6})
        content = batch_content(part, np.array([1, 4]))
        back = read_batch(store, store.put_bytes(pack_batch(content)))
        assert np.array_equal(back.images, part.images[[1, 4]]) and back.labels.tolist() == ["dog", "cat"]
        assert (back.groups, back.columns) == (("a", "c"), {"shift": ("day", "day")})
        assert back.sample_sha256 == content.sample_sha256
        assert list(read_labels(store, store.put_bytes(pack_batch(content)))) == list(
            zip(content.sample_sha256, ["dog", "cat"], strict=True)
        )

    def test_equal_content_gives_equal_bytes(self) -> None:
        part = data(6, 1, columns={"b": ("x",) * 6, "a": ("y",) * 6})
        first, second = (pack_batch(batch_content(part, np.arange(6))) for _ in range(2))
        assert first == second

    def test_that_is_damaged_is_named(self, store: ArtifactStore) -> None:
        collected = collect(store, data(4, 1))
        (store.root / collected.batches[0].content.path).write_bytes(b"x")
        with pytest.raises(DataError, match=r"batch .* of the collection: artifact .* is damaged"):
            join(store, data(4, 0), collected)


class TestJoining:
    def test_new_samples_follow_the_rule_for_life_and_old_ones_stay(self, store: ArtifactStore) -> None:
        base, first, second = data(300, 0), data(100, 1), data(100, 2)
        alone, joined = splits_of(base), splits_of(join(store, base, collect(store, first)))
        later = splits_of(join(store, base, collect(store, first, second)))
        assert alone.items() <= joined.items() <= later.items()
        assert len(joined) == 400 and splits_of(first).items() <= joined.items()

    def test_where_the_publisher_fixed_the_test_split_a_new_sample_tests_by_its_digest(
        self, store: ArtifactStore
    ) -> None:
        base = data(300, 0, fixed_split=np.arange(300) < 60)
        new = data(500, 1)
        joined = splits_of(join(store, base, collect(store, new, share=0.3)), OF_REST)
        assert splits_of(base, OF_REST).items() <= joined.items()
        tests = {digest for digest, name in joined.items() if name == "test"} - set(splits_of(base, OF_REST))
        assert tests == {digest for digest in splits_of(new) if joins_test(digest, 0.3)}
        assert 0.22 < len(tests) / 500 < 0.38
        rest = [name for digest, name in joined.items() if digest not in splits_of(base, OF_REST) and name != "test"]
        assert 0.12 < rest.count("validation") / len(rest) < 0.28, "the rest is split as the base's rest"

    def test_another_share_later_moves_nobody_who_came_before(self, store: ArtifactStore) -> None:
        base = data(300, 0, fixed_split=np.arange(300) < 60)
        first, second = collect(store, data(200, 1), share=0.1), collect(store, data(200, 2), share=0.5)
        before = splits_of(join(store, base, first), OF_REST)
        after = splits_of(join(store, base, CollectedSamples(first.batches + second.batches)), OF_REST)
        assert before.items() <= after.items()

    def test_without_a_share_none_of_the_new_ones_tests(self, store: ArtifactStore) -> None:
        base = data(300, 0, fixed_split=np.arange(300) < 60)
        joined = join(store, base, collect(store, data(200, 1), share=0.0))
        assert joined.fixed_split is not None and int(joined.fixed_split.sum()) == 60

    def test_a_group_stays_together_and_where_it_was(self, store: ArtifactStore) -> None:
        groups = tuple(f"g{index % 30}" for index in range(300))
        fixed = np.array([int(group[1:]) < 6 for group in groups])
        base = data(300, 0, groups=groups, fixed_split=fixed)
        new = data(90, 1, groups=tuple(f"g{index % 45}" for index in range(90)))
        joined = join(store, base, collect(store, new, share=0.5))
        assert joined.groups is not None and joined.fixed_split is not None
        fate: dict[str, set[bool]] = {}
        for group, test in zip(joined.groups, joined.fixed_split.tolist(), strict=True):
            fate.setdefault(group, set()).add(test)
        assert all(len(each) == 1 for each in fate.values())
        assert {group for group, each in fate.items() if each == {True} and int(group[1:]) < 30} == {
            f"g{number}" for number in range(6)
        }
        assert 0 < sum(each == {True} for group, each in fate.items() if int(group[1:]) >= 30) < 15

    def test_folds_deal_a_new_group_and_keep_all_samples_of_an_old_one_together(self, store: ArtifactStore) -> None:
        both = np.arange(300) // 10 % 2
        base = data(300, 0, labels=both, groups=tuple(f"g{index % 10}" for index in range(300)))
        same = data(30, 1, labels=both[:30], groups=tuple(f"g{index % 10}" for index in range(30)))
        folds = GroupFolds(5)
        before = take_folds(base, folds, FEW)
        after = take_folds(join(store, base, collect(store, same)), folds, FEW)
        assert [set(each.test.groups or ()) for each in before] == [set(each.test.groups or ()) for each in after]
        stranger = data(30, 2, groups=("g10",) * 30)
        dealt = take_folds(join(store, base, collect(store, stranger)), folds, FEW)
        assert sum("g10" in (each.test.groups or ()) for each in dealt) == 1

    def test_what_is_there_already_joins_once(self, store: ArtifactStore) -> None:
        base, new = data(50, 0), data(20, 1)
        again = join(store, base, collect(store, new, at(base, np.arange(10)), at(new, np.arange(5))))
        assert len(again.labels) == 70
        assert (
            take_snapshot(again, RULE, FEW).sha256
            == take_snapshot(join(store, base, collect(store, new)), RULE, FEW).sha256
        )

    def test_a_class_that_was_added_later_renumbers_nobody(self, store: ArtifactStore) -> None:
        new = data(20, 1)
        base = data(60, 0, labels=np.arange(60) % 3, labels_names=("ant", "cat", "dog"))
        joined = join(store, base, collect(store, new))
        assert [joined.labels_names[label] for label in joined.labels[60:]] == ["cat", "dog"] * 10

    def test_values_and_columns_join_too(self, store: ArtifactStore) -> None:
        base = data(40, 0, labels=np.arange(40.0), labels_names=(), columns={"shift": ("day",) * 40})
        new = data(4, 1, labels=np.arange(4.0) + 0.5, labels_names=(), columns={"shift": ("night",) * 4})
        joined = join(store, base, collect(store, new))
        assert joined.labels[-4:].tolist() == [0.5, 1.5, 2.5, 3.5] and joined.columns["shift"][-4:] == ("night",) * 4
        alone = dataset_of(store, base, collect(store, new))
        assert np.array_equal(alone.images, new.images) and alone.columns == new.columns


class TestWhatDoesNotFit:
    """The recipe's data was changed since the samples came."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"images": np.zeros((4, 5, 4), np.uint8)},
                r"holds uint8 samples of shape \[4, 4\], the data has uint8 \[5, 4\]",
            ),
            ({"images": np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)}, "the data has float32"),
            ({"groups": tuple("abab")}, "has no groups, the data has some"),
            ({"columns": {"shift": ("day",) * 4}}, "lacks the column shift"),
            ({"labels": np.arange(4.0), "labels_names": ()}, "holds classes, the data values"),
            ({"labels_names": ("cat", "cow")}, 'holds the class "dog", which the data has no more'),
        ],
    )
    def test_is_an_error_that_names_the_batch(
        self, store: ArtifactStore, changes: dict[str, Any], message: str
    ) -> None:
        collected = collect(store, data(4, 1))
        with pytest.raises(DataError, match=message) as caught:
            join(store, data(4, 0, **changes), collected)
        assert collected.batches[0].content.sha256[:12] in str(caught.value)

    def test_another_label_for_a_known_sample_is_an_error(self, store: ArtifactStore) -> None:
        base = data(10, 0)
        wrong = dataclasses.replace(at(base, np.arange(3)), labels=np.array([1, 1, 0]))
        with pytest.raises(DataError, match='is "dog" there and "cat" before it'):
            join(store, base, collect(store, wrong))


def test_an_empty_collection_is_none() -> None:
    with pytest.raises(DataError, match="leave it out"):
        CollectedSamples(())
    assert CollectedSamples.of([None, None]) is None


@settings(max_examples=200, deadline=None)
@given(number=st.integers(0, 10**9), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_larger_share_adds_test_samples_and_takes_none_away(number: int, low: float, high: float) -> None:
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    assert joins_test(digest, min(low, high)) <= joins_test(digest, max(low, high))


def test_the_fate_of_new_samples_is_what_it_always_was() -> None:
    """Another salt would move samples that were taken in years ago."""
    digests = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(2000)]
    assert [number for number in range(40) if joins_test(digests[number], 0.2)] == [
        *(0, 3, 4, 5, 11, 18, 19, 22, 23, 24, 25, 31)
    ]
    assert 0.17 < np.mean([joins_test(digest, 0.2) for digest in digests]) < 0.23
