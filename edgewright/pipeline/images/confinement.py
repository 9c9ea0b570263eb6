"""The limits that an image is proven under, and what runs it so: a container engine, or this machine's kernel alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self

from edgewright.errors import EdgewrightError

LEAST_MEMORY_MIB = 512
TMP_MIB = 64
PIDS = 256
_LEAST_CPUS = 2.0


class NotProvableError(EdgewrightError):
    """An image cannot be run here as a device would run it: neither proven nor refuted."""


@dataclass(frozen=True)
class Limits:
    """What a device grants the container.

    Besides: the root is read-only, no capability, no new privileges, the image's own user, no network but loopback, a
    volume for the state.

    Attributes:
        memory_mib: Memory of all its processes, without swap, in MiB.
        cpus: Processors.
        tmp_mib: Size of ``/tmp``, in memory, in MiB.
        pids: Processes and threads.
    """

    memory_mib: int = LEAST_MEMORY_MIB
    cpus: float = _LEAST_CPUS
    tmp_mib: int = TMP_MIB
    pids: int = PIDS

    @property
    def tmp_options(self) -> str:
        """How ``/tmp`` is mounted."""
        return f"size={self.tmp_mib}m,mode=1777,noexec,nosuid,nodev"

    def within(self, processors: int) -> Limits:
        """The same, but no more processors than there are: more than that, an engine refuses to grant."""
        return replace(self, cpus=min(self.cpus, float(processors)))


def limits_of(peak_memory_mib: float | None, threads: int | None = None) -> Limits:
    """Give a target's limits: no less than 512 MiB and two processors, which agent and worker share.

    Args:
        peak_memory_mib: The target's budget for the process that serves the model; None where it has none.
        threads: Threads of one inference there; None: nobody says.
    """
    return Limits(max(LEAST_MEMORY_MIB, round(peak_memory_mib or 0)), max(_LEAST_CPUS, float(threads or 0)))


@dataclass(frozen=True)
class Ended:
    """How a command within it ended.

    Attributes:
        status: Its exit status.
        output: What it wrote, last 64 KiB.
    """

    status: int
    output: str


class Confined(Protocol):
    """An image that runs under limits until it is left; whatever happens, nothing of it stays.

    Attributes:
        runner: What runs it, for people.
        limits: What it runs under, once it is started: at most what was asked for.
    """

    runner: str
    limits: Limits

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            NotProvableError: A limit cannot be set here.
        """
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it and remove what it left."""
        ...

    def execute(self, words: Sequence[str], timeout_s: float) -> Ended:
        """Run a command beside the image's own, as its user."""
        ...

    def is_running(self) -> bool:
        """Whether the image's own command runs."""
        ...

    def was_killed_for_memory(self) -> bool:
        """Whether the kernel ended something of it for want of memory."""
        ...

    def memory_mib(self) -> float | None:
        """What all its processes take now, without files that the kernel merely keeps; None where nobody counts."""
        ...

    def stop(self, timeout_s: float) -> int | None:
        """Ask it to end, as an engine does; its exit status, or None where it had to be killed."""
        ...

    def log(self) -> str:
        """The last it said."""
        ...


@dataclass(frozen=True)
class Start:
    """What is started.

    Attributes:
        command: The words.
        environment: Variables, over the image's own.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
