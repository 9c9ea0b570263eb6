"""What a backup is made of, and the proof that all of it is there.

``manifest.json`` is written last and holds its own digest, and the digest of every dump and of every list; a list holds the
digest of every object. A backup without a manifest, or with one byte changed, is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgewright.errors import BackupError, printable

MANIFEST, OBJECTS = "manifest.json", "objects"
FORMAT = "edgewright-backup-1"
Kind = Literal["desk", "team"]

_MOST_SHOWN = 10


@dataclass(frozen=True)
class Dump:
    """One database.

    Attributes:
        name: Its name; of a file its place below the desk's home.
        engine: What it is a dump of: ``sqlite`` or ``postgresql``.
        file: Where the dump lies in the backup.
        sha256: Digest of the dump.
        size_bytes: Its size.
    """

    name: str
    engine: str
    file: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Listing:
    """A folder or a bucket: all that it held.

    Attributes:
        name: What it is: ``home`` or ``bucket``.
        location: Where it was, for people.
        file: Where the list lies in the backup: one entry as JSON on each line.
        sha256: Digest of the list.
        entries: Number of entries.
        size_bytes: Size of all entries together.
    """

    name: str
    location: str
    file: str
    sha256: str
    entries: int
    size_bytes: int


@dataclass(frozen=True)
class Entry:
    """One file, link or object.

    Attributes:
        key: Its place, with ``/``.
        sha256: Digest of its bytes; empty for a link.
        size_bytes: Their number.
        attributes: What else belongs to it: ``mode`` and ``mtime_ns`` of a file, where a ``link`` points, ``content_type``.
    """

    key: str
    sha256: str
    size_bytes: int
    attributes: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """One line of a list."""
        return json.dumps(asdict(self), sort_keys=True).encode() + b"\n"


@dataclass(frozen=True)
class Manifest:
    """A backup's table of contents.

    Attributes:
        kind: ``desk`` for one machine's, ``team`` for a team's servers.
        began: When it began: ISO 8601 in UTC. What was done before is in it.
        ended: When it was whole.
        versions: Versions of what wrote the databases, by name.
        databases: Their dumps.
        listings: The folders and buckets.
    """

    kind: Kind
    began: str
    ended: str
    versions: dict[str, str]
    databases: tuple[Dump, ...]
    listings: tuple[Listing, ...]

    @property
    def parts(self) -> tuple[Dump | Listing, ...]:
        """The dumps and the lists."""
        return (*self.databases, *self.listings)

    @property
    def size_bytes(self) -> int:
        """What it takes to restore it."""
        return sum(each.size_bytes for each in self.parts)

    def listing(self, name: str) -> Listing | None:
        """The folder or bucket of that name; None where the backup has none."""
        return next((each for each in self.listings if each.name == name), None)

    def to_bytes(self) -> bytes:
        """The manifest with its seal."""
        content = {"format": FORMAT, **asdict(self)}
        return json.dumps({"sha256": _seal(content), "content": content}, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Reads what ``to_bytes`` made.

        Raises:
            ValueError: It is something else, or a byte of it changed.
        """
        try:
            sealed = json.loads(data)
            content = dict(sealed["content"])
            if sealed["sha256"] != _seal(content):
                raise ValueError("its content does not have the sha256 that it names")
            if content.pop("format") != FORMAT:
                raise ValueError(f"its format is not {FORMAT}: another version of edgewright wrote it")
            databases = tuple(Dump(**each) for each in content.pop("databases"))
            listings = tuple(Listing(**each) for each in content.pop("listings"))
            return cls(databases=databases, listings=listings, **content)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"it is no manifest of a backup ({type(error).__name__}: {error})") from error


def object_file(sha256: str) -> str:
    """Where the bytes of a digest lie in a backup."""
    return f"{OBJECTS}/{sha256[:2]}/{sha256}"


def read_manifest(folder: Path) -> Manifest:
    """A backup's table of contents; ``verify`` looks at the contents themselves.

    Raises:
        BackupError: There is no whole backup in the folder.
    """
    if not folder.is_dir():
        raise BackupError(f"{folder} is no folder: name one that `edgewright backup` made.")
    try:
        return Manifest.from_bytes((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise BackupError(
            f"{folder} is no backup: {MANIFEST} is missing. It is written last; a folder without it was left by a backup "
            "that was interrupted. Use an older one, and remove this."
        ) from error
    except ValueError as error:
        raise BackupError(f"{folder / MANIFEST} is damaged: {error}. Use another backup.") from error


def read_entries(folder: Path, listing: Listing) -> Iterator[Entry]:
    """The entries of a list, which ``verify`` has looked at."""
    with (folder / listing.file).open("rb") as lines:
        for line in lines:
            yield Entry(**json.loads(line))


def verify(folder: Path) -> Manifest:
    """Reads a whole backup and compares every byte with its digest.

    Raises:
        BackupError: Something is missing or changed; names what.
    """
    manifest = read_manifest(folder)
    problems = [problem for each in manifest.parts if (problem := _problem(folder, each.file, each.sha256))]
    known: dict[str, str | None] = {}
    for listing in manifest.listings:
        if any(each.startswith(f"{listing.file} ") for each in problems):
            continue  # nothing it says counts
        entries = 0
        for entry in read_entries(folder, listing):
            entries += 1
            if not entry.sha256:
                continue
            if entry.sha256 not in known:
                known[entry.sha256] = _problem(folder, object_file(entry.sha256), entry.sha256)
            if known[entry.sha256]:
                problems.append(f"{known[entry.sha256]}: {listing.name}: {entry.key}")
        if entries != listing.entries:
            problems.append(f"{listing.file} has {entries} entries, the manifest says {listing.entries}")
    if problems:
        shown = [f"  {each}" for each in problems[:_MOST_SHOWN]]
        if len(problems) > _MOST_SHOWN:
            shown.append(f"  and {len(problems) - _MOST_SHOWN} more")
        things = f"{len(problems)} thing{'' if len(problems) == 1 else 's'}"
        said = [f"{folder} is damaged in {things}:", *shown, "Nothing was restored. Use another backup."]
        raise BackupError(printable("\n".join(said)))
    return manifest


def sha256_of(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _problem(folder: Path, file: str, sha256: str) -> str | None:
    path = folder / file
    if not path.is_file():
        return f"{file} is missing"
    if (found := sha256_of(path)) != sha256:
        return f"{file} has sha256 {found[:12]}…, the backup promises {sha256[:12]}…"
    return None


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
