"""What a device has to say and could not say yet: a bounded, durable queue that forgets the least valuable first.

Who puts an item never waits for the disk unless it asks to, and never sees an error of it: one thread writes, from a small
queue in memory. Every item has a number that is never given again: the *epoch*, drawn at random when the process starts,
and a *sequence* that counts within it. Neither a fresh file, nor an old copy of one, nor a lost power can repeat a pair.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgewright.device.spool_file import SPOOL_NAME, TROUBLE, Row, SpoolFile, is_damage, is_lack_of_room, pack, unpack
from edgewright.device.spool_memory import Memory, Pending, Priority

LINE_MAX_BYTES = 1 << 20
"""The longest line of an item, not compressed."""
_LINGER_S = 1.0
_RETRY_S = 5.0
_ATTEMPTS = 2


@dataclass(frozen=True)
class Item:
    """An item that waits to be sent.

    Attributes:
        epoch: First part of its number, 16 hexadecimal digits.
        sequence: Second part of its number, from 1.
        line: All of it, as one line of JSON.
        row: As it lies on the disk.
    """

    epoch: str
    sequence: int
    line: bytes
    row: Row


@dataclass(frozen=True)
class SpoolFigures:
    """How the queue is.

    Attributes:
        items: How many wait on the disk, by the name of their priority.
        in_memory: How many are not on the disk yet.
        size_bytes: What lies on the disk, all files together.
        maximum_bytes: What may lie there.
        evicted: Forgotten for want of room since the start, by the name of their priority.
        damaged: Items, and files, that had to be given up because their bytes were broken, since the start.
        error: Why nothing can be written now; None when all is well.
    """

    items: dict[str, int]
    in_memory: int
    size_bytes: int
    maximum_bytes: int
    evicted: dict[str, int]
    damaged: int
    error: str | None


class Spool:
    """The queue in one state folder. Thread-safe; one process at a time."""

    def __init__(
        self,
        folder: Path,
        maximum_mib: float,
        on_trouble: Callable[[str], None] = lambda text: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is opened before `start` or `write_pending`.

        Args:
            folder: The state folder.
            maximum_mib: Bound of all its files on the disk, MiB.
            on_trouble: Told in one sentence when writing fails, works again, or a damaged file was set aside; it must
                not put anything here.
            wall: The time of day, seconds since 1970.
        """
        self.epoch = secrets.token_hex(8)
        self._maximum_bytes = int(maximum_mib * (1 << 20))
        self._file = SpoolFile(folder, self._maximum_bytes)
        self._file_lock = threading.RLock()
        self._memory = Memory()
        self._changed = threading.Condition()
        self._on_trouble, self._wall = on_trouble, wall
        self._sequence = self._place = self._damaged = self._in_flight = 0
        self._evicted: Counter[int] = Counter()
        self._error: str | None = None
        self._urgent = self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write, in a thread of its own, which opens the file first."""
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Write what is in memory and close the file; gives up after the time."""
        with self._changed:
            if self._stopping:
                return
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        else:
            self.write_pending()
        if self._file_lock.acquire(timeout=timeout_s):
            with suppress(*TROUBLE):
                self._file.close()
            self._file_lock.release()

    def put(self, kind: str, priority: Priority, payload: bytes, wait_s: float = 0.0) -> bool:
        """Add an item; never raises for the disk's sake.

        Args:
            kind: What it is, a word.
            priority: What it is worth.
            payload: One JSON value, without line ends.
            wait_s: Wait so long for it to be durable; it is written at once then. 0: it is written with the next ones.

        Returns:
            Whether it is known to be durable.
        """
        at = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds")
        with self._changed:
            self._sequence += 1
            head = {"epoch": self.epoch, "sequence": self._sequence, "kind": kind, "priority": int(priority), "at": at}
            line = json.dumps(head).encode()[:-1] + b', "payload": ' + payload + b"}"
            if len(line) > LINE_MAX_BYTES:
                self._evicted[priority] += 1
                return False
            waits = wait_s > 0 and self._thread is not None and self._error is None
            pending = Pending(self._sequence, priority, line, threading.Event() if waits else None)
            self._memory.push(pending)
            self._urgent |= wait_s > 0
            self._drop_overflow()
            self._changed.notify_all()
        if pending.written is None:
            return False
        pending.written.wait(wait_s)
        return pending.is_durable

    def wait_for_items(self, timeout_s: float) -> bool:
        """Wait until something is there to be sent; says whether there is."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._has_items(), timeout_s)
            return self._has_items() and not self._stopping

    def _has_items(self) -> bool:
        return any(self._file.held[each] for each in Priority)

    def next_batch(self, items: int, limit_bytes: int = LINE_MAX_BYTES) -> tuple[Item, ...]:
        """Give what should be sent next: the most valuable, of these the oldest. They stay until they are acknowledged.

        Args:
            items: At most so many.
            limit_bytes: At most so much, compressed; at least one item, whatever its size.
        """
        with self._file_lock:
            if not self._file.is_open:
                return ()
            try:
                rows = self._file.most_valuable(items, limit_bytes)
                read = [(row, _read(row)) for row in rows]
                if broken := [row for row, item in read if item is None]:
                    self._damaged += len(broken)
                    self._file.remove(broken)
            except TROUBLE as error:
                self._recover(error)
                return ()
        return tuple(item for _, item in read if item is not None)

    def acknowledge(self, items: Sequence[Item]) -> bool:
        """Forget items that the receiver has; says whether that is durable. If not, they are sent again."""
        with self._file_lock:
            if not self._file.is_open:
                return False
            try:
                self._file.remove([item.row for item in items])
            except TROUBLE as error:
                self._recover(error)
                return False
        return True

    def figures(self) -> SpoolFigures:
        """Say how the queue is; waits for nobody."""
        held, evicted = Counter(self._file.held), Counter(self._evicted)
        return SpoolFigures(
            items={each.name.lower(): held[each] for each in Priority},
            in_memory=self._memory.items + self._in_flight,
            size_bytes=self._file.size_bytes(),
            maximum_bytes=self._maximum_bytes,
            evicted={each.name.lower(): evicted[each] for each in Priority},
            damaged=self._damaged,
            error=self._error,
        )

    def write_pending(self) -> bool:
        """Write what is in memory; says whether all of it is on the disk. What the thread does, again and again."""
        while True:
            with self._changed:
                batch = self._memory.take_most_valuable(self._file.largest_item)
                self._in_flight = len(batch)
            is_written = self._write(batch)
            with self._changed:
                self._in_flight = 0
                if not is_written:
                    self._memory.put_back(batch)
                    self._drop_overflow()
                    self._memory.release_waiting()
                if not self._memory.items:
                    self._urgent = False
                self._changed.notify_all()
            if not is_written or not batch:
                return is_written

    def _run(self) -> None:
        well = self.write_pending()
        while not self._stopping:
            with self._changed:
                if well:
                    self._changed.wait_for(lambda: self._stopping or self._memory.items, None)
                    self._changed.wait_for(lambda: self._stopping or self._urgent, _LINGER_S)
                else:
                    self._changed.wait_for(lambda: self._stopping, _RETRY_S)
            well = self.write_pending()
        self.write_pending()

    def _write(self, batch: list[Pending]) -> bool:
        """Write a batch durably. What is given up leaves the batch, whether that is written or not."""
        packed = [(pending, pack(pending.line)) for pending in batch]
        self._give_up(batch, [each for each, line in packed if len(line) > self._file.largest_item])
        with self._file_lock:
            for _ in range(_ATTEMPTS):
                try:
                    self._open_file()
                    rows = [self._row(pending, line) for pending, line in packed if pending in batch]
                    evicted, turned_away = self._file.add(rows)
                    break
                except TROUBLE as error:
                    self._recover(error)
                    if is_lack_of_room(error):
                        self._give_up(batch, [each for each in batch if each.priority == Priority.LOW])
            else:
                return False
            if self._error is not None:
                self._error = None
                self._on_trouble("the spool can be written again")
        self._evicted += evicted
        for pending in batch:
            pending.release(pending.place not in turned_away)
        return True

    def _row(self, pending: Pending, line: bytes) -> Row:
        if not pending.place:
            self._place += 1
            pending.place = self._place
        return Row(pending.place, int(pending.priority), line)

    def _give_up(self, batch: list[Pending], lost: Sequence[Pending]) -> None:
        for pending in lost:
            batch.remove(pending)
            self._evicted[pending.priority] += 1
            pending.release(False)

    def _open_file(self) -> None:
        if self._file.is_open:
            return
        try:
            self._file.open()
        except TROUBLE as error:
            if not is_damage(error):
                raise
            self._set_aside(error)
        self._place = max(self._place, self._file.last_place())

    def _recover(self, error: Exception) -> None:
        """Do what can be done about an error of the file; the next attempt finds out whether it helped."""
        if is_damage(error):
            try:
                self._set_aside(error)
                return
            except TROUBLE as second:
                error = second
        if not is_lack_of_room(error):
            with suppress(sqlite3.Error):
                self._file.close()  # after a failed flush only a new connection knows what is on the disk
        if self._error is None:
            self._on_trouble(f"the spool cannot be written: {error}")
        self._error = str(error)

    def _set_aside(self, error: Exception) -> None:
        saved = self._file.set_aside(str(error), Priority.HIGH)
        self._damaged += 1
        self._on_trouble(f"the spool was damaged and begins anew, {len(saved)} events of it were saved: {error}")
        self._file.open()
        if saved:
            self._evicted += self._file.add(saved)[0]
        self._place = max(self._place, self._file.last_place())

    def _drop_overflow(self) -> None:
        while (pending := self._memory.take_overflow()) is not None:
            self._evicted[pending.priority] += 1
            pending.release(False)


def peek_items(folder: Path) -> dict[str, int] | None:
    """Count what waits in the queue of an agent that does not run; None where that cannot be read."""
    path = folder / SPOOL_NAME
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0.2)) as connection:
            held = dict(connection.execute("SELECT priority, count(*) FROM items GROUP BY priority").fetchall())
    except sqlite3.Error:
        return None
    return {each.name.lower(): held.get(int(each), 0) for each in Priority}


def _read(row: Row) -> Item | None:
    """An item as it was put; None when its bytes are broken."""
    line = unpack(row.line, LINE_MAX_BYTES)
    if line is None:
        return None
    try:
        head = json.loads(line)
        return Item(str(head["epoch"]), int(head["sequence"]), line, row)
    except (ValueError, TypeError, KeyError):
        return None
