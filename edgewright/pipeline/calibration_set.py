"""Calibration samples: which samples of the calibration split INT8 ranges are taken from.

Chance has no part in the choice: it follows from the samples' digests, so the same content gives the same set on any
machine and in any order. Other sets of the same kind, to see how much the choice matters, come from salted digests.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import CalibrationError
from edgewright.pipeline.task_settings import AnomalySettings, RegressionSettings, TaskSettings

# Gives the calibration inputs anew at every call, batch by batch: float32 [N, C, H, W].
Batches = Callable[[], Iterator[npt.NDArray[np.float32]]]
# The intermediate tensors of one batch are all that calibration holds at a time.
_BATCH_SAMPLES = 16
# How many bands of values a regression's coverage is told in.
_VALUE_BANDS = 4


@dataclass(frozen=True)
class CalibrationSet:
    """The samples that ranges are taken from.

    Attributes:
        indices: Their positions in the calibration split.
        sample_sha256: Their digests.
        coverage: How many there are by class name; for a regression by band of values.
        eligible: Samples of the split that could have been taken.
        chosen: How they were chosen, for people.
    """

    indices: tuple[int, ...]
    sample_sha256: tuple[str, ...]
    coverage: dict[str, int]
    eligible: int
    chosen: str


def select_calibration_set(
    labels: npt.NDArray[Any],
    sample_sha256: Sequence[str],
    class_names: tuple[str, ...],
    count: int,
    task: TaskSettings,
    resample: int | None = None,
) -> CalibrationSet:
    """Takes ``count`` samples of the calibration split.

    Classification: classes in turn, each class in the order of its digests. Anomaly: normal samples alone, in that order.
    Regression: the samples are sorted by value and cut into ``count`` runs; each run gives the sample of smallest digest.

    Args:
        labels: Of the calibration split: class indices, int64 ``[N]``; for a regression float64 values ``[N]``.
        sample_sha256: Digests of the samples.
        class_names: Names of the classes; none for a regression.
        count: Samples to take.
        task: The kind of question.
        resample: Takes another set of the same kind: number of the resampling, which salts the digests.

    Raises:
        CalibrationError: Too few samples, or a class is missing.
    """
    order = sample_sha256 if resample is None else [_salted(digest, resample) for digest in sample_sha256]
    if isinstance(task, AnomalySettings):
        wanted = [class_names.index(task.normal)]
        candidates = np.flatnonzero(labels == wanted[0])
        what, chosen = f"{task.normal!r} samples", "normal samples alone, in the order of their digests"
    else:
        wanted = list(range(len(class_names)))
        candidates = np.arange(len(labels))
        what, chosen = "samples", "classes in turn, each in the order of its digests"
    if len(candidates) < count:
        raise CalibrationError(
            f"calibration split has {len(candidates)} {what}, needs at least {count} (data.calibration_samples). "
            "Lower it, or give the split more (data.calibration_share, or with folds data.folds.calibration_groups)."
        )
    if isinstance(task, RegressionSettings):
        taken = _spread_over_values(labels, order, count)
        chosen = "evenly spread over the sorted values, in each part the smallest digest"
        coverage = _by_value(labels, taken)
    else:
        taken = _classes_in_turn(labels, order, class_names, count, wanted)
        found = Counter(int(labels[index]) for index in taken)
        coverage = {name: found[index] for index, name in enumerate(class_names)}
    return CalibrationSet(
        indices=tuple(taken),
        sample_sha256=tuple(sample_sha256[index] for index in taken),
        coverage=coverage,
        eligible=len(candidates),
        chosen=chosen,
    )


def in_batches(
    raw: npt.NDArray[Any],
    indices: Sequence[int],
    preprocess: Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]],
) -> Batches:
    """The chosen samples as model inputs; each batch is made when it is asked for, so that only one is in memory."""

    def batches() -> Iterator[npt.NDArray[np.float32]]:
        for start in range(0, len(indices), _BATCH_SAMPLES):
            yield preprocess(raw[list(indices[start : start + _BATCH_SAMPLES])])

    return batches


def _salted(digest: str, resample: int) -> str:
    return hashlib.sha256(f"resample {resample} {digest}".encode()).hexdigest()


def _classes_in_turn(
    labels: npt.NDArray[Any],
    order: Sequence[str],
    class_names: tuple[str, ...],
    count: int,
    wanted: list[int],
) -> list[int]:
    queues = [sorted(np.flatnonzero(labels == index).tolist(), key=lambda i: order[i]) for index in wanted]
    missing = [class_names[index] for index, queue in zip(wanted, queues, strict=True) if not queue]
    if missing:
        raise CalibrationError(
            f"calibration split has no sample of class {missing[0]!r}. Give the split more "
            "(data.calibration_share, or with folds data.folds.calibration_groups)."
        )
    taken: list[int] = []
    depth = 0
    while len(taken) < count:
        taken += [queue[depth] for queue in queues if depth < len(queue)][: count - len(taken)]
        depth += 1
    return taken


def _spread_over_values(values: npt.NDArray[Any], order: Sequence[str], count: int) -> list[int]:
    ranked = sorted(range(len(values)), key=lambda i: (values[i], order[i]))
    starts = [len(ranked) * part // count for part in range(count + 1)]
    return [min(ranked[start:end], key=lambda i: order[i]) for start, end in pairwise(starts)]


def _by_value(values: npt.NDArray[Any], taken: list[int]) -> dict[str, int]:
    """Number of samples in bands of equal width between the split's lowest and highest value."""
    edges = np.linspace(values.min(), values.max(), _VALUE_BANDS + 1)
    bands = np.clip(np.searchsorted(edges, values[taken], side="right") - 1, 0, _VALUE_BANDS - 1)
    counts = np.bincount(bands, minlength=_VALUE_BANDS)
    return {f"{edges[band]:.6g} to {edges[band + 1]:.6g}": int(counts[band]) for band in range(_VALUE_BANDS)}
