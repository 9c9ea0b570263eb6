"""Seven shoulder exercises on a smartwatch: accelerometer and gyroscope, 50 Hz, ten people, in ``data/motion``.

``data/motion/README.md`` is the data card and ``edgewright.pipeline.datasets.make_motion`` makes the file. Windows of
one person overlap and repeat each other: people are the groups, and ten is how many there are
(``docs/decisions/0010-ten-people.md``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.shipped import read_shipped, shipped_sha256
from edgewright.pipeline.datasets.windows import check_window, cut_windows

NAME = "motion"
LABELS_NAMES = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
CHANNEL_NAMES = ("ax", "ay", "az", "wx", "wy", "wz")
SAMPLING_HZ = 50
SHIPPED_FILE = Path("data") / "motion" / "motion.npz.xz"
SHIPPED_SHA256 = "7b7d6d5cb20d4d79c6decb10bc41d0c4a3c5b5d54641a65ec715ff5fa8e4025f"

# The file holds whole steps: 1/4096 g and 1/1024 rad/s are powers of two, so that a float32 holds every value exactly.
STEPS_PER_UNIT = (4096, 4096, 4096, 1024, 1024, 1024)

# 3.2 s: the slowest recording takes 2.62 s per repetition on average, so that every window holds a whole one; and 160
# halves five times, which strided networks like. Half of it as stride: every moment is seen twice, at two phases.
WINDOW_SAMPLES = 160
STRIDE_SAMPLES = 80


def load(window_samples: int = WINDOW_SAMPLES, stride_samples: int = STRIDE_SAMPLES) -> Dataset:
    """Load the recordings, cut into windows that never leave their recording.

    Args:
        window_samples: Length of a window, in samples of 20 ms; at most the shortest recording's 947.
        stride_samples: From one window's start to the next one's.

    Returns:
        Windows float32 ``[N, T, 6]``: acceleration with gravity in g, angular velocity in rad/s. N = 2,854 as it is by
        default. Groups are the people; columns are ``recording`` (140 of them) and ``side`` (left, right).

    Raises:
        DataError: The file is absent or damaged, or a recording is shorter than a window.
    """
    check_window(NAME, window_samples, stride_samples)
    arrays = read_shipped(NAME, SHIPPED_FILE, SHIPPED_SHA256)
    lengths = arrays["lengths"]
    if window_samples > lengths.min():
        raise DataError(
            f"{NAME}: window_samples is {window_samples}, but the shortest recording has {lengths.min()}. Lower it."
        )
    series = arrays["samples"].T.astype(np.float32) / np.array(STEPS_PER_UNIT, dtype=np.float32)
    recordings = np.split(series, np.cumsum(lengths)[:-1])
    windows = [cut_windows(recording, window_samples, stride_samples) for recording in recordings]
    of_recording = np.repeat(np.arange(len(recordings)), [len(part) for part in windows])
    return Dataset(
        name=NAME,
        images=np.concatenate(windows),
        labels=arrays["exercise"][of_recording].astype(np.int64),
        labels_names=LABELS_NAMES,
        fixed_split=None,
        groups=tuple(f"person {number:02}" for number in arrays["person"][of_recording].tolist()),
        source=str(SHIPPED_FILE),
        kind="window",
        channel_names=CHANNEL_NAMES,
        columns={
            "recording": tuple(f"recording {number:03}" for number in of_recording.tolist()),
            "side": tuple("right" if right else "left" for right in arrays["right"][of_recording].tolist()),
        },
    )


def source_sha256() -> dict[str, str]:
    """Digest the file that ``load`` would read, without decoding it.

    Returns:
        sha256 (hex) by file name.

    Raises:
        DataError: The file is absent.
    """
    return shipped_sha256(NAME, SHIPPED_FILE)
