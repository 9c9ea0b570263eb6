"""Bounds of figures over samples that come in groups: people, recordings, devices. Groups count, samples do not.

What is taken per group and averaged (accuracy, skill) has Student's t bounds over the groups' means; what is no mean of
the groups (balanced accuracy) has t bounds over a jackknife that leaves out one group at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgewright.pipeline.estimate import Estimate, t_around, t_estimate


def group_positions(groups: Sequence[str]) -> NDArray[np.int64]:
    """int64 [N]: the position of each sample's group in the sorted list of the groups' names."""
    positions: NDArray[np.int64] = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].astype(np.int64)
    return positions


def mean_over_groups(values: NDArray[np.float64], group: NDArray[np.int64], confidence: float) -> Estimate:
    """Bounds of the mean over groups of each group's mean.

    Args:
        values: float64 [N], one per sample.
        group: int64 [N], from ``group_positions``, at least two different ones.
        confidence: Of each bound.
    """
    return t_estimate(np.bincount(group, values) / np.bincount(group), confidence)


def mean_over_classes(
    values: NDArray[np.float64], labels: NDArray[np.int64], group: NDArray[np.int64], confidence: float
) -> Estimate:
    """Bounds of the mean over classes of each class's mean, by leaving out one group at a time.

    Args:
        values: float64 [N], one per sample.
        labels: int64 [N]; every class occurs in at least two groups.
        group: int64 [N], from ``group_positions``.
        confidence: Of each bound.
    """
    class_of = np.unique(labels, return_inverse=True)[1]
    classes, groups = int(class_of.max()) + 1, int(group.max()) + 1
    cell = class_of * groups + group
    sums = np.bincount(cell, values, classes * groups).reshape(classes, groups)
    counts = np.bincount(cell, minlength=classes * groups).reshape(classes, groups)
    totals, sizes = sums.sum(axis=1), counts.sum(axis=1)
    figure = float((totals / sizes).mean())
    without = ((totals[:, None] - sums) / (sizes[:, None] - counts)).mean(axis=0)
    spread = float(np.sqrt((groups - 1) / groups * np.sum((without - without.mean()) ** 2)))
    # A class that few groups hold is known by those few alone.
    units = int((counts > 0).sum(axis=1).min())
    return t_around(figure, spread, units, confidence)


def fewest_groups_of_a_class(labels: NDArray[np.int64], group: NDArray[np.int64]) -> tuple[int, int]:
    """The class that the fewest groups hold, and how many these are."""
    pairs = np.unique(np.stack([labels, group]), axis=1)
    names, counts = np.unique(pairs[0], return_counts=True)
    rarest = int(counts.argmin())
    return int(names[rarest]), int(counts[rarest])
