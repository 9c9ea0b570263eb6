"""Stage 1: the data set as this build sees it, in four disjoint splits under one digest."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import take_subset
from edgewright.pipeline.recipe import DataSettings
from edgewright.pipeline.snapshot import Minimums, Snapshot, SplitRule, take_snapshot
from edgewright.preprocessing import Preprocessing

STAGE = Stage("snapshot", "edgewright.pipeline.stages.snapshot", ("numpy",))

# Means and deviations are rounded: more digits would only make manifests hard to read.
_STATISTICS_DIGITS = 4


@dataclass(frozen=True)
class SnapshotResult:
    """A snapshot in the store.

    Attributes:
        sha256: Digest of the content: samples, labels, splits.
        arrays: The samples (npz).
        card: Summary (JSON).
        class_names: One name per class.
        samples: Number of samples by split.
        input_shape: Channels, height, width.
        mean: Per channel over the training split, after scaling to 0..1.
        std: Likewise.
    """

    sha256: str
    arrays: Artifact
    card: Artifact
    class_names: tuple[str, ...]
    samples: dict[str, int]
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def preprocessing(self) -> Preprocessing:
        """Raw sample to model input, the same in training, evaluation and on the device."""
        return Preprocessing(self.input_shape, 1 / 255, self.mean, self.std)


def run(store: ArtifactStore, settings: DataSettings) -> Outcome[SnapshotResult]:
    """Loads, checks and splits the data set.

    Raises:
        DataError: The data breaks a rule.
    """
    package_folder = Path(settings.package_folder) if settings.package_folder else None
    # The number of calibration samples is used later; only whether the split has that many concerns the snapshot.
    inputs = {
        "settings": settings.model_dump(mode="json"),
        "files": digits.source_sha256(settings.source, package_folder),
    }
    return store.run_stage(STAGE, inputs, SnapshotResult, lambda: _take(store, settings, package_folder))


def _take(store: ArtifactStore, settings: DataSettings, package_folder: Path | None) -> SnapshotResult:
    dataset = digits.load(settings.source, package_folder)
    if settings.limit_per_class is not None:
        dataset = take_subset(dataset, settings.limit_per_class)
    rule = SplitRule(settings.calibration_share, settings.validation_share)
    snapshot = take_snapshot(dataset, rule, Minimums(calibration_samples=settings.calibration_samples))
    images = snapshot.train.images
    channels = 1 if images.ndim == 3 else images.shape[3]
    scaled = images.reshape(-1, channels).astype(np.float64) / 255
    with tempfile.TemporaryDirectory() as scratch:
        snapshot.save(Path(scratch))
        return SnapshotResult(
            sha256=snapshot.sha256,
            arrays=store.put_file(Path(scratch) / "snapshot.npz"),
            card=store.put_file(Path(scratch) / "snapshot.json"),
            class_names=snapshot.labels_names,
            samples={name: len(split.labels) for name, split in snapshot.splits.items()},
            input_shape=(channels, images.shape[1], images.shape[2]),
            mean=_rounded(scaled.mean(axis=0)),
            std=_rounded(scaled.std(axis=0)),
        )


def _rounded(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), _STATISTICS_DIGITS) for value in values)


def load(store: ArtifactStore, result: SnapshotResult) -> Snapshot:
    """Reads a snapshot back from the store, verified by its digest."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "snapshot.npz").symlink_to(store.path(result.arrays))
        (Path(scratch) / "snapshot.json").symlink_to(store.path(result.card))
        return Snapshot.load(Path(scratch))
