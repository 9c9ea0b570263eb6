"""How far two distributions are apart, and how far chance takes them: the formula by hand, the level by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.pipeline.intake.stability import Binned, Chance, by_class, by_deciles, stability_index


def test_the_index_by_hand() -> None:
    # Shares with half a sample added to each bin: 60.5/101 and 40.5/101 against 50.5/101 each.
    expected = (60.5 - 50.5) / 101 * np.log(60.5 / 50.5) + (40.5 - 50.5) / 101 * np.log(40.5 / 50.5)
    assert stability_index(np.array([60, 40]), np.array([50, 50])) == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=2, max_size=12))
def test_the_index_is_finite_never_negative_symmetric_and_zero_where_nothing_differs(
    counts: list[tuple[int, int]],
) -> None:
    new, known = np.array(counts).T
    found = float(stability_index(new, known))
    assert np.isfinite(found) and found >= 0
    assert found == pytest.approx(float(stability_index(known, new)))
    assert stability_index(new, new) == 0


def test_bins_lie_between_the_deciles_of_what_is_known() -> None:
    binned = by_deciles(np.array([-5.0, 4.4, 100.0]), np.arange(1000.0))
    assert binned.bins == 10 and binned.of_new.tolist() == [0, 0, 1]
    assert np.bincount(binned.of_known).tolist() == [100] * 10


def test_where_many_are_equal_there_are_fewer_bins() -> None:
    known = np.repeat([0.0, 1.0, 2.0], [700, 200, 100])
    binned = by_deciles(known, known)
    assert binned.bins < 10 and binned.index == 0 and binned.filled == 3


@pytest.mark.parametrize("moved", [0.3, 1.0])
def test_a_shift_is_seen_by_its_size(moved: float) -> None:
    random = np.random.default_rng(0)
    known, new = random.normal(size=20_000), random.normal(size=5_000) + moved
    # Of normal distributions with one variance, PSI is about the squared shift.
    assert by_deciles(new, known).index == pytest.approx(moved**2, rel=0.25)


@pytest.mark.parametrize(("new", "known"), [(100, 5000), (400, 5000), (400, 400)])
def test_chance_exceeds_the_level_as_often_as_was_asked_for(new: int, known: int) -> None:
    random = np.random.default_rng(3)
    chance = Chance(new, known)
    exceeded = []
    for _ in range(600):
        binned = by_deciles(random.normal(size=new), random.normal(size=known))
        exceeded.append(binned.index > chance.level([binned], 0.05)[0])
    assert 0.02 < np.mean(exceeded) < 0.08


def test_many_features_share_the_risk() -> None:
    binned = by_class(np.array([0, 1] * 50), np.array([0, 1] * 500), 2)
    alone, among_many = Chance(100, 1000).level([binned], 0.05)[0], Chance(100, 1000).level([binned] * 20, 0.05)
    assert len(among_many) == 20 and among_many[0] > alone


def test_so_many_samples_bring_the_level_to_the_limit() -> None:
    chance = Chance(30, 10_000)
    binned = by_deciles(np.arange(30.0), np.arange(10_000.0))
    needed = chance.needed(binned.filled, 0.25, 0.05)
    assert needed is not None
    assert Chance(needed, 10_000).level([binned], 0.05)[0] <= 0.25 < Chance(needed - 1, 10_000).level([binned], 0.05)[0]
    assert Chance(30, 20).needed(10, 0.25, 0.05) is None, "too few known samples: no number of new ones helps"


class TestGroups:
    """Samples of one person resemble each other: chance is how far people are from each other."""

    def people(self, count: int, seed: int) -> tuple[np.ndarray, list[str]]:
        random = np.random.default_rng(seed)
        means = random.normal(size=count)
        values = np.concatenate([random.normal(mean, 0.5, 100) for mean in means])
        return values, [f"p{seed}-{person}" for person in range(count) for _ in range(100)]

    def test_another_person_is_no_drift(self) -> None:
        alarms = naive = 0
        for seed in range(60):
            known, groups = self.people(12, 100 + seed)
            new, of_new = self.people(1, 500 + seed)
            binned = by_deciles(new, known)
            level = Chance.of(len(new), len(known), of_new, groups).level([binned], 0.05)[0]
            alarms += binned.index > max(level, 0.25)
            naive += binned.index > max(Chance(len(new), len(known)).level([binned], 0.05)[0], 0.25)
        assert naive > 50 and alarms < 15

    def test_a_stranger_from_elsewhere_is(self) -> None:
        known, groups = self.people(12, 1)
        chance = Chance.of(300, len(known), ["a", "b", "c"] * 100, groups)
        binned = by_deciles(known[:300] + 6, known)
        assert binned.index > chance.level([binned], 0.05)[0]

    def test_draws_are_the_same_every_time(self) -> None:
        _, groups = self.people(12, 1)
        first, second = (Chance.of(10, len(groups), ["a"], groups).draws() for _ in range(2))
        assert np.array_equal(first, second) and {int(each.sum()) for each in first} == {1}

    def test_fewer_than_five_known_groups_say_nothing_of_groups(self) -> None:
        known, groups = self.people(4, 1)
        chance = Chance.of(10, len(known), ["a"] * 10, groups)
        assert (chance.of_known, chance.new_groups) == (None, 1)
        assert chance.needed(10, 0.25, 0.05) is None, "more samples of the same person tell nothing of people"


def test_counts_by_unit() -> None:
    binned = Binned(np.array([0]), np.array([0, 1, 1, 0]), 2)
    assert binned.counts_by(np.array([0, 0, 1, 1]), 2).tolist() == [[1, 1], [1, 1]]
