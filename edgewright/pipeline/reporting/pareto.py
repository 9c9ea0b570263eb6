"""The Pareto front: what no other variant beats in both quality and cost."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(costs: Sequence[float], qualities: Sequence[float]) -> tuple[int, ...]:
    """Which points are not beaten, cheapest first.

    A point is beaten when another is at least as good in both and better in one; equal points do not beat each other.

    Args:
        costs: Lower is better.
        qualities: Higher is better, of the same length.

    Returns:
        Indices by rising cost, then as given.
    """
    order = sorted(range(len(costs)), key=lambda index: (costs[index], -qualities[index]))
    front: list[int] = []
    for index in order:
        best = front[-1] if front else None
        better = best is None or qualities[index] > qualities[best]
        equal = best is not None and (costs[index], qualities[index]) == (costs[best], qualities[best])
        if better or equal:
            front.append(index)
    return tuple(front)
