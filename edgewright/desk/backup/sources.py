"""What a desk consists of, and what a team's servers do: the databases, in the order of their backup, and the rest.

Of a workspace's folders, ``cache/`` (wheels and bases of images) is left out: whoever needs it fills it again from the
network. ``images/`` stays in, although it is large (some 50 MiB for each platform; each layer is kept once): a base is made
of what its distribution serves that day, so an image that is built again has another digest than the one that the registry
names, a device pulls and its proof was for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.desk.backup.bucket import BucketTree
from edgewright.desk.backup.databases import Database, PostgresDatabase, SqliteDatabase, is_sqlite
from edgewright.desk.backup.manifest import Kind
from edgewright.desk.backup.trees import FolderTree, Tree
from edgewright.errors import BackupError

HOME, BUCKET = "home", "bucket"
# Made by whoever needs them, and of no use to another process.
_PASSING_FOLDERS = {"locks", ".locks", "tmp", ".tmp"}
_PASSING_ENDS = (".lock", ".sock", ".pid")
_SQLITE_SIDES = ("-wal", "-shm", "-journal")
# Which process serves the registry; a restored one is served by another.
_PASSING_FILES = {"mlflow/server.json"}
# What parts of images are kept in until the next one.
_CACHE = "cache/"
# Another one, on a machine whose team shares its artifacts.
_TEAM_CACHE = "store/"


@dataclass(frozen=True)
class Source:
    """What a backup is taken of, or restored into.

    Attributes:
        kind: ``desk`` or ``team``.
        databases: In the order of the backup: what refers to another one comes before it.
        trees: Folders and buckets by name, in the order of the backup.
    """

    kind: Kind
    databases: tuple[Database, ...]
    trees: tuple[tuple[str, Tree], ...]


def desk_source(home: Path) -> Source:
    """One machine's workspace: its SQLite databases and all other files.

    Raises:
        BackupError: There is none.
    """
    if not home.is_dir():
        raise BackupError(f"{home} holds no workspace: set EDGEWRIGHT_HOME to one, or begin with `make up`.")
    everything = FolderTree(home, _is_passing).stamps()
    names = sorted(key for key in everything if is_sqlite(home / key))
    # Prefect's runs name MLflow's, never the reverse.
    names.sort(key=lambda name: not name.startswith("prefect/"))
    return Source("desk", tuple(SqliteDatabase(home, name) for name in names), ((HOME, _home_tree(home, names)),))


def team_source(databases: Sequence[str], bucket: str, home: Path | None) -> Source:
    """A team's servers.

    Args:
        databases: Names of PostgreSQL databases, in the order of the backup.
        bucket: ``s3://bucket`` or ``s3://bucket/prefix``.
        home: A worker's workspace, for what was delivered there and is not taken in yet, and for its reports; or None.

    Raises:
        BackupError: A name is not one.
    """
    trees: list[tuple[str, Tree]] = []
    if home is not None:
        trees.append((HOME, FolderTree(home, lambda key: key == _TEAM_CACHE or _is_passing(key))))
    trees.append((BUCKET, BucketTree(bucket)))
    return Source("team", tuple(PostgresDatabase(name) for name in databases), tuple(trees))


def _home_tree(home: Path, databases: Sequence[str]) -> FolderTree:
    own = {name + side for name in databases for side in ("", *_SQLITE_SIDES)}
    return FolderTree(home, lambda key: key in own or _is_passing(key))


def _is_passing(key: str) -> bool:
    """Whether a file or folder (its key ends in ``/``) serves running processes alone, or is a cache."""
    name = os.path.basename(key.rstrip("/"))
    if key.endswith("/"):
        return key == _CACHE or name in _PASSING_FOLDERS
    return key in _PASSING_FILES or name.endswith((*_PASSING_ENDS, *_SQLITE_SIDES))
