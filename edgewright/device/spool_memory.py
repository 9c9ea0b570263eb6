"""What waits in memory to be written to the spool: bounded in number and bytes, the least valuable goes first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

_MOST_BYTES, _MOST_ITEMS = 2 << 20, 2000


class Priority(IntEnum):
    """How much an item is worth: the lowest is forgotten first, the highest is sent first."""

    LOW = 0
    MIDDLE = 1
    HIGH = 2


@dataclass(eq=False)
class Pending:
    """An item that is not on the disk yet.

    Attributes:
        sequence: Its number.
        priority: What it is worth.
        line: All of it, as one line of JSON.
        written: Set once it is known what became of it; None where nobody waits.
        is_durable: What became of it.
        place: Where it will lie on the disk; settled at the first attempt, and the same at each.
    """

    sequence: int
    priority: Priority
    line: bytes
    written: threading.Event | None
    is_durable: bool = False
    place: int = 0

    def release(self, is_durable: bool) -> None:
        """Let who waits know."""
        self.is_durable = is_durable
        if self.written is not None:
            self.written.set()


class Memory:
    """The items, by priority. Not thread-safe: the owner locks.

    Attributes:
        items: How many there are.
    """

    def __init__(self) -> None:
        self._queues: dict[Priority, deque[Pending]] = {each: deque() for each in Priority}
        self._size = self.items = 0

    def push(self, pending: Pending) -> None:
        """Add one, as the latest."""
        self._queues[pending.priority].append(pending)
        self._grow(1, pending)

    def put_back(self, pending: Sequence[Pending]) -> None:
        """Add some that were taken, as the oldest."""
        for each in reversed(pending):
            self._queues[each.priority].appendleft(each)
            self._grow(1, each)

    def take_overflow(self) -> Pending | None:
        """Take the least valuable, of these the oldest, while there is too much; None when there is not."""
        return self._take(Priority) if self.items > _MOST_ITEMS or self._size > _MOST_BYTES else None

    def take_most_valuable(self, limit_bytes: int) -> list[Pending]:
        """Take the most valuable, of these the oldest, within a limit; at least one, if there is one."""
        taken: list[Pending] = []
        while (pending := self._take(reversed(Priority))) is not None:
            limit_bytes -= len(pending.line)
            if taken and limit_bytes < 0:
                self.put_back([pending])
                break
            taken.append(pending)
        return taken

    def release_waiting(self) -> None:
        """Let everybody know that it will take longer."""
        for queue in self._queues.values():
            for pending in queue:
                pending.release(False)

    def _take(self, order: Iterable[Priority]) -> Pending | None:
        for priority in order:
            if self._queues[priority]:
                pending = self._queues[priority].popleft()
                self._grow(-1, pending)
                return pending
        return None

    def _grow(self, sign: int, pending: Pending) -> None:
        self.items, self._size = self.items + sign, self._size + sign * len(pending.line)
