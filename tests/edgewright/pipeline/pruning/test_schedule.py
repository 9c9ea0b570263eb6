"""Pruning schedules: exact at their ends, and never behind."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.pipeline.pruning.schedule import polynomial_sparsities, steps_due


@given(target=st.floats(0.05, 0.95), steps=st.integers(1, 100), power=st.floats(0.1, 10))
def test_sparsity_grows_from_none_to_exactly_the_target(target: float, steps: int, power: float) -> None:
    sparsities = polynomial_sparsities(target, steps, power)
    assert (sparsities[0], sparsities[-1], len(sparsities)) == (0, target, steps + 1)
    assert sparsities == sorted(sparsities)


def test_with_a_power_above_one_the_early_steps_are_the_large_ones() -> None:
    sparsities = polynomial_sparsities(0.8, 4, 3.0)
    assert sparsities[1] == pytest.approx(0.8 * (1 - 0.75**3))
    grown = [after - before for before, after in pairwise(sparsities)]
    assert grown == sorted(grown, reverse=True)


@given(steps=st.integers(1, 100), begin=st.floats(0, 0.4), end=st.floats(0.5, 1), done=st.floats(0, 1))
def test_all_steps_are_due_at_the_end_and_none_before_the_beginning(
    steps: int, begin: float, end: float, done: float
) -> None:
    due = steps_due(steps, done, begin, end)
    assert 0 <= due <= steps
    assert (due >= 1) == (done >= begin)
    if done >= end:
        assert due == steps
