"""The folder that new samples are delivered to: what lies there and is whole, read once, then removed or set aside.

Nothing that lies there is trusted: links are not followed, only regular files are opened, and no more is read than a bound.
Nothing is lost or overwritten, whenever the process dies: a file leaves its place by renames alone, and what a killed call
had claimed is given back by the next.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from edgewright.durable import flush_folder, replace_file
from edgewright.errors import DataError
from edgewright.pipeline.intake.drop import RejectedError
from edgewright.pipeline.intake.entries import Entry, entries_of_class, look_at, one_line, visible

REJECTED = "rejected"
REASON_SUFFIX = ".reason.txt"
# A file that changed less than this ago is looked at once more after as long.
QUIET_S = 2.0
MOST_FILE_BYTES = 512 * 1024**2

_CLAIMED = ".taken"
_MOST_NAME_BYTES = 200  # of 255: before it stands the time, behind it the reason's suffix


class ChangedError(Exception):
    """A file changed while it was looked at; it is left for the next time."""


class Incoming:
    """One folder of deliveries; one caller at a time.

    Attributes:
        folder: Where it is.
    """

    def __init__(self, folder: Path, nested: bool) -> None:
        """Opens the folder, and makes it where there is none.

        Args:
            folder: The folder.
            nested: Whether files are sorted into folders by class.
        """
        self._nested = nested
        with _usable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.folder = folder.resolve()
            for name in (REJECTED, _CLAIMED):
                place = self.folder / name
                if os.path.lexists(place) and not stat.S_ISDIR(place.lstat().st_mode):
                    raise DataError(f"{place}: is no folder, what was set aside is kept there. Move it elsewhere.")
            self._give_back_claimed()
            self._clear_unfinished()

    def settled(self) -> tuple[list[Entry], list[str]]:
        """What lies there and does not change any more, sorted by name; and the names of what does."""
        with _usable(self.folder):
            entries = self._entries()
            young = {entry.name for entry in entries if entry.changed_within(QUIET_S)}
            if not young:
                return entries, []
            time.sleep(QUIET_S)
            later = {entry.name: entry for entry in self._entries()}
            settled = [entry for entry in entries if entry.name not in young or later.get(entry.name) == entry]
            return settled, sorted(one_line(name) for name in young - {entry.name for entry in settled})

    def read(self, entry: Entry) -> bytes:
        """A file's bytes.

        Raises:
            RejectedError: It is no regular file, cannot be read, or is too large.
            ChangedError: It changed since it was looked at, or while it was read.
        """
        if entry.kind != "file":
            what = {"link": "a symbolic link", "folder": "a folder"}.get(entry.kind, "no regular file")
            raise RejectedError(f"is {what}, needs to be a file. Deliver the file itself.")
        if entry.size_bytes > MOST_FILE_BYTES:
            raise RejectedError(
                f"{entry.size_bytes} bytes, may be {MOST_FILE_BYTES} at most. Deliver it in several files."
            )
        try:
            # A pipe that took the file's place in the meantime must not be waited for.
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ChangedError from None
        except OSError as error:
            raise RejectedError(f"cannot be read ({error.strerror}). Correct its permissions.") from error
        with os.fdopen(descriptor, "rb") as file:
            if look_at(entry.path, entry.name, os.fstat(descriptor)) != entry:
                raise ChangedError
            try:
                content = file.read(entry.size_bytes + 1)
            except OSError as error:
                raise RejectedError(f"cannot be read ({error.strerror}). Deliver it again.") from error
            if len(content) != entry.size_bytes or look_at(entry.path, entry.name, os.fstat(descriptor)) != entry:
                raise ChangedError
        return content

    def remove(self, entry: Entry) -> None:
        """Removes a file whose content is kept elsewhere by now; not one that has changed since."""
        with _usable(self.folder):
            claimed = self._claim(entry)
            if claimed is not None:
                os.unlink(claimed)
                flush_folder(entry.path.parent)

    def set_aside(self, entry: Entry, sha256: str, reason: str) -> str | None:
        """Moves an entry to ``rejected/``, beside a text that says why; one that has changed since stays.

        Args:
            entry: What lies in the folder.
            sha256: Its digest: a killed call's text for the same entry is used again.
            reason: Why it is set aside.

        Returns:
            Its new place below the folder; None where it stays.
        """
        with _usable(self.folder):
            home = self.folder / REJECTED
            home.mkdir(exist_ok=True)
            flush_folder(self.folder)
            name = self._reserved(entry, sha256) or self._reserve(entry, sha256, reason)
            claimed = self._claim(entry)
            if claimed is None:
                os.unlink(home / f"{name}{REASON_SUFFIX}")
                return None
            os.rename(claimed, home / name)
            flush_folder(home)
            flush_folder(entry.path.parent)
            return f"{REJECTED}/{name}"

    def digest_of(self, entry: Entry) -> str:
        """sha256 of what tells an entry that cannot be read from another."""
        target = ""
        if entry.kind == "link":
            with suppress(OSError):
                target = os.readlink(entry.path)
        told = json.dumps([entry.name, entry.kind, entry.size_bytes, entry.changed_ns[0], target])
        return hashlib.sha256(told.encode()).hexdigest()

    def _entries(self) -> list[Entry]:
        found = []
        for path in visible(self.folder):
            if path.name == REJECTED:
                continue
            with suppress(FileNotFoundError):  # whoever delivered it took it back
                entry = look_at(path, path.name, path.lstat())
                if self._nested and entry.kind == "folder":
                    found += list(entries_of_class(path))
                else:
                    found.append(entry)
        return sorted(found, key=lambda entry: entry.name)

    def _claim(self, entry: Entry) -> Path | None:
        """Takes an entry out of everybody's way; None where another one has taken its place, which stays there."""
        claimed = self.folder / _CLAIMED / entry.name
        claimed.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(entry.path, claimed)
        except FileNotFoundError:
            return None
        moved = look_at(entry.path, entry.name, claimed.lstat())
        if moved.kind == entry.kind and (
            entry.kind == "folder" or (moved.size_bytes, moved.changed_ns[0]) == (entry.size_bytes, entry.changed_ns[0])
        ):
            return claimed
        self._give_back(claimed, entry.name)
        return None

    def _give_back_claimed(self) -> None:
        home = self.folder / _CLAIMED
        for path in visible(home) if home.is_dir() else ():
            if self._nested and stat.S_ISDIR(path.lstat().st_mode):
                for file in visible(path):
                    self._give_back(file, f"{path.name}/{file.name}")
                path.rmdir()
            else:
                self._give_back(path, path.name)

    def _clear_unfinished(self) -> None:
        """Removes reasons that a killed call had not written to their end: all other names there begin with the time."""
        home = self.folder / REJECTED
        for name in os.listdir(home) if home.is_dir() else ():
            if name.startswith("."):
                os.unlink(home / name)

    def _give_back(self, claimed: Path, name: str) -> None:
        place, number = self.folder / name, 1
        place.parent.mkdir(exist_ok=True)
        while os.path.lexists(place):  # another of that name was delivered meanwhile
            number += 1
            place = (self.folder / name).with_name(f"{Path(name).stem}-{number}{Path(name).suffix}")
        os.rename(claimed, place)

    def _reserve(self, entry: Entry, sha256: str, reason: str) -> str:
        """Writes down why, under a name that nobody has."""
        now = datetime.now(UTC)
        flat = os.fsdecode(os.fsencode(entry.name.replace("/", "-"))[-_MOST_NAME_BYTES:])
        text = (
            f"{entry.shown} was set aside on {now:%Y-%m-%d %H:%M:%S} UTC.\n\nWhy: {one_line(reason)}\n\n"
            f"{_signed(entry, sha256)}\n"
        )
        home, number = self.folder / REJECTED, 1
        name = f"{now:%Y%m%dT%H%M%SZ}-{flat}"
        while os.path.lexists(home / name) or os.path.lexists(home / f"{name}{REASON_SUFFIX}"):
            number += 1
            name = f"{now:%Y%m%dT%H%M%SZ}-{number}-{flat}"
        replace_file(home / f"{name}{REASON_SUFFIX}", text.encode("utf-8", "backslashreplace"))
        return name

    def _reserved(self, entry: Entry, sha256: str) -> str | None:
        """The name under which a killed call wrote down why, before it could move the same entry."""
        names = set(os.listdir(self.folder / REJECTED))
        for name in sorted(names):
            if not name.endswith(REASON_SUFFIX) or name.removesuffix(REASON_SUFFIX) in names:
                continue
            with suppress(OSError):
                text = (self.folder / REJECTED / name).read_text(encoding="utf-8", errors="replace")
                if text.rstrip().endswith(_signed(entry, sha256)):
                    return name.removesuffix(REASON_SUFFIX)
        return None


def _signed(entry: Entry, sha256: str) -> str:
    return f"{entry.kind}: {entry.shown}\nsha256: {sha256}"


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: the folder of new samples cannot be used ({error.strerror}). It must be a folder "
            "that this process may read and write."
        ) from error
