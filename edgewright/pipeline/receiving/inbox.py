"""What devices reported, in one folder: ``inbox.db`` with a row per item, and ``samples/`` with raw inputs to be labelled.

An item's identity is device, epoch and sequence: what comes twice is there once. Samples have no labels, so nothing in the
nightly could use them: they lie here until a person labels them and delivers them to the model's incoming folder.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgewright.durable import flush_folder, replace_file
from edgewright.errors import DataError, DiskFullError
from edgewright.pipeline.receiving.item import Received

INBOX_NAME, SAMPLES_NAME = "inbox.db", "samples"
_FORMAT = 1
_PAGE_BYTES = 4096
_MOST_DEVICES = 100_000
_FREE_BYTES = 256 << 20
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
  device TEXT NOT NULL, epoch TEXT NOT NULL, sequence INTEGER NOT NULL,
  kind TEXT NOT NULL, priority INTEGER NOT NULL, at TEXT NOT NULL, received_at TEXT NOT NULL, payload TEXT NOT NULL,
  PRIMARY KEY (device, epoch, sequence)
);
CREATE INDEX IF NOT EXISTS items_by_kind ON items (device, kind);
CREATE TABLE IF NOT EXISTS devices (device TEXT PRIMARY KEY, seen_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS samples (file TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Answer:
    """What became of a batch.

    Attributes:
        stored: Numbers of the items that are durable here: new ones, and those that were here before.
        refused: Numbers of the items that will never be taken, with the reason.
    """

    stored: tuple[tuple[str, int], ...]
    refused: tuple[tuple[str, int, str], ...]


class Inbox:
    """The folder. Thread-safe; several processes may look at it while one receives."""

    def __init__(
        self,
        folder: Path,
        maximum_bytes: int,
        free_bytes: int = _FREE_BYTES,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Open or make it.

        Args:
            folder: Where it is.
            maximum_bytes: Bound of the rows, and of the samples' files, each.
            free_bytes: So much must stay free on the disk.
            wall: The time of day, seconds since 1970.

        Raises:
            DataError: The folder cannot be used.
        """
        self.folder, self.samples = folder, folder / SAMPLES_NAME
        self._maximum_bytes, self._free_bytes, self._wall = maximum_bytes, free_bytes, wall
        self._lock = threading.Lock()
        try:
            self.samples.mkdir(parents=True, exist_ok=True)
            flush_folder(folder)
            self._connection = sqlite3.connect(
                folder / INBOX_NAME, timeout=10, isolation_level=None, check_same_thread=False
            )
            for setting in (
                "journal_mode = WAL",
                "synchronous = FULL",
                f"max_page_count = {maximum_bytes // _PAGE_BYTES}",
            ):
                self._connection.execute(f"PRAGMA {setting}").fetchall()
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"PRAGMA user_version = {_FORMAT}")
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"{folder}: cannot be used as an inbox ({error}). Name another folder.") from error

    def close(self) -> None:
        """Let the files go."""
        with self._lock:
            self._connection.close()

    def take(self, device: str, items: Sequence[Received]) -> Answer:
        """Keep a device's items; they are durable when this returns.

        Raises:
            DiskFullError: There is no room for them, or for one device more. None of them was taken.
        """
        now = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="seconds")
        sound = [item for item in items if not item.objection]
        with self._lock:
            self._check_room()
            try:
                with self._step() as connection:
                    known = connection.execute("SELECT 1 FROM devices WHERE device = ?", (device,)).fetchone()
                    count = connection.execute("SELECT count(*) FROM devices").fetchone()[0]
                    if known is None and count >= _MOST_DEVICES:
                        raise DiskFullError(f"{_MOST_DEVICES} devices report here already; {device} is one more.")
                    connection.execute("INSERT OR REPLACE INTO devices VALUES (?, ?)", (device, now))
                    for item in sound:
                        self._keep(connection, device, item, now)
                    if any(item.sample for item in sound):
                        flush_folder(self.samples / device)
                        flush_folder(self.samples)
            except (OSError, sqlite3.Error) as error:
                raise DiskFullError(f"{self.folder}: a batch cannot be kept ({error}). Make room there.") from error
        return Answer(
            tuple((item.epoch, item.sequence) for item in sound),
            tuple((item.epoch, item.sequence, item.objection) for item in items if item.objection),
        )

    def count(self) -> int:
        """Give how many items are here."""
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM items").fetchone()[0])

    def _keep(self, connection: sqlite3.Connection, device: str, item: Received, now: str) -> None:
        row = (device, item.epoch, item.sequence, item.kind, item.priority, item.at, now, item.payload)
        added = connection.execute("INSERT OR IGNORE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row).rowcount
        if not added or item.sample is None:
            return
        # The file first: its row, and with it the acknowledgement, comes with the commit.
        (self.samples / device).mkdir(exist_ok=True)
        name = f"{device}/{item.epoch}-{item.sequence}.{item.sample.ending}"
        replace_file(self.samples / name, item.sample.body)
        connection.execute("INSERT OR REPLACE INTO samples VALUES (?, ?)", (name, len(item.sample.body)))

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < self._free_bytes:
            raise DiskFullError(f"{self.folder}: {free >> 20} MiB are free, {self._free_bytes >> 20} MiB must stay so.")
        samples = self._connection.execute("SELECT coalesce(sum(size_bytes), 0) FROM samples").fetchone()[0]
        if samples > self._maximum_bytes:
            raise DiskFullError(f"{self.samples}: full. Label the samples and move them away, or raise --maximum-gib.")

    @contextmanager
    def _step(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


@contextmanager
def looking_at(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open an inbox to read from it, also while it receives.

    Raises:
        DataError: There is none, or it cannot be read.
    """
    path = folder / INBOX_NAME
    if not path.is_file():
        raise DataError(f"{folder}: nothing was received there yet. Start `edgewright receive`.")
    try:
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
            connection.execute("PRAGMA query_only = ON")
            yield connection
    except sqlite3.Error as error:
        raise DataError(f"{os.fspath(path)}: cannot be read ({error}).") from error
