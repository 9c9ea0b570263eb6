"""Make the file of motion that ships: ``python -m edgewright.pipeline.datasets.make_motion PATH_TO_WATCH_DATASET``.

PATH_TO_WATCH_DATASET is ``seglearn/data/watch_dataset.npy`` of the package ``seglearn`` 1.2.5, 18 MB of float64. Steps in
int16 were chosen over float16 because their error has one bound over the whole range (0.49 mrad/s and 0.12 mg, instead
of up to 6.8 mrad/s and 2 mg) in a smaller file (1.92 MB instead of 2.08).
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets import motion
from edgewright.pipeline.datasets.shipped import file_sha256, pack_to_ship

PACKAGE_FILE_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
MAX_BYTES = 3_000_000
# One channel after the other, each as differences of its neighbours: what compressed best of the layouts tried.
_XZ_FILTERS = [
    {"id": lzma.FILTER_DELTA, "dist": 2},
    {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 3, "lp": 1, "pb": 1},
]


@dataclass(frozen=True, eq=False)
class Recordings:
    """What the package publishes.

    Attributes:
        series: float64 ``[L, 6]`` per recording, channels as ``motion.CHANNEL_NAMES``.
        exercise: Positions in ``motion.LABELS_NAMES``, ``[R]``.
        person: 1 … 10, ``[R]``.
        right: True for the right arm, ``[R]``.
    """

    series: list[npt.NDArray[np.float64]]
    exercise: npt.NDArray[np.uint8]
    person: npt.NDArray[np.uint8]
    right: npt.NDArray[np.bool_]


def read_package(path: Path) -> Recordings:
    """Read the package's file, after its digest: it is a pickle, and a pickle runs what it contains.

    Raises:
        DataError: It is not the file of ``seglearn`` 1.2.5, or its channels or exercises are not the known ones.
    """
    found = file_sha256(path)
    if found != PACKAGE_FILE_SHA256:
        raise DataError(
            f"{path}: sha256 is {found}, must be {PACKAGE_FILE_SHA256}. Take watch_dataset.npy from seglearn 1.2.5."
        )
    published: dict[str, Any] = np.load(path, allow_pickle=True).item()
    names = (tuple(published["X_labels"]), tuple(published["y_labels"]))
    if names != (motion.CHANNEL_NAMES, motion.LABELS_NAMES):
        raise DataError(f"{path}: channels and exercises are {names}, need those of motion.py, in that order.")
    return Recordings(
        series=list(published["X"]),
        exercise=np.asarray(published["y"]).astype(np.uint8),
        person=np.asarray(published["subject"]).astype(np.uint8),
        right=np.asarray(published["side"]) == 1,
    )


def quantize(series: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
    """Round to whole steps.

    Args:
        series: float64 ``[L, 6]``.

    Returns:
        int16 ``[L, 6]``, at most half a step off.

    Raises:
        DataError: A value is not finite or lies outside what int16 holds.
    """
    steps = np.rint(series * motion.STEPS_PER_UNIT)
    limits = np.iinfo(np.int16)
    if not (np.isfinite(steps) & (steps >= limits.min) & (steps <= limits.max)).all():
        raise DataError(
            f"motion: a value is NaN or beyond {limits.min} to {limits.max} steps (the largest is "
            f"{np.abs(steps).max():g}). Lower STEPS_PER_UNIT."
        )
    return steps.astype(np.int16)


def pack(recordings: Recordings) -> bytes:
    """Pack the recordings: an npz of int16 samples ``[6, sum of L]`` and what is known of each recording, inside xz.

    Raises:
        DataError: A value does not fit, or the result is larger than what may ship.
    """
    arrays: dict[str, npt.NDArray[Any]] = {
        "samples": np.ascontiguousarray(np.concatenate([quantize(series) for series in recordings.series]).T),
        "lengths": np.array([len(series) for series in recordings.series], dtype=np.int32),
        "exercise": recordings.exercise,
        "person": recordings.person,
        "right": recordings.right,
    }
    return pack_to_ship(motion.NAME, arrays, _XZ_FILTERS, MAX_BYTES, "Lower STEPS_PER_UNIT.")


def main() -> None:
    """Read the package's file, write ``data/motion/motion.npz.xz``, print digest and loss for code and data card."""
    parser = argparse.ArgumentParser(description="Make the file of motion that ships.")
    parser.add_argument("watch_dataset", type=Path, help="seglearn/data/watch_dataset.npy of seglearn 1.2.5")
    parser.add_argument("--out", type=Path, default=motion.SHIPPED_FILE, help="default: %(default)s")
    arguments = parser.parse_args()
    recordings = read_package(arguments.watch_dataset)
    packed = pack(recordings)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(packed)
    print(f"{arguments.out}: {len(packed)} bytes, {len(recordings.series)} recordings")
    print(f"sha256 of the file (motion.SHIPPED_SHA256): {hashlib.sha256(packed).hexdigest()}")
    series = np.concatenate(recordings.series)
    error = quantize(series) / np.array(motion.STEPS_PER_UNIT) - series
    for name, signal, loss in zip(motion.CHANNEL_NAMES, series.T, error.T, strict=True):
        rms = float(np.sqrt(np.mean(loss**2)))
        print(
            f"{name}: rounding error {rms:.2g} rms, signal {signal.std():.2g}: {20 * np.log10(signal.std() / rms):.0f} dB"
        )


if __name__ == "__main__":
    main()
