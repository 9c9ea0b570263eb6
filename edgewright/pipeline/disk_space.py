"""Tells a full disk from a defect, wherever in a build it shows: in a write of ours, in a database, behind a server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgewright.durable import is_no_room
from edgewright.errors import DiskFullError
from edgewright.pipeline.workspace import VARIABLE, open_workspace

# What frameworks and servers leave of such an error is a text.
_WORDS = ("no space left on device", "disk is full", "disk quota exceeded")
# With less than this a database cannot grow; its server then answers whatever it likes.
_LEAST_BYTES = 1024 * 1024


def full_disk(error: BaseException) -> DiskFullError | None:
    """What to say in place of ``error`` where a full disk led to it; None where none did."""
    if isinstance(error, DiskFullError):
        return error
    place = min((_existing(open_workspace().home), Path(tempfile.gettempdir())), key=_free_bytes)
    if not any(_says_so(each) for each in _chain(error)) and _free_bytes(place) >= _LEAST_BYTES:
        return None
    return DiskFullError(
        f"the disk that holds {place} is full ({_free_bytes(place) // 1024:,} KiB are free). Make room there, or set "
        f"{VARIABLE} to a folder on another disk, then run the command again: it carries on from here."
    )


def _says_so(error: BaseException) -> bool:
    if is_no_room(error):
        return True
    text = str(error).lower()
    return any(words in text for words in _WORDS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        yield following
        seen.append(following)
        following = following.__cause__ or following.__context__


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _free_bytes(place: Path) -> int:
    return shutil.disk_usage(place).free
