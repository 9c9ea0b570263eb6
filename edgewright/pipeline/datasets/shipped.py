"""The data files that ship with the checkout: packed once; found, verified by their digest and unpacked ever after."""

from __future__ import annotations

import hashlib
import io
import lzma
from collections.abc import Mapping
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


def shipped_sha256(name: str, file: Path) -> dict[str, str]:
    """Digest a file that ships, without decoding it.

    Returns:
        sha256 (hex) by file name.

    Raises:
        DataError: The file is absent.
    """
    path = find_shipped(name, file)
    return {path.name: file_sha256(path)}


def pack_to_ship(
    name: str, arrays: Mapping[str, npt.NDArray[Any]], filters: list[dict[str, int]], most_bytes: int, remedy: str
) -> bytes:
    """Pack arrays losslessly: an npz without pickle, inside xz; what ``read_shipped`` reads.

    Args:
        name: The data set; errors start with it.
        arrays: What to pack.
        filters: For xz; which are best depends on the data.
        most_bytes: How large the result may be.
        remedy: What to do about one that is larger.

    Raises:
        DataError: The result is larger than what may ship.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    packed = lzma.compress(buffer.getvalue(), format=lzma.FORMAT_XZ, filters=filters)
    if len(packed) > most_bytes:
        raise DataError(f"{name}: {len(packed)} bytes packed, may be {most_bytes} at most. {remedy}")
    return packed


def file_sha256(path: Path) -> str:
    """Digest a file's bytes: sha256, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
