"""The places for bundles: slots A and B, what is on its way, and the read-only factory bundle.

```
STATE/slots/A, B              bundles; which of them is whole, the state says
STATE/staging/<bundle_sha256> what was downloaded of a bundle so far
```
A slot's folder appears by one rename, after its files were flushed. Before it is emptied, the state says so: what a
crash leaves of an emptied slot is never looked at, so that emptying needs no flush.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from edgewright.bundle_file import BundleFile
from edgewright.device.agent_state import Held, Place, SlotName
from edgewright.durable import flush_folder, make_folder, remove_tree
from edgewright.errors import IntegrityError

_READ_BYTES = 1 << 16


class Slots:
    """The folders below one state folder."""

    def __init__(self, state: Path, factory: Path | None) -> None:
        self._slots, self._staging = state / "slots", state / "staging"
        self.factory = factory

    def prepare(self) -> None:
        """Make the folders, durably."""
        make_folder(self._slots)
        make_folder(self._staging)

    def folder(self, place: Place) -> Path:
        """Give the folder of a slot or of the factory bundle."""
        if place == "factory":
            if self.factory is None:
                raise IntegrityError("this device has no factory bundle.")
            return self.factory
        return self._slots / place

    def staging(self, bundle_sha256: str) -> Path:
        """Give the folder for a bundle's download; what was begun of others goes."""
        self.prepare()
        folder = self._staging / bundle_sha256
        for other in list(self._staging.iterdir()):
            if other != folder:
                remove_tree(other)
        folder.mkdir(exist_ok=True)
        return folder

    def staged_bytes(self) -> int:
        """Give the size of what is on its way."""
        return sum(path.stat().st_size for path in self._staging.rglob("*") if path.is_file())

    def discard_staged(self, bundle_sha256: str) -> None:
        """Drop what was downloaded of a bundle."""
        remove_tree(self._staging / bundle_sha256)

    def fill(self, slot: SlotName, bundle_sha256: str, files: Sequence[BundleFile]) -> None:
        """Move a complete download into a slot. The state must say that the slot is empty, and is told afterwards.

        The files' contents were flushed one by one as they were completed.

        Raises:
            IntegrityError: A file is not the promised one.
        """
        folder = self._staging / bundle_sha256
        check_files(folder, files)
        flush_folder(folder)
        self.empty(slot)
        folder.rename(self._slots / slot)
        flush_folder(self._slots)

    def empty(self, slot: SlotName) -> None:
        """Delete what is in a slot; the state must say so already."""
        remove_tree(self._slots / slot)

    def is_intact(self, slot: SlotName, held: Held) -> bool:
        """Say whether a slot has exactly the signed bytes, all of which are read.

        Raises:
            OSError: It cannot be looked at now; that says nothing about what is there.
        """
        return _holds(lambda: check_files(self._slots / slot, held.release.files))

    def is_complete(self, slot: SlotName, held: Held) -> bool:
        """Say whether a slot has the signed files by name and size, which takes no time; its worker reads the bytes.

        Raises:
            OSError: It cannot be looked at now; that says nothing about what is there.
        """
        return _holds(lambda: _check_sizes(self._slots / slot, held.release.files))


def check_files(folder: Path, files: Sequence[BundleFile]) -> None:
    """Refuse a folder that has not exactly the promised files: no other, none missing, every byte as promised.

    Raises:
        IntegrityError: It has not.
        OSError: It cannot be read.
    """
    _check_sizes(folder, files)
    for file in files:
        path = folder / file.name
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(_READ_BYTES):
                digest.update(chunk)
        if digest.hexdigest() != file.sha256:
            raise IntegrityError(f"{path} has the sha256 {digest.hexdigest()}, signed is {file.sha256}.")


def _check_sizes(folder: Path, files: Sequence[BundleFile]) -> None:
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    wanted = [file.name for file in files]
    if names != wanted:
        raise IntegrityError(f"{folder} has the files {names}, the signed release has {wanted}.")
    for file in files:
        path = folder / file.name
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size != file.size_bytes:
            raise IntegrityError(f"{path} is not the file of {file.size_bytes} bytes that was signed.")


def _holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except (IntegrityError, FileNotFoundError):
        return False
    return True
