"""When a pruning schedule takes its steps, and how far each goes: pure arithmetic."""

from __future__ import annotations

import math


def polynomial_sparsities(target: float, steps: int, power: float) -> list[float]:
    """Sparsity before the first and after each step of a polynomial decay (Zhu and Gupta 2017).

    Args:
        target: Sparsity after the last step, 0..1.
        steps: Number of steps.
        power: Exponent; above 1 the early steps are the large ones, as long as there is most to spare.

    Returns:
        ``steps + 1`` sparsities, from 0 to exactly ``target``.
    """
    return [target * (1 - (1 - step / steps) ** power) for step in range(steps + 1)]


def steps_due(steps: int, done: float, begin: float, end: float) -> int:
    """Steps that must have been taken: the first at ``begin``, the last at ``end``, evenly between.

    Args:
        steps: Number of steps in all.
        done: Fraction of the training that is done, 0..1.
        begin: Fraction at which the first is taken.
        end: Fraction at which the last is taken.
    """
    if done < begin:
        return 0
    return min(steps, math.floor(1 + (steps - 1) * min(1.0, (done - begin) / (end - begin))))
