"""Taking a backup while everything runs.

The order loses nothing. Whatever refers to something is copied before what it refers to, since writers work the other way
round: an artifact is put first, then the row or record that names it. So Prefect's database (whose runs name MLflow's) comes
first, then MLflow's accounts, then MLflow, then files and objects. What came after the dump of its database is in the
backup without a name, and does no harm; nothing that has a name can be missing.

Objects also name objects, and a list of them is not of one moment either. So the tree is listed again when it was copied.
Whatever the first copies name was there when they were read, so the second list has it. What only the second list has may
name what came to a place that the list had passed; but nothing younger than the youngest that the list has. So a third list
follows, and of what is new in it that much is taken. Then all that a copy names is copied, however busy the desk is. Only
where something new was changed between its list and its copy, there is another round.

Only what is deleted meanwhile can be missing: what the pruning of the store found that nobody needs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from edgewright.desk.backup.databases import Database
from edgewright.desk.backup.manifest import MANIFEST, OBJECTS, Dump, Entry, Listing, Manifest, object_file, sha256_of
from edgewright.desk.backup.sources import Source
from edgewright.desk.backup.trees import Stamp, Tree
from edgewright.durable import flush_folder, write_new_file
from edgewright.errors import BackupError

OnProgress = Callable[[str], None]
# Another one is needed only where a file came and was changed within the seconds of the one before.
_MOST_ROUNDS = 20
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
    """Copies all of a tree, and what came meanwhile, until all that a copy names was copied."""
    file = f"{name}.jsonl"
    seen: set[str] = set()
    entries = size_bytes = 0
    digest = hashlib.sha256()
    with (draft / file).open("xb") as lines:
        wanted = tree.stamps()
        for number in range(_MOST_ROUNDS):
            is_closed = number > 0
            for key in sorted(wanted):
                seen.add(key)
                kept = _keep(tree, key, draft)
                if kept is None:
                    continue  # deleted since it was listed
                version, entry = kept
                is_closed = is_closed and version == wanted[key].version
                line = entry.to_line()
                lines.write(line)
                digest.update(line)
                entries += 1
                size_bytes += entry.size_bytes
            lines.flush()
            wanted = {} if is_closed else _what_came(tree, seen)
            if not wanted:
                return Listing(name, tree.location, file, digest.hexdigest(), entries, size_bytes)
    raise BackupError(
        f"{tree.location}: new files are changed again and again while they are copied. Back up when fewer builds run."
    )


def _what_came(tree: Tree, seen: set[str]) -> dict[str, Stamp]:
    """What is new in a list, and what that list had passed already when it came."""
    listed = tree.stamps()
    new = {key: stamp for key, stamp in listed.items() if key not in seen}
    if not new:
        return {}
    youngest_s = max(stamp.changed_s for stamp in listed.values())
    time.sleep(tree.tick_s)
    passed = {key: each for key, each in tree.stamps().items() if key not in seen and each.changed_s <= youngest_s}
    return {**passed, **new}


def _keep(tree: Tree, key: str, draft: Path) -> tuple[str, Entry] | None:
    """Copies one file or object, and gives its version; the same bytes are kept once."""
    opened = tree.open(key)
    if opened is None:
        return None
    if opened.stream is None:
        return opened.version, Entry(key, "", 0, opened.attributes)
    with opened.stream:
        sha256, size_bytes = _store(opened.stream, draft, f"{tree.location}: {key}")
    return opened.version, Entry(key, sha256, size_bytes, opened.attributes)


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
