"""The exact unconditional test of a paired difference, ordered by Tango's score: how likely is a table this favourable?

Works on plain numbers and arrays; ``statistics`` puts counts, margins and confidence around it.

Sources: T. Tango, Statistics in Medicine 17 (1998) 891-908 (score and constrained estimate); K. Sidik, Computational
Statistics & Data Analysis 41 (2003) 451-462 (exact unconditional test in that order; the largest probability under the
null hypothesis lies on its boundary).
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Two tables whose scores differ by rounding alone are the same distance from the margin.
TIE = 1e-9
# The tail probability as a function of sqrt(samples x rate) has ripples about 0.4 wide (measured at n = 1,000 and
# 10,000): a step of 0.1 meets each several times. Above n = 13,000 the step grows: the ripples are below 1e-4 there.
_GRID_STEP = 0.1
_GRID_POINTS = 800
# Where the smaller rate is below 2.5 samples, a table is little more than one count, and the p-value is a saw.
_LOW_RATES = 16
# Outside of 6.5 standard deviations lies less than 1e-9 of a binomial; that much is counted against the candidate.
_WINDOW_SD = 6.5


def tango_score(lost: Floats | float, gained: Floats | float, samples: int, drop: float) -> Floats:
    """Tango's score of the hypothesis that the true drop equals ``drop``: about standard normal when it does.

    Args:
        lost: float64, any shape.
        gained: float64, a shape that broadcasts with ``lost``.
        samples: Number of pairs.
        drop: Hypothetical drop as a share, between -1 and 1 exclusive.

    Returns:
        float64 of the broadcast shape; rises with ``lost`` and falls with ``gained``.
    """
    b, c = np.asarray(lost, dtype=np.float64), np.asarray(gained, dtype=np.float64)
    # The constrained estimate q of the rate of gained samples solves 2n q^2 + linear q + constant = 0.
    linear = -b - c + (2 * samples - b + c) * drop
    constant = -c * drop * (1 - drop)
    root = np.sqrt(np.maximum(linear**2 - 8 * samples * constant, 0.0))
    # Two forms of the larger root: each is exact where the other subtracts nearly equal numbers.
    total = linear + root
    away = np.where((linear > 0) & (total > 0), total, 1.0)
    q = np.where(linear > 0, -2 * constant / away, (root - linear) / (4 * samples))
    variance = samples * (2 * q + drop * (1 - drop))
    distance = b - c - samples * drop
    score: Floats = np.where(variance > 0, distance / np.sqrt(np.where(variance > 0, variance, 1.0)), 0.0)
    return score


def largest_tail(
    samples: int, drop: float, score: float, *, stop_above: float = math.inf, low_rates_only: bool = False
) -> float:
    """Largest probability of a score of at most ``score`` under a true drop of ``drop``, over the rate of discordance.

    The search runs over the smaller of the two rates, from 0 to the largest that is possible: first a coarse grid,
    uniform in the rate's square root, then a fine one and the neighbourhoods of its three highest points. A value above
    ``stop_above`` is returned as soon as it is met. With ``low_rates_only`` only the fine grid's beginning is searched.
    """
    boundary = largest_passing(samples, drop, score)
    end = math.sqrt(samples * (1 - abs(drop)) / 2)
    roots = np.linspace(0.0, end, min(max(int(end / _GRID_STEP), 16), _GRID_POINTS) + 1)
    if low_rates_only:
        return float(_tails(samples, drop, boundary, roots[:_LOW_RATES] ** 2 / samples).max())
    coarse = np.unique([*range(8), *range(0, len(roots), 12), len(roots) - 1])
    fine = np.setdiff1d(np.arange(len(roots)), coarse)
    values = np.zeros(len(roots))
    for part in (*_chunks(coarse), *_chunks(fine)):
        values[part] = _tails(samples, drop, boundary, roots[part] ** 2 / samples)
        if values[part].max() > stop_above:
            return float(values[part].max())
    best = float(values.max())
    for peak in np.argsort(values)[-3:]:
        low, high = roots[max(peak - 1, 0)], roots[min(peak + 1, len(roots) - 1)]
        for _ in range(3):
            inner = np.linspace(low, high, 9)
            around = _tails(samples, drop, boundary, np.minimum(inner, end) ** 2 / samples)
            top = int(np.argmax(around))
            best = max(best, float(around[top]))
            low, high = inner[max(top - 1, 0)], inner[min(top + 1, 8)]
    return min(best, 1.0)


def largest_passing(samples: int, drop: float, score: float) -> Floats:
    """float64 [samples + 1]: the largest ``lost`` whose score is at most ``score``, by ``gained``; -1 where none is."""
    gained = np.arange(samples + 1, dtype=np.float64)
    low, high = np.full(samples + 1, -1.0), samples - gained
    while np.any(low < high):
        middle = np.ceil((low + high) / 2)
        inside = tango_score(middle, gained, samples, drop) <= score + TIE
        low, high = np.where(inside, middle, low), np.where(inside, high, middle - 1)
    return low


def _tails(samples: int, drop: float, boundary: Floats, rates: Floats) -> Floats:
    """Probability of ``lost <= boundary[gained]`` for each value of the smaller rate; float64 of the shape of rates."""
    from scipy.special import bdtr, xlog1py, xlogy

    p_lost, p_gained = (rates + drop, rates) if drop >= 0 else (rates, rates - drop)
    reach = _WINDOW_SD * np.sqrt(samples * p_gained * (1 - p_gained)) + 20
    first = np.maximum(samples * p_gained - reach, 0).astype(np.int64)
    window = first[:, None] + np.arange(int(2 * reach.max()) + 2)
    gained = np.minimum(window, samples)
    rest = samples - gained
    log_weight = _log_choose(samples)[gained] + xlogy(gained, p_gained[:, None]) + xlog1py(rest, -p_gained[:, None])
    weight = np.where(window <= samples, np.exp(log_weight), 0.0)
    most = boundary[gained]
    p_lost_of_rest = np.minimum(p_lost / (1 - p_gained), 1.0)[:, None]
    within = np.where(most >= rest, 1.0, bdtr(np.clip(most, 0, rest), rest, p_lost_of_rest))
    inside = (weight * np.where(most < 0, 0.0, within)).sum(axis=1)
    result: Floats = inside + np.maximum(1.0 - weight.sum(axis=1), 0.0)
    return result


def _chunks(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Neighbours together, because one chunk's windows are as wide as its widest; few enough to stop early."""
    return [indices[start : start + 12] for start in range(0, len(indices), 12)]


@functools.lru_cache(maxsize=16)
def _log_choose(samples: int) -> Floats:
    from scipy.special import gammaln

    chosen = np.arange(samples + 1, dtype=np.float64)
    result: Floats = gammaln(samples + 1) - gammaln(chosen + 1) - gammaln(samples - chosen + 1)
    return result
