"""Dumps of databases that others write to meanwhile: each is of one moment, and the next writer waits for none of them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Protocol

from edgewright.errors import BackupError

_BUSY_TIMEOUT_S = 60.0
_MAGIC = b"SQLite format 3\x00"
_ANY_TABLE = (
    "select count(*) from pg_class join pg_namespace on pg_namespace.oid = relnamespace "
    "where nspname !~ '^pg_' and nspname <> 'information_schema' and relkind in ('r', 'p', 'v', 'm', 'S')"
)


class Database(Protocol):
    """Something that can be dumped and restored as of one moment."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def engine(self) -> str:
        """``sqlite`` or ``postgresql``."""
        ...

    def dump(self, into: Path) -> None:
        """Writes all of it to a new file."""
        ...

    def refuse_unless_empty(self) -> None:
        """Raises a BackupError unless it is there and holds nothing."""
        ...

    def restore(self, dump: Path) -> None:
        """Fills an empty one: wholly or not at all."""
        ...


class SqliteDatabase:
    """A database file below a folder, by SQLite's own backup: writers may go on.

    Args:
        root: The folder.
        name: Its place below, with ``/``.
    """

    engine = "sqlite"

    def __init__(self, root: Path, name: str) -> None:
        self.name, self._place = name, root / name

    def dump(self, into: Path) -> None:
        """See ``Database``; the copy is one file, checked page by page.

        Raises:
            BackupError: It is damaged, or locked for a minute.
        """
        address = f"{self._place.absolute().as_uri()}?mode=ro"
        try:
            with (
                closing(sqlite3.connect(address, uri=True, timeout=_BUSY_TIMEOUT_S)) as here,
                closing(sqlite3.connect(into)) as there,
            ):
                here.backup(there)
                there.execute("pragma journal_mode=delete")
                said = [row[0] for row in there.execute("pragma quick_check")]
        except sqlite3.Error as error:
            raise BackupError(f"{self._place} could not be backed up: {error}.") from error
        if said != ["ok"]:
            raise BackupError(f"{self._place} is damaged: {said[0]}. Restore an older backup, or repair it.")

    def refuse_unless_empty(self) -> None:
        """See ``Database``."""
        if self._place.exists():
            raise BackupError(f"{self._place} is there already. Restore into an empty folder.")

    def restore(self, dump: Path) -> None:
        """See ``Database``."""
        self._place.parent.mkdir(parents=True, exist_ok=True)
        draft = self._place.with_name(f"{self._place.name}.restoring")
        shutil.copyfile(dump, draft)
        draft.replace(self._place)


class PostgresDatabase:
    """A database of a PostgreSQL server, by its own pg_dump and pg_restore; libpq's variables (``PGHOST``, …) lead to it.

    Args:
        name: Its name.
    """

    engine = "postgresql"

    def __init__(self, name: str) -> None:
        self.name = name

    def dump(self, into: Path) -> None:
        """See ``Database``; owners and rights are in the dump, their roles are not.

        Raises:
            BackupError: The server refuses or cannot be reached, or its tools are not installed or older than it.
        """
        self._run("pg_dump", "--format=custom", f"--file={into}", f"--dbname={self.name}")

    def refuse_unless_empty(self) -> None:
        """See ``Database``."""
        tables = self._run(
            "psql", "--no-psqlrc", "--tuples-only", f"--dbname={self.name}", f"--command={_ANY_TABLE}"
        ).strip()
        if tables != "0":
            raise BackupError(
                f"database {self.name} on {_server()} is not empty: it holds {tables} tables. Nothing was restored. "
                "Stop what writes to it, drop it and make it anew, or restore into new servers."
            )

    def restore(self, dump: Path) -> None:
        """See ``Database``."""
        self._run("pg_restore", "--exit-on-error", "--single-transaction", f"--dbname={self.name}", str(dump))

    def _run(self, tool: str, *words: str) -> str:
        try:
            done = subprocess.run(
                [tool, "--no-password", *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                text=True,
                errors="replace",
                env={**os.environ, "PGCONNECT_TIMEOUT": os.environ.get("PGCONNECT_TIMEOUT", "10"), "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise BackupError(
                f"{tool} is not installed: databases of PostgreSQL need its client of the server's version, or a newer one."
            ) from error
        if done.returncode:
            said = "; ".join(done.stderr.strip().splitlines()[:3]) or f"it ended with {done.returncode}"
            raise BackupError(f"database {self.name} on {_server()}: {tool} failed: {said}")
        return done.stdout


def is_sqlite(place: Path) -> bool:
    """Whether a file is a SQLite database, whatever it is called."""
    try:
        with place.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _server() -> str:
    return f"{os.environ.get('PGHOST', 'this machine')}:{os.environ.get('PGPORT', '5432')}"
