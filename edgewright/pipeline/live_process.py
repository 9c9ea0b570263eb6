"""Processes that outlive the command that started them: known for life, marked, found again, ended with all they started.

A process id alone is nobody: it is used again. A process is known by its id *and* its creation time. What was started is
also found without any file of ours: it carries a mark in its environment, which its own children inherit.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_POLL_S = 0.05
# Creation times are reckoned from the boot time, which a clock correction moves a little.
_CLOCK_SLACK_S = 2.0

# The system hands the ports above these to whoever connects somewhere: one of those may be taken when it is wanted again.
_LASTING_PORTS = range(15_000, 30_000)
_TRIES = 20

# What this process started: a child that ends must be reaped by its parent, whoever stopped it.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Mark:
    """One process for life: its id, and when it was created (seconds since the epoch), which tells reused ids apart."""

    pid: int
    created: float

    @staticmethod
    def of(pid: int) -> Mark | None:
        """The mark of a live process; None when there is none."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                return Mark(pid, process.create_time())
        # Gone, or ended and waiting for its parent: where that is us, it is let go now.
        child = _CHILDREN.pop(pid, None)
        if child is not None:
            child.wait()
        return None

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        now = Mark.of(self.pid)
        return now is not None and abs(now.created - self.created) < _CLOCK_SLACK_S


def start_detached(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path, pass_fds: Sequence[int] = ()
) -> Mark:
    """Starts a process in a session of its own, so that an interrupt typed at the command does not reach it.

    Args:
        command: The program and its words.
        folder: What it runs in.
        environment: All of its environment.
        log: Where its output goes; begun anew.
        pass_fds: Open files that it inherits.
    """
    with open(log, "wb") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )
    _CHILDREN[child.pid] = child
    return Mark(child.pid, psutil.Process(child.pid).create_time())


def with_environment(variable: str, value: str | None = None) -> list[Any]:
    """All live processes whose environment holds the variable, with that value where one is given."""
    found = []
    for process in psutil.process_iter():
        try:
            held = process.environ().get(variable)
            if held is not None and value in (None, held) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def end(processes: Sequence[Any], grace_s: float) -> None:
    """Ends processes: politely first, and for certain after ``grace_s`` seconds."""
    left = list(processes)
    for ask in ("terminate", "kill"):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                getattr(process, ask)()
        deadline = time.monotonic() + grace_s
        while left and time.monotonic() < deadline:
            left = [process for process in left if Mark.of(process.pid) is not None and process.is_running()]
            time.sleep(_POLL_S)


def listening_ports(process: Any) -> list[int]:
    """The TCP ports that a process listens on itself."""
    try:
        found = process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return []
    return [each.laddr.port for each in found if each.status == psutil.CONN_LISTEN]


def bind_loopback(wanted: int) -> socket.socket:
    """A listening socket on ``wanted`` if that port is free, so that links outlive a restart, else on any free port.

    Args:
        wanted: The port; 0 for any.
    """
    for port in ([wanted] if wanted else []) + random.sample(_LASTING_PORTS, _TRIES) + [0]:
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    raise OSError("no loopback port is free")


def free_port(wanted: int) -> int:
    """``wanted`` if it is free, else any free port; for servers that cannot be handed a socket."""
    with bind_loopback(wanted) as listener:
        return int(listener.getsockname()[1])


def folder_mark(folder: Path) -> str:
    """What names a folder to processes: device and inode too, for the same path in a container is another folder."""
    status = folder.stat()
    return f"{status.st_dev}:{status.st_ino}:{folder}"


def process_tag() -> str:
    """This process as a tag, ``process:<host>:<pid>:<created>``, by which a later look tells whether it still lives."""
    return f"process:{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"
