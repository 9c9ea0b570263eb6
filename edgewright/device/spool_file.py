"""The queue on disk: one SQLite file in WAL mode that stays below a bound, whatever is written and whatever breaks.

What is kept of an item is its line, compressed with a checksum: rotten bytes are noticed when it is read. The bound
covers the database, its write-ahead log and what was set aside of a damaged one. One connection, held exclusively: no
reader can keep the log from being written back and let it grow, and its index is in memory, not in a file of its own.

SQLite gives back what a rotten byte made of a value, another type too: lines are read as bytes whatever they have become,
so that each is judged by its own checksum. The schema does not demand their type: the check at the start would then give
up the whole file for one of them.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgewright.durable import flush_folder, replace_file

SPOOL_NAME, DAMAGED_NAME, REASON_NAME = "spool.db", "spool.damaged.db", "spool.damaged.txt"
_SIDES = ("-wal", "-shm", "-journal")
_FORMAT = 1
_PAGE_BYTES = 4096
_FRAME_BYTES = _PAGE_BYTES + 24
_LOG_LEAST, _LOG_MOST = 256 << 10, 2 << 20
_RESERVE_PAGES = 64
_DAMAGED_MOST = 1 << 20
_EVICTED_AT_ONCE = 8
_GZIP = 16 + zlib.MAX_WBITS
TROUBLE = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What a disk, or rotten bytes, can bring about: SQLite's messages quote names from the file, which are text no more."""
# The last two are what a rotten schema or header looks like: the statements themselves are sound.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY)
_LINE = "coalesce(CAST(line AS BLOB), x'')"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (place INTEGER PRIMARY KEY, priority INTEGER NOT NULL, line BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS items_by_value ON items (priority, place);
CREATE TABLE IF NOT EXISTS reserve (room BLOB NOT NULL);
"""


@dataclass(frozen=True)
class Row:
    """An item as it lies on the disk.

    Attributes:
        place: Later items have higher places.
        priority: Higher is more valuable.
        line: The item as one line of JSON, compressed.
    """

    place: int
    priority: int
    line: bytes


def pack(line: bytes) -> bytes:
    """Compress a line, with a checksum of it."""
    packer = zlib.compressobj(wbits=_GZIP)
    return packer.compress(line) + packer.flush()


def unpack(data: bytes, limit: int) -> bytes | None:
    """Give the line back; None when the bytes are not what was packed, or more than the limit."""
    unpacker = zlib.decompressobj(wbits=_GZIP)
    try:
        line = unpacker.decompress(data, limit + 1)
    except zlib.error:
        return None
    return line if unpacker.eof and len(line) <= limit else None


def is_damage(error: Exception) -> bool:
    """Say whether an error means that the file's contents are broken, not that the disk is full or busy."""
    if isinstance(error, UnicodeDecodeError):
        return True
    return isinstance(error, sqlite3.Error) and _code(error) in _DAMAGE


def is_lack_of_room(error: Exception) -> bool:
    """Say whether an error means that the disk is full; the connection is as good as before."""
    return isinstance(error, sqlite3.Error) and _code(error) == sqlite3.SQLITE_FULL


class SpoolFile:
    """The file in one folder. Not thread-safe: the owner locks. Every method raises what `TROUBLE` names.

    On a full disk it goes on within the room that it has: the log keeps its length and is written over, the file does not
    grow while little is free, and what is new takes the place of what is worth least.

    Attributes:
        largest_item: So many bytes a line may have, compressed; and all lines of one step together.
        held: How many items there are, by priority.
    """

    def __init__(self, folder: Path, maximum_bytes: int) -> None:
        self.folder, self.path = folder, folder / SPOOL_NAME
        log = min(max(maximum_bytes // 4, _LOG_LEAST), _LOG_MOST)
        self._damaged_bytes = min(maximum_bytes // 8, _DAMAGED_MOST)
        # The log is written back into the file from this size on; one step more may be in it by then.
        self._log_bytes, self._log_pages = log, min(_RESERVE_PAGES, log // 2 // _FRAME_BYTES)
        self._most_pages = (maximum_bytes - log - self._damaged_bytes) // _PAGE_BYTES
        self.largest_item = (log - self._log_pages * _FRAME_BYTES) // 4
        self.held: Counter[int] = Counter()
        self._open: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._open is not None

    def open(self) -> None:
        """Open or make the file, and prove that it is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        made = not self.path.exists()
        connection = sqlite3.connect(self.path, timeout=0.2, isolation_level=None, check_same_thread=False)
        connection.text_factory = _any_text
        try:
            for setting in (
                "locking_mode = EXCLUSIVE",
                f"page_size = {_PAGE_BYTES}",
                "auto_vacuum = INCREMENTAL",
                "cache_size = -256",
                "journal_mode = WAL",
                "synchronous = FULL",
                f"wal_autocheckpoint = {self._log_pages}",
                "secure_delete = FAST",
                "cell_size_check = ON",
                f"max_page_count = {self._most_pages}",
            ):
                connection.execute(f"PRAGMA {setting}").fetchall()
            if not _is_whole(connection):
                connection.executescript(f"{_SCHEMA} PRAGMA user_version = {_FORMAT};")
            if made:
                flush_folder(self.folder)
        except BaseException:
            connection.close()
            raise
        self._open = connection
        self.held = self._counted()
        try:
            self._shrink()
            self._reserve()
        except sqlite3.Error as error:
            if not is_lack_of_room(error):  # then it works within the room that it has
                self.close()
                raise

    def close(self) -> None:
        """Write the log back and let the file go."""
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()

    def add(self, rows: Sequence[Row]) -> tuple[Counter[int], set[int]]:
        """Write items in one durable step. A row that is there already was written by a step that failed late.

        Returns:
            How many were evicted, by priority; and the places of those among the new ones that are worth less than
            everything there, and had no room.
        """
        evicted: Counter[int] = Counter()
        turned_away: set[int] = set()
        before = self._figure("page_count")
        bound = before if self._is_tight() else self._most_pages - self._log_pages
        with self._step() as connection:
            for row in sorted(rows, key=lambda row: (-row.priority, row.place)):
                if not self._make_room(len(row.line) // (_PAGE_BYTES - 4) + 4, bound, row.priority, evicted):
                    evicted[row.priority] += 1
                    turned_away.add(row.place)
                    continue
                insert = "INSERT OR IGNORE INTO items VALUES (?, ?, ?)"
                self.held[row.priority] += connection.execute(insert, (row.place, row.priority, row.line)).rowcount
        if self._figure("page_count") > before:
            # Pages that are in the log alone would need room on the disk when somebody else has filled it.
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return evicted, turned_away

    def most_valuable(self, count: int, limit_bytes: int) -> list[Row]:
        """Give items in the order in which they should leave: by priority, then the oldest first; at least one."""
        found: list[Row] = []
        size = 0
        priorities = self._connection.execute("SELECT DISTINCT priority FROM items ORDER BY priority DESC").fetchall()
        for (priority,) in priorities:
            wanted = f"SELECT place, {_LINE} FROM items WHERE priority = ? ORDER BY place LIMIT ?"
            with closing(self._connection.execute(wanted, (priority, count - len(found)))) as rows:
                for place, line in rows:
                    size += len(line)
                    if found and (size > limit_bytes or len(found) >= count):
                        return found
                    found.append(Row(place, priority, line))
            if len(found) >= count:
                break
        return found

    def remove(self, rows: Iterable[Row]) -> None:
        """Delete items durably; those that were evicted meanwhile are gone already."""
        with self._step() as connection:
            for row in rows:
                deleted = connection.execute("DELETE FROM items WHERE place = ?", (row.place,)).rowcount
                self.held[row.priority] -= deleted

    def last_place(self) -> int:
        """Give the highest place; 0 when there is no item."""
        return int(self._connection.execute("SELECT coalesce(max(place), 0) FROM items").fetchone()[0])

    def size_bytes(self) -> int:
        """Give what lies on the disk, with the log and what was set aside."""
        names = [SPOOL_NAME, *(f"{SPOOL_NAME}{side}" for side in _SIDES), DAMAGED_NAME, REASON_NAME]
        sizes = []
        for name in names:
            with suppress(FileNotFoundError):
                sizes.append((self.folder / name).stat().st_size)
        return sum(sizes)

    def set_aside(self, reason: str, save_from: int) -> list[Row]:
        """Move a damaged file out of the way, beside the reason; gives what could be saved of it.

        Args:
            reason: What is wrong with it.
            save_from: Items of at least this priority are saved, as far as they are readable, the newest first.
        """
        with suppress(sqlite3.Error):
            self.close()
        self._open = None
        damaged = self.folder / DAMAGED_NAME
        for side in _SIDES:
            (self.folder / f"{DAMAGED_NAME}{side}").unlink(missing_ok=True)
        for side in ("", *_SIDES):
            source = self.folder / f"{SPOOL_NAME}{side}"
            if source.exists():
                source.replace(self.folder / f"{DAMAGED_NAME}{side}")
        saved = _readable(damaged, save_from, self._damaged_bytes)
        for side in _SIDES:
            (self.folder / f"{DAMAGED_NAME}{side}").unlink(missing_ok=True)
        os.truncate(damaged, min(damaged.stat().st_size, self._damaged_bytes - _PAGE_BYTES))
        replace_file(self.folder / REASON_NAME, reason[:1000].encode(errors="replace") + b"\n")
        return saved

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise sqlite3.OperationalError("the spool's file is not open")
        return self._open

    @contextmanager
    def _step(self) -> Iterator[sqlite3.Connection]:
        """One durable step: all of it, or nothing."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite itself ends some transactions that fail for want of room
                connection.execute("ROLLBACK")
            self.held = self._counted()
            raise

    def _counted(self) -> Counter[int]:
        rows = self._connection.execute("SELECT priority, count(*) FROM items GROUP BY priority").fetchall()
        return Counter(dict(rows))

    def _make_room(self, pages: int, bound: int, priority: int, evicted: Counter[int]) -> bool:
        while max(0, bound - self._figure("page_count")) + self._figure("freelist_count") < pages:
            if not self._evict(_EVICTED_AT_ONCE, priority, evicted):
                return False
        return True

    def _evict(self, count: int, below: int, evicted: Counter[int]) -> int:
        wanted = "SELECT place, priority FROM items WHERE priority <= ? ORDER BY priority, place LIMIT ?"
        victims = self._connection.execute(wanted, (below, count)).fetchall()
        self._connection.executemany("DELETE FROM items WHERE place = ?", [(place,) for place, _ in victims])
        gone = Counter(priority for _, priority in victims)
        evicted.update(gone)
        self.held.subtract(gone)
        return len(victims)

    def _figure(self, pragma: str) -> int:
        return int(self._connection.execute(f"PRAGMA {pragma}").fetchone()[0])

    def _is_tight(self) -> bool:
        """Whether others have filled the disk."""
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize < self._log_bytes

    def _reserve(self) -> None:
        """Give the log its length and the file some free pages, while the disk has room for them."""
        log = self.folder / f"{SPOOL_NAME}-wal"
        if self._figure("freelist_count") >= self._log_pages <= log.stat().st_size // _FRAME_BYTES or self._is_tight():
            return
        filled = self._log_pages * (_PAGE_BYTES - 4) - _PAGE_BYTES
        for statement in (f"INSERT INTO reserve VALUES (zeroblob({filled}))", "DELETE FROM reserve"):
            self._connection.execute(statement)
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _shrink(self) -> None:
        """Bring a file that was made under a greater bound below this one, in steps that the log has room for."""
        evicted: Counter[int] = Counter()
        while self._figure("page_count") > self._most_pages:
            if not self._figure("freelist_count") and not self._evict(64, 1 << 30, evicted):
                return
            self._connection.execute("PRAGMA incremental_vacuum(16)").fetchall()


def _is_whole(connection: sqlite3.Connection) -> bool:
    """Whether this is a spool, and not a file that was just made."""
    if (found := int(connection.execute("PRAGMA user_version").fetchone()[0])) > _FORMAT:
        raise _damage(f"its format {found} is newer than {_FORMAT}: a newer agent was here")
    told = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if told != "ok":
        raise _damage(f"SQLite's check says: {told}")
    return found == _FORMAT


def _any_text(data: bytes) -> str:
    """Text that came about by a rotten byte need not be text."""
    return data.decode(errors="replace")


def _damage(text: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _readable(path: Path, save_from: int, limit_bytes: int) -> list[Row]:
    """What a damaged file still gives: read in order until it breaks, the newest kept within the limit."""
    kept: deque[Row] = deque()
    size = 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=1)) as connection:
        connection.text_factory = _any_text
        for place, priority, line in connection.execute(f"SELECT place, priority, {_LINE} FROM items ORDER BY place"):
            if not isinstance(priority, int) or priority < save_from:
                continue
            kept.append(Row(place, priority, line))
            size += len(line)
            while size > limit_bytes:
                size -= len(kept.popleft().line)
    return [row for row in kept if unpack(row.line, limit_bytes * 16) is not None]
