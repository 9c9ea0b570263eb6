"""Small objects that all machines of a team see: deliveries, leases, what a nightly has decided; also whole artifacts.

On one machine it is a folder, for a team a bucket (``object_store_s3``). Whoever needs more than last-writer-wins uses
``create`` and ``replace``, which are atomic in both.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from edgewright.durable import flush_folder, make_folder
from edgewright.errors import SharedStoreError
from edgewright.machine_lock import exclusive_lock

# No word begins with a dot: such names are a folder store's own.
_WORD = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}"
_KEY = re.compile(rf"{_WORD}(/{_WORD})*")
# S3 takes 1,024 bytes, and a prefix comes before the key.
_MOST_CHARACTERS = 800
_LOCK_DEADLINE_S = 60.0
# A temporary file this old was left by a killed process: writing one takes seconds.
_STALE_AFTER_S = 86_400


class ObjectStore(Protocol):
    """Bytes by key. Keys are words of letters, digits, ``.``, ``_`` and ``-``, parted by ``/``.

    No key may be another one's folder: there is no ``a/b`` beside an ``a``.

    Attributes:
        location: Where it is, for people: a folder, or ``s3://bucket/prefix``.
    """

    @property
    def location(self) -> str:
        """Where it is, for people."""
        ...

    def has(self, key: str) -> bool:
        """Whether there is an object, without reading it."""
        ...

    def read(self, key: str) -> bytes | None:
        """The object's bytes; None where there is none."""
        ...

    def write(self, key: str, content: bytes) -> None:
        """Puts an object, whole or not at all; the last writer wins."""
        ...

    def create(self, key: str, content: bytes) -> bool:
        """Puts an object where there is none; False, and nothing done, where there is one."""
        ...

    def replace(self, key: str, content: bytes, expected: bytes) -> bool:
        """Puts an object in the place of exactly ``expected``; False, and nothing done, where it is something else."""
        ...

    def delete(self, key: str) -> None:
        """Removes an object; nothing there is fine."""
        ...

    def keys(self, prefix: str) -> tuple[str, ...]:
        """All keys below a prefix that ends in ``/``, sorted; all there are below an empty one."""
        ...


class FolderStore:
    """Objects as files of a folder; for one machine, or a folder that all machines mount and whose locks they share.

    A change is prepared in a temporary file, and takes its place in one rename under a lock of its key. The lock belongs
    to the kernel, so a kill at any moment leaves the old object or the new one, and nobody waiting. What was written is on
    the disk when a method returns. Files get the rights that the umask leaves, so that a team's group can share the folder.

    Raises:
        SharedStoreError: By any method: a key that is none, or that is another one's folder; a lock that somebody keeps.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    @property
    def location(self) -> str:
        """The folder."""
        return str(self._root)

    def has(self, key: str) -> bool:
        """See ``ObjectStore``."""
        return self._place(key).is_file()

    def read(self, key: str) -> bytes | None:
        """See ``ObjectStore``."""
        try:
            return self._place(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def write(self, key: str, content: bytes) -> None:
        """See ``ObjectStore``."""
        place = self._place(key)
        with self._prepared(content) as prepared, self._locked(key):
            self._take_place(prepared, place)
        flush_folder(place.parent)

    def create(self, key: str, content: bytes) -> bool:
        """See ``ObjectStore``."""
        place = self._place(key)
        if place.exists():
            return False
        with self._prepared(content) as prepared, self._locked(key):
            if place.exists():
                return False
            self._take_place(prepared, place)
        flush_folder(place.parent)
        return True

    def replace(self, key: str, content: bytes, expected: bytes) -> bool:
        """See ``ObjectStore``."""
        place = self._place(key)
        if self.read(key) != expected:
            return False
        with self._prepared(content) as prepared, self._locked(key):
            if self.read(key) != expected:
                return False
            self._take_place(prepared, place)
        flush_folder(place.parent)
        return True

    def delete(self, key: str) -> None:
        """See ``ObjectStore``."""
        place = self._place(key)
        if place.is_file():
            with self._locked(key):
                place.unlink(missing_ok=True)
            flush_folder(place.parent)

    def keys(self, prefix: str) -> tuple[str, ...]:
        """See ``ObjectStore``."""
        start = self._place(prefix.rstrip("/")) if prefix else self._root
        found: list[str] = []
        for folder, folders, files in os.walk(start):
            folders[:] = [name for name in folders if not name.startswith(".")]
            below = Path(folder).relative_to(self._root)
            found += [(below / name).as_posix() for name in files if not name.startswith(".")]
        return tuple(sorted(found))

    def _place(self, key: str) -> Path:
        check_key(key)
        return self._root / key

    @contextlib.contextmanager
    def _prepared(self, content: bytes) -> Iterator[Path]:
        """A temporary file with the content, on the disk; gone at the end unless it took its place."""
        scratch = self._root / ".tmp"
        make_folder(scratch)
        _clear(scratch)
        path = scratch / uuid.uuid4().hex
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _take_place(self, prepared: Path, place: Path) -> None:
        try:
            make_folder(place.parent)
            prepared.replace(place)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            key = place.relative_to(self._root).as_posix()
            raise SharedStoreError(
                f"{self._root}: {key!r} cannot be put there, because one of the two is the folder of the other: an object "
                f"and {key!r}. Remove what is in the way."
            ) from error

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Holds the lock of the key; it shares one of 256 with other keys, since lock files stay for good."""
        folder = self._root / ".locks"
        make_folder(folder)
        lock = folder / hashlib.sha256(key.encode()).hexdigest()[:2]
        # Made here, with the umask's rights: another user of the team must be able to take it.
        os.close(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
        with exclusive_lock(lock, _LOCK_DEADLINE_S, lambda holder: self._held(key, holder)):
            yield

    def _held(self, key: str, holder: str) -> Exception:
        return SharedStoreError(
            f"{self._root}: process {holder} has held the lock of {key!r} for {_LOCK_DEADLINE_S:.0f} s, which takes "
            "milliseconds. It may be stopped: let it go on, or end it."
        )


def check_key(key: str) -> None:
    """Refuse a key that is not made of plain words.

    Raises:
        SharedStoreError: It is not.
    """
    if len(key) > _MOST_CHARACTERS or not _KEY.fullmatch(key):
        raise SharedStoreError(
            f"{key[:_MOST_CHARACTERS]!r} is no key of an object store: use words of letters, digits, . _ - that do not begin "
            f"with . or -, parted by /; at most 200 characters a word and {_MOST_CHARACTERS} in all."
        )


def _clear(scratch: Path) -> None:
    """Removes temporary files that killed processes left."""
    for path in scratch.iterdir():
        with contextlib.suppress(FileNotFoundError):  # its writer was done, or another process was faster
            if time.time() - path.stat().st_mtime > _STALE_AFTER_S:
                path.unlink()
