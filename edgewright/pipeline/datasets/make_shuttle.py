"""Make the file of shuttle that ships: ``python -m edgewright.pipeline.datasets.make_shuttle PATH_TO_SHUTTLE_CSV_GZ``.

PATH_TO_SHUTTLE_CSV_GZ is ``river/datasets/shuttle.csv.gz`` of the package ``river`` 0.26.1.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import lzma
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets import shuttle
from edgewright.pipeline.datasets.shipped import pack_to_ship

HEADER = "f1,f2,f3,f4,f5,f6,f7,f8,f9,anomaly"
MAX_BYTES = 3_000_000
# Row after row: what compressed best of the layouts tried.
_XZ_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]


def read_package(path: Path) -> npt.NDArray[np.int16]:
    """Read the package's file.

    Returns:
        int16 ``[N, 10]``: the nine attributes, then 1 for an anomaly and 0 otherwise.

    Raises:
        DataError: Another header, or a value that is not a whole number within int16, or a label that is not 0 or 1.
    """
    header, *lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
    if header != HEADER:
        raise DataError(f'{path}: the header is "{header}", needs to be "{HEADER}". Take the file from river 0.26.1.')
    try:
        table = np.array([line.split(",") for line in lines], dtype=np.str_).astype(np.int16)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a table of whole numbers within int16 ({error}). Fetch it again.") from error
    if table.shape[1] != len(HEADER.split(",")) or not np.isin(table[:, -1], (0, 1)).all():
        raise DataError(f"{path}: {table.shape[1]} columns or a label that is not 0 or 1. Fetch it again.")
    return table


def pack(table: npt.NDArray[np.int16]) -> bytes:
    """Pack the rows losslessly: an npz of int16 attributes and a mask of anomalies, inside xz.

    Raises:
        DataError: The result is larger than what may ship.
    """
    arrays = {"rows": np.ascontiguousarray(table[:, :-1]), "anomaly": table[:, -1] == 1}
    return pack_to_ship(shuttle.NAME, arrays, _XZ_FILTERS, MAX_BYTES, "Leave rows out.")


def main() -> None:
    """Read the package's file, write ``data/shuttle/shuttle.npz.xz``, print the digest for code and data card."""
    parser = argparse.ArgumentParser(description="Make the file of shuttle that ships.")
    parser.add_argument("shuttle_csv_gz", type=Path, help="river/datasets/shuttle.csv.gz of river 0.26.1")
    parser.add_argument("--out", type=Path, default=shuttle.SHIPPED_FILE, help="default: %(default)s")
    arguments = parser.parse_args()
    table = read_package(arguments.shuttle_csv_gz)
    packed = pack(table)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(packed)
    print(f"{arguments.out}: {len(packed)} bytes, {len(table)} rows, {int(table[:, -1].sum())} anomalies")
    print(f"sha256 of the file (shuttle.SHIPPED_SHA256): {hashlib.sha256(packed).hexdigest()}")


if __name__ == "__main__":
    main()
