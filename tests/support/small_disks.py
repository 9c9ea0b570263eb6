"""File systems of a few megabytes, and ways to fill them: only root can mount one, elsewhere such tests are skipped."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk_at(place: Path, size_kib: int) -> Iterator[Path]:
    """A file system in memory of that size, at a folder, which is made where it is missing."""
    place.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(place)]
    mounted = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], timeout=20, check=True)


def leave_room(disk: Path, kib: int) -> None:
    """Fills the disk but for so much."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    with filler.open("wb") as file:
        left = shutil.disk_usage(disk).free - kib * 1024
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 16)))
