"""Files that survive a power cut: contents are flushed, then names, then the folder that holds the names.

Leaving out the flush of the folder, or of the file, leaves states after a crash in which a new name points at old or
empty bytes; overwriting in place leaves torn files. Everything here is made of single calls of the operating system, so
that a recording of them is the whole truth about what a crash can leave.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NO_ROOM_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where a disk, or a user's share of it, is full."""
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")
_NO_SECOND_NAMES = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)


def is_no_room(error: BaseException) -> bool:
    """Say whether the system refused to write because a disk, or a user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in NO_ROOM_ERRNOS


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


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably; one that is there stays."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_folder(folder.parent)


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file that did not exist and flush its contents; the caller flushes the folder."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private_file(path: Path, data: bytes) -> None:
    """Write a file that did not exist, that its owner alone may read, in one step; its folder is made where it is missing.

    Raises:
        FileExistsError: There is one of that name.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # its owner's alone
    temporary = Path(name)
    try:
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _take_free_name(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)


@contextmanager
def resumed_file(path: Path, start: int) -> Iterator[Callable[[bytes], None]]:
    """Open a file that grows over several runs, cut off at a position; every write reaches the system at once.

    Nothing is flushed: see `flush_file`.

    Args:
        path: The file; made when absent.
        start: How many of its bytes stay.

    Yields:
        What appends bytes.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(descriptor, start)
        os.lseek(descriptor, start, os.SEEK_SET)
        yield lambda data: _write_all(descriptor, data)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Write a whole file in one step: a reader, also one after a power cut, sees the old bytes or the new ones."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
            os.fchmod(descriptor, 0o644)  # mkstemp gives 0600, which the user of a container could not read
        finally:
            os.close(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)


def keep_beside(path: Path, name: str) -> None:
    """Give a file's contents a second name beside it, which stays when the file is replaced.

    Nothing is written and nothing flushed: the contents are the file's own, and the name becomes durable with the
    flush that replaces the file.
    """
    kept, temporary = path.with_name(name), path.with_name(f".{name}.link")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
        temporary.replace(kept)
    except OSError as cause:
        if cause.errno not in _NO_SECOND_NAMES:  # a file system without links gets a copy
            raise
        replace_file(kept, path.read_bytes())
    finally:
        temporary.unlink(missing_ok=True)  # replacing one name of a file by another of the same does nothing


def remove_tree(path: Path) -> None:
    """Delete a file, a link or a folder with all it holds; what is not there is no error. Nothing is flushed."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for inner in list(path.iterdir()):
        remove_tree(inner)
    path.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed `replace_file` left; only for a folder that nobody else writes to."""
    for path in list(folder.iterdir()):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


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


def _take_free_name(temporary: Path, path: Path) -> None:
    """Give a whole file its name, unless that is taken."""
    try:
        os.link(temporary, path)
    except OSError as cause:
        if cause.errno not in _NO_SECOND_NAMES:
            raise
        if path.exists():  # USB sticks have file systems without links
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from cause
        temporary.replace(path)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
