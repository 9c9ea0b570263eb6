"""Stage 1: the data set as this build sees it, in four disjoint splits under one digest; with folds, once per fold."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.collected import CollectedSamples, join
from edgewright.pipeline.data_settings import DataSettings
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.loading import open_source
from edgewright.pipeline.folds import GroupFolds, take_folds
from edgewright.pipeline.snapshot import Snapshot, take_snapshot
from edgewright.pipeline.split_rule import Minimums, SplitRule
from edgewright.pipeline.task_settings import AnomalySettings, RegressionSettings, TaskSettings
from edgewright.preprocessing import Preprocessing, SampleKind

STAGE = Stage("snapshot", "edgewright.pipeline.stages.snapshot", ("numpy", "pillow", "pyarrow"))

# Means and deviations keep this many digits of the deviation: more would only make manifests hard to read.
_STATISTICS_DIGITS = 4
# A mean of values has no margin to be judged against; below 30 samples a t interval trusts a shape nobody has seen.
_LEAST_TEST_VALUES = 30
_SAMPLES_PER_CHUNK = 1000
# Far above the smallest float32, so that a deviation never becomes 0 on its way to the device.
_LEAST_SPREAD = 1e-30


@dataclass(frozen=True)
class ValueStatistics:
    """The values of the training split.

    Attributes:
        mean: Their mean.
        std: Their standard deviation, above 0.
        naive_error: Mean absolute error of whoever always answers their median.
    """

    mean: float
    std: float
    naive_error: float


@dataclass(frozen=True)
class SnapshotResult:
    """A snapshot in the store.

    Attributes:
        sha256: Digest of the content: samples, labels, splits.
        arrays: The samples (npz).
        card: Summary (JSON).
        class_names: One name per class; none where the labels are values.
        samples: Number of samples by split.
        input_shape: Channels, height, width of the model's input.
        mean: Per channel over the training split (of anomalies: its normal samples), after scaling.
        std: Likewise.
        kind: What a sample is.
        dtype: Of a raw sample.
        scale: Factor that brings raw values to the range in which mean and std were taken.
        channel_names: One name per channel; None where they have none.
        groups: Number of groups by split; None where samples stand alone.
        columns: Names of what else is known of each sample.
        values: The training values, where the labels are values.
        fold: Which fold this is, from 0; None where there are no folds.
    """

    sha256: str
    arrays: Artifact
    card: Artifact
    class_names: tuple[str, ...]
    samples: dict[str, int]
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    kind: SampleKind = "image"
    dtype: Literal["uint8", "float32"] = "uint8"
    scale: float = 1 / 255
    channel_names: tuple[str, ...] | None = None
    groups: dict[str, int] | None = None
    columns: tuple[str, ...] = ()
    values: ValueStatistics | None = None
    fold: int | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """Raw sample to model input, the same in training, evaluation and on the device."""
        return Preprocessing(self.input_shape, self.scale, self.mean, self.std, self.kind, self.dtype)


@dataclass(frozen=True)
class SnapshotsResult:
    """Every fold's snapshot in the store.

    Attributes:
        folds: One per fold; a single one where there are no folds.
    """

    folds: tuple[SnapshotResult, ...]


def run(
    store: ArtifactStore, data: DataSettings, task: TaskSettings, collection: CollectedSamples | None = None
) -> Outcome[SnapshotsResult]:
    """Loads, checks and splits the data set.

    Args:
        store: Where snapshots are kept.
        data: Which samples, and how they are split.
        task: What is asked of them: whether labels are classes or values, and which class is normal.
        collection: Samples that were taken in since and join the splits; None: the recipe's own data alone.

    Raises:
        DataError: The data breaks a rule, or what was taken in does not fit it.
    """
    source = open_source(data, task)
    # Another number of calibration samples or another metric is the same snapshot; only what follows from it changes.
    inputs = {
        "settings": data.model_dump(mode="json"),
        "task": {"kind": task.kind, "normal": task.normal if isinstance(task, AnomalySettings) else None},
        "files": source.sha256,
        # Without a collection, what a build is remembered under is what it always was.
        **({} if collection is None else {"collection": collection.inputs(test_is_fixed=fixes_test(data))}),
    }

    def load_all() -> Dataset:
        return source.load() if collection is None else join(store, source.load(), collection)

    return store.run_stage(STAGE, inputs, SnapshotsResult, lambda: _take(store, load_all(), data, task))


def fixes_test(data: DataSettings) -> bool:
    """Whether the publisher fixed the test split, so that no share of the data's own makes one."""
    rule = data.split
    return isinstance(rule, SplitRule) and rule.test_share == 0


def split_dataset(dataset: Dataset, data: DataSettings, task: TaskSettings) -> tuple[Snapshot, ...]:
    """Splits a data set as a recipe asks for it, and checks the splits.

    Returns:
        One snapshot per fold; a single one where there are no folds.

    Raises:
        DataError: The data breaks a rule, or a channel has no spread to be centred by.
    """
    minimums = Minimums(
        calibration_samples=data.calibration_samples,
        test_samples=_LEAST_TEST_VALUES if isinstance(task, RegressionSettings) else Minimums.test_samples,
        normal=task.normal if isinstance(task, AnomalySettings) else None,
    )
    rule = data.split
    if isinstance(rule, GroupFolds):
        snapshots = take_folds(dataset, rule, minimums)
    else:
        snapshots = (take_snapshot(dataset, rule, minimums),)
    for snapshot in snapshots:
        _check_channels(snapshot, _learned_from(snapshot, task))
    return snapshots


def load(store: ArtifactStore, result: SnapshotResult) -> Snapshot:
    """Reads a snapshot back from the store, verified by its digest."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "snapshot.npz").symlink_to(store.path(result.arrays))
        (Path(scratch) / "snapshot.json").symlink_to(store.path(result.card))
        return Snapshot.load(Path(scratch))


def input_shape_of(kind: SampleKind, raw_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape of the model's input: channels, height, width.

    Args:
        kind: What a sample is.
        raw_shape: Shape of one raw sample, without the axis of samples.
    """
    if kind == "row":
        return raw_shape[0], 1, 1
    if kind == "window":
        return raw_shape[1], 1, raw_shape[0]
    return (raw_shape[2] if len(raw_shape) == 3 else 1), raw_shape[0], raw_shape[1]


def _take(store: ArtifactStore, dataset: Dataset, data: DataSettings, task: TaskSettings) -> SnapshotsResult:
    snapshots = split_dataset(dataset, data, task)
    in_folds = isinstance(data.split, GroupFolds)
    return SnapshotsResult(
        tuple(_keep(store, snapshot, task, fold if in_folds else None) for fold, snapshot in enumerate(snapshots))
    )


def _keep(store: ArtifactStore, snapshot: Snapshot, task: TaskSettings, fold: int | None) -> SnapshotResult:
    train = snapshot.train
    scale = 1 / 255 if train.images.dtype == np.uint8 else 1.0
    shape = input_shape_of(snapshot.kind, train.images.shape[1:])
    mean, std = _moments(_learned_from(snapshot, task), shape[0], scale)
    with tempfile.TemporaryDirectory() as scratch:
        snapshot.save(Path(scratch))
        arrays = store.put_file(Path(scratch) / "snapshot.npz")
        card = store.put_file(Path(scratch) / "snapshot.json")
    return SnapshotResult(
        sha256=snapshot.sha256,
        arrays=arrays,
        card=card,
        class_names=snapshot.labels_names,
        samples={name: len(split.labels) for name, split in snapshot.splits.items()},
        input_shape=shape,
        mean=mean,
        std=std,
        kind=snapshot.kind,
        dtype="uint8" if train.images.dtype == np.uint8 else "float32",
        scale=scale,
        channel_names=snapshot.channel_names,
        groups=_count_groups(snapshot),
        columns=tuple(sorted(train.columns)),
        values=None if snapshot.labels_names else _value_statistics(train.labels),
        fold=fold,
    )


def _learned_from(snapshot: Snapshot, task: TaskSettings) -> npt.NDArray[Any]:
    """The training samples that a network may learn from: of anomalies the normal ones, else all."""
    train = snapshot.train
    if not isinstance(task, AnomalySettings):
        return train.images
    normal: npt.NDArray[Any] = train.images[train.labels == snapshot.labels_names.index(task.normal)]
    return normal


def _check_channels(snapshot: Snapshot, samples: npt.NDArray[Any]) -> None:
    channels = input_shape_of(snapshot.kind, samples.shape[1:])[0]
    chunks = [(chunk.min(axis=0), chunk.max(axis=0)) for chunk in _chunks(samples, channels)]
    least = np.min([low for low, _ in chunks], axis=0)
    largest = np.max([high for _, high in chunks], axis=0)
    for channel in np.flatnonzero(largest.astype(np.float64) - least < _LEAST_SPREAD):
        name = f'"{snapshot.channel_names[channel]}"' if snapshot.channel_names else str(channel)
        raise DataError(
            f"{snapshot.name} ({snapshot.source}): channel {name} is {least[channel]:g} in all {len(samples)} samples that "
            "are learned from, needs values that differ: it says nothing and cannot be centred. Drop the channel."
        )


def _moments(samples: npt.NDArray[Any], channels: int, scale: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, rounded to digits of the deviation, in memory for one chunk only."""
    values_per_channel = samples.size // channels
    total = sum(chunk.sum(axis=0, dtype=np.float64) for chunk in _chunks(samples, channels))
    mean = total / values_per_channel
    squares = sum(np.square(chunk - mean).sum(axis=0) for chunk in _chunks(samples, channels))
    pairs = [_rounded(m * scale, s * scale) for m, s in zip(mean, np.sqrt(squares / values_per_channel), strict=True)]
    return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)


def _rounded(mean: float, std: float) -> tuple[float, float]:
    # Of the deviation, and not after the point: what spreads by 0.00001 must not be divided by 0.
    digits = _STATISTICS_DIGITS - 1 - math.floor(math.log10(std))
    return round(float(mean), digits), round(float(std), digits)


def _chunks(samples: npt.NDArray[Any], channels: int) -> Iterator[npt.NDArray[Any]]:
    """The values of some samples at a time, ``[n, channels]``: images, windows and rows all end in their channels."""
    for start in range(0, len(samples), _SAMPLES_PER_CHUNK):
        yield samples[start : start + _SAMPLES_PER_CHUNK].reshape(-1, channels)


def _count_groups(snapshot: Snapshot) -> dict[str, int] | None:
    counts: dict[str, int] = {}
    for name, split in snapshot.splits.items():
        if split.groups is None:
            return None
        counts[name] = len(set(split.groups))
    return counts


def _value_statistics(values: npt.NDArray[np.float64]) -> ValueStatistics:
    mean, std = _rounded(values.mean(), values.std())
    return ValueStatistics(mean, std, float(np.abs(values - np.median(values)).mean()))
