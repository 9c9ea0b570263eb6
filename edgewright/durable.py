"""Files that survive a power cut: contents are flushed, then names, then the folder that holds the names.

Leaving out the flush of the folder, or of the file, leaves states after a crash in which a new name points at old or
empty bytes; overwriting in place leaves torn files.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_file(path: Path) -> None:
    """Make the contents of a file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file that did not exist and flush its contents; the caller flushes the folder."""
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Write a whole file in one step: a reader, also one after a power cut, sees the old bytes or the new ones."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)  # mkstemp gives 0600, which the user of a container could not read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)


def replace_link(link: Path, points_at: str) -> None:
    """Point a symbolic link somewhere else in one step."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(points_at)
        temporary.replace(link)
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(link.parent)
