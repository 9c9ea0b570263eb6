"""What stands in the shared store of a lease: who holds it, since when, until when; and whether that still counts."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from edgewright.errors import EdgewrightError


@dataclass(frozen=True)
class LeaseRecord:
    """Who holds a lease. No two records are equal, so their bytes serve compare-and-swap.

    Attributes:
        name: The lease's name.
        holder: Who holds it, in words.
        host: Name of the holder's machine.
        kernel: Which start of which machine, and which container of it, its process id belongs to; empty where unknown.
        pid: Its process.
        process_created: When that process was created, in clock ticks since the machine's start; 0 where unknown.
        token: Differs each time that somebody gets the lease.
        since: When it got it, ISO 8601 in UTC.
        until: When it ends unless renewed; empty when it was given back.
    """

    name: str
    holder: str
    host: str
    kernel: str
    pid: int
    process_created: int
    token: str
    since: str
    until: str

    @classmethod
    def of_this_process(cls, name: str, holder: str, life_s: float) -> Self:
        """A new lease of this process."""
        created = _created(os.getpid())
        return cls(
            name=name,
            holder=holder,
            host=socket.gethostname(),
            kernel=_kernel() if created else "",
            pid=os.getpid(),
            process_created=created,
            token=uuid.uuid4().hex,
            since=_written(0.0),
            until=_written(life_s),
        )

    @classmethod
    def from_bytes(cls, content: bytes, place: str) -> Self:
        """Reads a record.

        Args:
            content: What stands there.
            place: Where, for the message.

        Raises:
            EdgewrightError: It is none.
        """
        try:
            record = cls(**json.loads(content))
            record.is_free(0.0)
            if record.to_bytes() != content:
                raise ValueError("written in another way")
            return record
        except (ValueError, TypeError) as error:
            raise EdgewrightError(
                f"{place} is no lease that this version can read ({error}). Where nothing runs that may hold it, remove it."
            ) from error

    def to_bytes(self) -> bytes:
        """The record as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode()

    def renewed(self, life_s: float) -> LeaseRecord:
        """The same lease, that ends later."""
        return dataclasses.replace(self, until=_written(life_s))

    def given_back(self) -> LeaseRecord:
        """The same lease, over."""
        return dataclasses.replace(self, until="")

    def is_free(self, margin_s: float) -> bool:
        """Whether somebody else may take it.

        Args:
            margin_s: Seconds by which the holder's clock may be behind this machine's.
        """
        if not self.until:
            return True
        if self.kernel and self.kernel == _kernel() and _created(self.pid) != self.process_created:
            return True
        return datetime.now(UTC) > datetime.fromisoformat(self.until) + timedelta(seconds=margin_s)

    def told(self) -> str:
        """Who holds it, in words."""
        return (
            f"{self.holder} holds {self.name} on {self.host} (process {self.pid}) since {self.since}, "
            f"until {self.until} unless it is renewed"
        )


def _written(in_s: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=in_s)).isoformat(timespec="microseconds")


def _kernel() -> str:
    """What process ids and their times belong to: this start of this machine, and this container of it."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{start} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _created(pid: int) -> int:
    """When a process was created, in clock ticks since the machine's start; 0 where there is none, or only its remains.

    Not psutil's creation time: that is a date, and moves when the machine's clock is set.
    """
    try:
        # The name in brackets may hold anything; what follows its last bracket does not.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
