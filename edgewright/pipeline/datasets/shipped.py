"""Read a data file that ships with the checkout: found, verified by its digest, unpacked."""

from __future__ import annotations

import hashlib
import io
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError


def find_shipped(name: str, file: Path) -> Path:
    """Find a file that ships.

    Args:
        name: The data set; errors start with it.
        file: The file's path below the checkout, e.g. ``data/motion/motion.npz.xz``.

    Raises:
        DataError: It is neither beside the package nor under the current folder.
    """
    # The data belongs to the checkout, not to the wheel: beside the package first, then where the person stands.
    candidates = (Path(__file__).resolve().parents[3] / file, file.absolute())
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(
        f"{name}: {file} is neither at {candidates[0]} nor at {candidates[1]}. Run in a checkout of edgewright."
    )


def read_shipped(name: str, file: Path, sha256: str) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an npz without pickle inside xz.

    Args:
        name: The data set; errors start with it.
        file: The file's path below the checkout.
        sha256: What the file's digest must be.

    Raises:
        DataError: The file is absent, damaged or not the one that ships.
    """
    path = find_shipped(name, file)
    compressed = path.read_bytes()
    found = hashlib.sha256(compressed).hexdigest()
    if found != sha256:
        raise DataError(
            f"{path}: sha256 is {found}, must be {sha256}. "
            f"The file was damaged or replaced: restore it with `git checkout -- {file}`."
        )
    with np.load(io.BytesIO(lzma.decompress(compressed)), allow_pickle=False) as arrays:
        return dict(arrays)


def file_sha256(path: Path) -> str:
    """Digest a file's bytes: sha256, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
