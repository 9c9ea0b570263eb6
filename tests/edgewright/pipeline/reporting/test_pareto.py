"""The Pareto front is exactly what no other point beats."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewright.pipeline.reporting.pareto import pareto_front

# Few distinct values: ties are where such code goes wrong.
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25)


def is_beaten(point: tuple[int, int], points: list[tuple[int, int]]) -> bool:
    return any(
        other[0] <= point[0] and other[1] >= point[1] and (other[0] < point[0] or other[1] > point[1])
        for other in points
    )


@given(POINTS)
def test_it_holds_every_point_that_is_not_beaten_and_no_other(points: list[tuple[int, int]]) -> None:
    front = pareto_front([cost for cost, _ in points], [quality for _, quality in points])
    assert sorted(front) == [index for index, point in enumerate(points) if not is_beaten(point, points)]


@given(POINTS)
def test_cost_and_quality_never_fall_along_it(points: list[tuple[int, int]]) -> None:
    front = [points[index] for index in pareto_front([cost for cost, _ in points], [quality for _, quality in points])]
    assert front == sorted(front)
    assert [quality for _, quality in front] == sorted(quality for _, quality in front)


def test_nothing_has_no_front() -> None:
    assert pareto_front([], []) == ()
