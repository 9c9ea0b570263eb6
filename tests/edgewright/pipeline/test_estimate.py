"""Bounds, and how many more samples would decide: an answer that is true when that many are measured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edgewright.pipeline.estimate import Estimate, t_estimate
from edgewright.pipeline.group_bounds import (
    fewest_groups_of_a_class,
    group_positions,
    mean_over_classes,
    mean_over_groups,
)
from edgewright.pipeline.mean_bounds import mean_estimate


class TestStudentsT:
    def test_equals_the_textbook(self) -> None:
        values = np.array([0.1, -0.2, 0.5, 0.3, 0.0])
        low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
        found = t_estimate(values, 0.95)
        assert (found.figure, found.low, found.high) == pytest.approx((values.mean(), low, high))

    def test_so_many_groups_of_the_same_spread_do_decide(self) -> None:
        values = np.array([1.0, 3.0, 2.0, 0.0, 4.0])
        needed = t_estimate(values, 0.95).needed(3.0, 5)
        assert needed is not None and needed > 5
        deviation = values.std(ddof=1)
        for groups, decides in ((needed, True), (needed - 1, False)):
            high = 2 + float(stats.t.ppf(0.95, groups - 1)) * deviation / groups**0.5
            assert bool(high <= 3) is decides

    def test_what_is_decided_needs_no_more_and_the_limit_itself_never_is(self) -> None:
        found = t_estimate(np.array([1.0, 3.0, 2.0, 0.0, 4.0]), 0.95)
        assert found.needed(9.0, 5) == found.needed(-9.0, 5) == 5
        assert found.needed(2.0, 5) is None


def test_the_wider_of_two_estimates_keeps_its_own_figure() -> None:
    one = Estimate(1.0, 0.5, 3.0, lambda times: 0.5 / times, lambda times: 2 / times)
    other = Estimate(2.0, 0.0, 2.5, lambda times: 2 / times, lambda times: 0.5 / times)
    both = one.no_narrower_than(other)
    assert (both.figure, both.low, both.high) == (1.0, -1.0, 3.0)
    assert (both.low_reach(2), both.high_reach(2)) == (1.0, 1.0)


class TestSingleErrors:
    def test_is_never_narrower_than_students_t(self) -> None:
        rng = np.random.default_rng(1)
        for values in (rng.normal(size=200), rng.lognormal(0, 1, 200), -rng.lognormal(0, 1, 200)):
            found, plain = mean_estimate(values, 0.95), t_estimate(values, 0.95)
            assert found.low <= plain.low + 1e-3 and found.high >= plain.high - 1e-3

    def test_reaches_farther_towards_the_long_tail(self) -> None:
        found = mean_estimate(np.random.default_rng(1).lognormal(0, 1.2, 300), 0.95)
        assert found.high - found.figure > 1.3 * (found.figure - found.low)

    def test_approaches_students_t_with_many(self) -> None:
        values = np.random.default_rng(1).normal(size=20_000)
        assert mean_estimate(values, 0.95).high == pytest.approx(t_estimate(values, 0.95).high, abs=1e-3)

    def test_so_many_samples_of_the_same_kind_do_decide(self) -> None:
        values = np.random.default_rng(2).lognormal(0, 1, 300)
        limit = float(values.mean()) + 0.1
        needed = mean_estimate(values, 0.95).needed(limit, 300)
        assert needed is not None
        assert mean_estimate(np.tile(values, -(-needed // 300)), 0.95).high <= limit

    @pytest.mark.parametrize("value", [0.0, 3.5])
    def test_equal_values_have_no_spread(self, value: float) -> None:
        found = mean_estimate(np.full(50, value), 0.95)
        assert (found.low, found.figure, found.high) == (value, value, value)


class TestGroups:
    def test_groups_count_alike_whatever_their_size(self) -> None:
        group = group_positions(["b"] * 90 + ["a"] * 10 + ["c"] * 5)
        values = np.where(group == 1, 1.0, 0.0)
        assert mean_over_groups(values, group, 0.95).figure == pytest.approx(1 / 3)

    def test_balanced_accuracy_leaves_out_one_group_at_a_time(self) -> None:
        rng = np.random.default_rng(3)
        group, labels, values = rng.integers(0, 6, 300), rng.integers(0, 3, 300), rng.normal(size=300)

        def figure(kept: np.ndarray) -> float:
            return float(np.mean([values[kept & (labels == each)].mean() for each in range(3)]))

        without = np.array([figure(group != each) for each in range(6)])
        error = np.sqrt(5 / 6 * np.sum((without - without.mean()) ** 2))
        found = mean_over_classes(values, labels, group, 0.95)
        assert found.figure == pytest.approx(figure(np.full(300, True)))
        assert found.high == pytest.approx(found.figure + stats.t.ppf(0.95, 5) * error)

    def test_a_class_is_known_by_the_groups_that_hold_it(self) -> None:
        labels, group = np.array([4, 4, 4, 9, 9]), np.array([0, 1, 2, 1, 1])
        assert fewest_groups_of_a_class(labels, group) == (9, 1)
