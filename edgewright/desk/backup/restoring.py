"""Restoring a backup: proved first, then into what is empty, and what is referred to before what refers to it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgewright.desk.backup.databases import SqliteDatabase
from edgewright.desk.backup.manifest import Kind, Listing, Manifest, object_file, read_entries, verify
from edgewright.desk.backup.sources import HOME, Source
from edgewright.desk.backup.trees import FolderTree, Tree, refuse_strangers
from edgewright.durable import flush_folder
from edgewright.errors import BackupError

OnProgress = Callable[[str], None]


def restore_desk(folder: Path, home: Path, on_progress: OnProgress = lambda said: None) -> Manifest:
    """Restores one machine's workspace, which appears under its name when it is whole.

    Args:
        folder: The backup.
        home: The workspace to make; it may be there when it is empty.
        on_progress: Called with a sentence after each part.

    Raises:
        BackupError: The backup is damaged or a team's, or ``home`` holds something.
    """
    home = home.absolute()
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise BackupError(f"{home} is not empty: move it away, or set EDGEWRIGHT_HOME to a new folder.")
    manifest = _proved(folder, "desk", on_progress)
    home.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{home.name}.restoring-", dir=home.parent))
    try:
        for listing in manifest.listings:
            _fill(folder, listing, FolderTree(draft), on_progress)
        for dump in manifest.databases:
            SqliteDatabase(draft, dump.name).restore(folder / dump.file)
            on_progress(f"database {dump.name}")
        draft.chmod(0o755)  # the rights of a folder that `mkdir` makes; a temporary one has fewer
        os.sync()
        draft.rename(home)
        flush_folder(home.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return manifest


def restore_team(folder: Path, target: Source, on_progress: OnProgress = lambda said: None) -> Manifest:
    """Restores into a team's new servers, before Prefect and MLflow are started for the first time.

    Nothing is written unless all databases are there and empty, and bucket and folder hold nothing else. Objects come
    first, then the databases, each in one transaction: interrupted, it goes on where it was, until the first database is in.

    Args:
        folder: The backup.
        target: Where to; its databases have the names of the backup's, their roles are there.
        on_progress: Called with a sentence after each part.

    Raises:
        BackupError: The backup is damaged or a desk's, or something is missing, not empty, or refuses.
    """
    manifest = _proved(folder, "team", on_progress)
    databases = {each.name: each for each in target.databases}
    if databases.keys() != (names := {each.name for each in manifest.databases}):
        raise BackupError(
            f"{folder} holds the databases {_words(names)}, not {_words(databases)}: name the same ones to restore into."
        )
    trees = dict(target.trees)
    for listing in manifest.listings:
        if listing.name not in trees:
            if listing.name == HOME:
                raise BackupError(f"{folder} holds files of a worker: name the folder for them, EDGEWRIGHT_HOME.")
            raise BackupError(f"{folder} holds a {listing.name}, {listing.location}: name the one to restore into.")
    for database in target.databases:
        database.refuse_unless_empty()
    for listing in manifest.listings:
        refuse_strangers(trees[listing.name], read_entries(folder, listing))
    for listing in manifest.listings:
        trees[listing.name].make()
        _fill(folder, listing, trees[listing.name], on_progress)
    for dump in reversed(manifest.databases):
        databases[dump.name].restore(folder / dump.file)
        on_progress(f"database {dump.name}")
    return manifest


def _proved(folder: Path, kind: Kind, on_progress: OnProgress) -> Manifest:
    manifest = verify(folder)
    if manifest.kind != kind:
        words = {"desk": "one machine's workspace", "team": "a team's servers: name their databases and bucket"}
        raise BackupError(f"{folder} is a backup of {words[manifest.kind]}.")
    on_progress(f"backup of {manifest.began}: every byte is as it was written")
    return manifest


def _fill(folder: Path, listing: Listing, tree: Tree, on_progress: OnProgress) -> None:
    present = tree.stamps()
    for entry in read_entries(folder, listing):
        if entry.key not in present:  # what is there was proved to be the same
            tree.put(entry, folder / object_file(entry.sha256) if entry.sha256 else None)
    on_progress(f"{listing.name} {tree.location}: {listing.entries} files")


def _words(names: object) -> str:
    return ", ".join(sorted(names)) or "none"  # type: ignore[call-overload]
