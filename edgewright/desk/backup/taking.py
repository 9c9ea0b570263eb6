"""Taking a backup while everything runs.

The order loses nothing. Whatever refers to something is copied before what it refers to, since writers work the other way
round: an artifact is put first, then the row or record that names it. So Prefect's database (whose runs name MLflow's) comes
first, then MLflow's accounts, then MLflow, then files and objects. What came after the dump of its database is in the
backup without a name, and does no harm; nothing that has a name can be missing. Objects also name objects: so the tree is
listed again when it was copied, until a list has nothing new. A copied object was written after all that it names, and so
before a list that had nothing new.

Only what is deleted meanwhile can be missing: what the pruning of the store found that nobody needs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from edgewright.desk.backup.databases import Database
from edgewright.desk.backup.manifest import MANIFEST, OBJECTS, Dump, Entry, Listing, Manifest, object_file, sha256_of
from edgewright.desk.backup.sources import Source
from edgewright.desk.backup.trees import Tree
from edgewright.durable import flush_folder, write_new_file
from edgewright.errors import BackupError

OnProgress = Callable[[str], None]
# Each list costs as long as the objects that came during the one before: it ends soon, or somebody fills the disk.
_MOST_LISTS = 20
_CHUNK_BYTES = 1 << 20


def take_backup(source: Source, into: Path, on_progress: OnProgress = lambda said: None) -> Manifest:
    """Backs up into a new folder, which appears under its name when it is whole.

    Args:
        source: What to back up; everything may go on meanwhile.
        into: The folder to make; it may be there when it is empty.
        on_progress: Called with a sentence after each part.

    Raises:
        BackupError: There is something at that place, or something could not be read; nothing is left behind then.
    """
    into = into.absolute()
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise BackupError(f"{into} is there already: name a new folder for every backup.")
    into.parent.mkdir(parents=True, exist_ok=True)
    # A kill leaves this one, whose name says what it is and which has no manifest.
    draft = Path(tempfile.mkdtemp(prefix=f"{into.name}.partial-", dir=into.parent))
    try:
        manifest = _fill(source, draft, on_progress)
        draft.rename(into)
        flush_folder(into.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return manifest


def _fill(source: Source, draft: Path, on_progress: OnProgress) -> Manifest:
    began = _now()
    (draft / "databases").mkdir()
    dumps = []
    for number, database in enumerate(source.databases, 1):
        dumps.append(_dump(database, draft, number))
        on_progress(f"database {database.name}: {dumps[-1].size_bytes / 1024:.0f} KiB")
    (draft / OBJECTS).mkdir()
    listings = []
    for name, tree in source.trees:
        listings.append(_copy(name, tree, draft))
        on_progress(f"{name} {tree.location}: {listings[-1].entries} files, {listings[-1].size_bytes / 1024:.0f} KiB")
    # All of it must be on the disk before there is a manifest; asking once costs less than asking for every file.
    os.sync()
    manifest = Manifest(source.kind, began, _now(), _versions(), tuple(dumps), tuple(listings))
    write_new_file(draft / MANIFEST, manifest.to_bytes())
    flush_folder(draft)
    return manifest


def _dump(database: Database, draft: Path, number: int) -> Dump:
    file = f"databases/{number}-{database.name.replace('/', '.')}.dump"
    place = draft / file
    database.dump(place)
    return Dump(database.name, database.engine, file, sha256_of(place), place.stat().st_size)


def _copy(name: str, tree: Tree, draft: Path) -> Listing:
    """Copies all of a tree, and what came meanwhile, until nothing did."""
    file = f"{name}.jsonl"
    seen: set[str] = set()
    entries = size_bytes = 0
    digest = hashlib.sha256()
    with (draft / file).open("xb") as lines:
        for _ in range(_MOST_LISTS):
            new = sorted(tree.keys() - seen)
            if not new:
                return Listing(name, tree.location, file, digest.hexdigest(), entries, size_bytes)
            for key in new:
                seen.add(key)
                entry = _keep(tree, key, draft)
                if entry is None:
                    continue  # deleted since it was listed
                line = entry.to_line()
                lines.write(line)
                digest.update(line)
                entries += 1
                size_bytes += entry.size_bytes
            lines.flush()
    raise BackupError(
        f"{tree.location}: files keep coming faster than they can be copied. Back up when fewer builds run, or to a "
        "faster disk."
    )


def _keep(tree: Tree, key: str, draft: Path) -> Entry | None:
    """Copies one file or object; the same bytes are kept once."""
    attributes = tree.attributes(key)
    if attributes is None:
        return None
    if "link" in attributes:
        return Entry(key, "", 0, attributes)
    stream = tree.open(key)
    if stream is None:
        return None
    with stream:
        sha256, size_bytes = _store(stream, draft, f"{tree.location}: {key}")
    return Entry(key, sha256, size_bytes, attributes)


def _store(stream: IO[bytes], draft: Path, what: str) -> tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    incoming = draft / OBJECTS / "incoming"
    with incoming.open("wb") as target:
        for chunk in _chunks(stream, what):
            digest.update(chunk)
            size_bytes += len(chunk)
            target.write(chunk)
    place = draft / object_file(digest.hexdigest())
    if place.exists():
        incoming.unlink()
    else:
        place.parent.mkdir(exist_ok=True)
        incoming.rename(place)
    return digest.hexdigest(), size_bytes


def _chunks(stream: IO[bytes], what: str) -> Any:
    while True:
        try:
            chunk = stream.read(_CHUNK_BYTES)
        except Exception as error:  # an object's stream raises what its library likes
            raise BackupError(f"{what} could not be read: {error}.") from error
        if not chunk:
            return
        yield chunk


def _versions() -> dict[str, str]:
    found = {}
    for name in ("edgewright", "prefect", "mlflow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
