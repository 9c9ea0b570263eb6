"""Locks that end with their holder: flock, given back by the kernel even after SIGKILL."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_POLL_S = 0.1


@contextmanager
def exclusive_lock(path: Path, deadline_s: float, on_timeout: Callable[[str], Exception]) -> Iterator[None]:
    """Hold a lock file, which stays behind (deleting it would let two holders lock two files of one name).

    Args:
        path: The lock file; created when absent, readable by its owner alone.
        deadline_s: How long to wait for another holder.
        on_timeout: Makes the error that is raised then, from what the holder wrote: its process id.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        give_up_at = time.monotonic() + deadline_s
        while not _try_lock(descriptor):
            if time.monotonic() >= give_up_at:
                holder = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
                raise on_timeout(holder or "unknown")
            time.sleep(_POLL_S)
        with suppress(OSError):  # who holds it is for people: on a full disk the lock alone counts
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
