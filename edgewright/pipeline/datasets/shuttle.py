"""Nine attributes of a NASA space shuttle's radiators, normal or anomalous, in ``data/shuttle``.

``data/shuttle/README.md`` is the data card and ``edgewright.pipeline.datasets.make_shuttle`` makes the file. The
published order was shuffled: a row is a sample, and there are no windows to be cut.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.shipped import read_shipped, shipped_sha256

NAME = "shuttle"
LABELS_NAMES = ("normal", "anomaly")
# The publisher calls the first one time and describes none of the others.
CHANNEL_NAMES = ("time", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9")
SHIPPED_FILE = Path("data") / "shuttle" / "shuttle.npz.xz"
SHIPPED_SHA256 = "a43d098056cfac0150688952eefe46716cb66504b3e2428b84c7c2643555d38a"


def load() -> Dataset:
    """Load all rows in the published order.

    Returns:
        Rows float32 ``[49097, 9]``, whole numbers; 7.2 % are anomalies. Nothing says which rows belong together:
        there are no groups.

    Raises:
        DataError: The file is absent or damaged.
    """
    arrays = read_shipped(NAME, SHIPPED_FILE, SHIPPED_SHA256)
    return Dataset(
        name=NAME,
        images=arrays["rows"].astype(np.float32),
        labels=arrays["anomaly"].astype(np.int64),
        labels_names=LABELS_NAMES,
        fixed_split=None,
        groups=None,
        source=str(SHIPPED_FILE),
        kind="row",
        channel_names=CHANNEL_NAMES,
    )


def source_sha256() -> dict[str, str]:
    """Digest the file that ``load`` would read, without decoding it.

    Returns:
        sha256 (hex) by file name.

    Raises:
        DataError: The file is absent.
    """
    return shipped_sha256(NAME, SHIPPED_FILE)
