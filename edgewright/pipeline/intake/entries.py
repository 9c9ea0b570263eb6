"""What lies in a folder of deliveries, without following or opening anything."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgewright.errors import printable

# Whoever still writes gives its file such a name, and renames it when it is whole.
UNFINISHED = (".part", ".tmp")

_MOST_IN_FOLDER = 10_000

Kind = Literal["file", "link", "folder", "other"]


@dataclass(frozen=True)
class Entry:
    """Something that lies in the folder.

    Attributes:
        path: Where.
        name: Its path below the folder.
        kind: What it is; a link is never followed.
        size_bytes: Its size.
        changed_ns: When its content changed, and when anything about it did; of a folder the latest of all in it.
    """

    path: Path
    name: str
    kind: Kind
    size_bytes: int
    changed_ns: tuple[int, int]

    def changed_within(self, seconds: float) -> bool:
        """Whether it changed so short a time ago; a time stamp from far in the future is none."""
        now = time.time_ns()
        return any(abs(now - each) < seconds * 1e9 for each in self.changed_ns)

    @property
    def shown(self) -> str:
        """Its name as it may stand in a record and on a page: one line of UTF-8, whatever bytes it is made of."""
        return one_line(self.name)


def one_line(text: str) -> str:
    """Text with everything that is no printable character, line ends too, written as escapes."""
    return printable(text).replace("\n", "\\n")


def visible(folder: Path) -> list[Path]:
    """What a deliverer has finished: no dot-files, nothing that is called unfinished."""
    paths = (Path(entry.path) for entry in os.scandir(folder))
    return [path for path in paths if not path.name.startswith(".") and not path.name.lower().endswith(UNFINISHED)]


def entries_of_class(folder: Path) -> Iterator[Entry]:
    """What a class's folder holds."""
    for path in visible(folder):
        with suppress(FileNotFoundError):
            yield look_at(path, f"{folder.name}/{path.name}", path.lstat())


def look_at(path: Path, name: str, status: os.stat_result) -> Entry:
    """An entry from what the system says of it.

    Args:
        path: Where it lies.
        name: Its path below the folder.
        status: From ``lstat`` or ``fstat``.
    """
    mode, changed = status.st_mode, (status.st_mtime_ns, status.st_ctime_ns)
    if stat.S_ISDIR(mode):
        return Entry(path, name, "folder", 0, _latest_in(path, changed))
    kind: Kind = "file" if stat.S_ISREG(mode) else "link" if stat.S_ISLNK(mode) else "other"
    return Entry(path, name, kind, status.st_size, changed)


def _latest_in(folder: Path, changed: tuple[int, int]) -> tuple[int, int]:
    seen = 0
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            seen += 1
            if seen > _MOST_IN_FOLDER:
                return changed
            with suppress(FileNotFoundError):
                status = os.lstat(os.path.join(parent, name))
                changed = max(changed[0], status.st_mtime_ns), max(changed[1], status.st_ctime_ns)
    return changed
