"""What holds files or objects: it lists them, gives them out, takes them back. Here a folder; ``bucket.py`` is the other."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from edgewright.desk.backup.manifest import Entry, sha256_of
from edgewright.errors import BackupError


class Stamp(NamedTuple):
    """What a list says of a key.

    Attributes:
        version: Another one after every change.
        changed_s: When it was put there or changed last, in seconds, by one clock for the whole tree.
    """

    version: str
    changed_s: float


@dataclass(frozen=True)
class Opened:
    """What a key holds.

    Attributes:
        version: Other than the listed one when it was changed since.
        attributes: What belongs to it besides its bytes; ``link`` where it is one.
        stream: Its bytes; None where it is a link.
    """

    version: str
    attributes: dict[str, Any]
    stream: IO[bytes] | None


class Tree(Protocol):
    """Files or objects by key.

    Attributes:
        tick_s: After this many seconds, what is put there has a later time than what was there before.
    """

    tick_s: float

    @property
    def location(self) -> str:
        """Where it is, for people."""
        ...

    def stamps(self) -> dict[str, Stamp]:
        """All that it holds. A list takes its time: of what comes meanwhile, some is in it and some is not."""
        ...

    def open(self, key: str) -> Opened | None:
        """What a key holds; None where it is gone by now."""
        ...

    def make(self) -> None:
        """Makes the tree itself, where it is not there yet."""
        ...

    def sha256(self, key: str) -> str | None:
        """Digest of what a key holds; empty for a link, None where there is nothing."""
        ...

    def put(self, entry: Entry, content: Path | None) -> None:
        """Gives a key its bytes, or its link; puts it in the place of what was there."""
        ...


class FolderTree:
    """The files and links below a folder. Folders, pipes and sockets are not kept: who needs them makes them.

    Args:
        root: The folder.
        leave_out: Whether a key is left out; a folder's key ends in ``/``, and what is below it is left out, too.
    """

    tick_s = 0.02  # the kernel's clock of files goes on in steps of 1 to 10 ms

    def __init__(self, root: Path, leave_out: Callable[[str], bool] = lambda key: False) -> None:
        self._root, self._leave_out = root, leave_out

    @property
    def location(self) -> str:
        """The folder."""
        return str(self._root)

    def stamps(self) -> dict[str, Stamp]:
        """See ``Tree``."""
        found: dict[str, Stamp] = {}
        for folder, folders, files in os.walk(self._root):
            below = Path(folder).relative_to(self._root)
            linked = [name for name in folders if (Path(folder) / name).is_symlink()]
            folders[:] = [
                name for name in folders if name not in linked and not self._leave_out(f"{(below / name).as_posix()}/")
            ]
            for name in (*files, *linked):
                key = (below / name).as_posix()
                if not self._leave_out(key) and (stamp := _stamp_of(Path(folder) / name)):
                    found[key] = stamp
        return found

    def open(self, key: str) -> Opened | None:
        """See ``Tree``."""
        place = self._root / key
        try:
            if place.is_symlink():
                return Opened(_stamp(place.lstat()).version, {"link": os.readlink(place)}, None)
            stream = place.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return None
        status = os.fstat(stream.fileno())
        attributes = {"mode": stat.S_IMODE(status.st_mode), "mtime_ns": status.st_mtime_ns}
        return Opened(_stamp(status).version, attributes, stream)

    def make(self) -> None:
        """See ``Tree``."""
        self._root.mkdir(parents=True, exist_ok=True)

    def sha256(self, key: str) -> str | None:
        """See ``Tree``."""
        place = self._root / key
        if place.is_symlink():
            return ""
        return sha256_of(place) if place.is_file() else None

    def put(self, entry: Entry, content: Path | None) -> None:
        """See ``Tree``."""
        place = self._root / entry.key
        if not place.parent.resolve().is_relative_to(self._root.resolve()) or place.name in ("", ".", ".."):
            raise BackupError(f"{entry.key!r} lies outside of {self._root}: this backup was made by something else.")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if content is None:
            place.symlink_to(entry.attributes["link"])
            return
        # Not shutil.copy: what the copy is meant to be was just proved, and a link in the backup is none of its.
        with content.open("rb") as source, place.open("xb") as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)
        place.chmod(int(entry.attributes["mode"]))
        os.utime(place, ns=(int(entry.attributes["mtime_ns"]),) * 2)


def refuse_strangers(tree: Tree, entries: Iterable[Entry]) -> None:
    """Refuse to restore into a tree that holds something else; what an interrupted restore left there is no obstacle.

    Raises:
        BackupError: It holds something that the backup does not hold there.
    """
    present = tree.stamps().keys()
    if not present:
        return
    wanted = {each.key: each for each in entries}
    for key in sorted(present):
        if key not in wanted or tree.sha256(key) != wanted[key].sha256:
            raise BackupError(
                f"{tree.location} is not empty: it holds {key!r}, which the backup does not hold there. Nothing was "
                "restored. Restore into an empty one."
            )


def _stamp_of(place: Path) -> Stamp | None:
    """The stamp of a file or link; None for what is neither, or gone."""
    try:
        status = place.lstat()
    except FileNotFoundError:
        return None
    return _stamp(status) if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) else None


def _stamp(status: os.stat_result) -> Stamp:
    # The time of the inode, which a rename sets, too: a file that was prepared elsewhere comes when it gets its name.
    return Stamp(f"{status.st_ino} {status.st_mtime_ns} {status.st_size}", status.st_ctime_ns / 1e9)
