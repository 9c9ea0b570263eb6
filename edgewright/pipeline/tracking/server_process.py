"""The embedded server as a process: started once, known to all its users, stopped by the last.

All decisions are taken under one file lock. The state file is written in one piece; what it says about a process counts
only while that process lives.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from edgewright.pipeline.tracking.client import Tracking, artifacts_folder, database_uri, lock, store_folder

STOP_GRACE_S = 15.0
TAIL_LINES = 12
MARK = "EDGEWRIGHT_TRACKING_STORE"

# The same settings stand, with their reasons, in the repository's mlflow/server.env for servers run by other means.
SERVER_SETTINGS = {
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}

# Servers that this process started: a child that ends must be reaped by its parent, whoever stopped it.
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
        # Creation times are reckoned from the boot time, which a clock correction moves a little.
        return now is not None and abs(now.created - self.created) < 2.0


@dataclass(frozen=True)
class ServerProcess:
    """A server of ours: the process that leads its group, and the loopback port it was given."""

    mark: Mark
    port: int

    @property
    def pid(self) -> int:
        """Process id of the leader."""
        return self.mark.pid

    @property
    def uri(self) -> str:
        """Where it answers, or will."""
        return f"http://127.0.0.1:{self.port}"

    def is_alive(self) -> bool:
        """Whether the leader still runs."""
        return self.mark.is_alive()


@dataclass
class _State:
    server: ServerProcess | None = None
    port: int = 0
    users: dict[str, Mark] = field(default_factory=dict)


class SharedServer:
    """The embedded server of one workspace, as one of possibly many users sees it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._token = uuid.uuid4().hex

    def join(self) -> tuple[ServerProcess, bool]:
        """Become a user of the server, which is started when none lives.

        Returns:
            The server, which may not answer yet, and whether this call started it.
        """
        with self._state() as state:
            me = Mark.of(os.getpid())
            assert me is not None
            state.users[self._token] = me
            started = False
            if state.server is None:
                state.port = _free_port(state.port)
                state.server = _start(self._home, state.port)
                started = True
            return state.server, started

    def leave(self) -> bool:
        """Stop being a user; the last one out stops the server.

        Returns:
            Whether the server was stopped.
        """
        if not store_folder(self._home).is_dir():
            return False
        with self._state() as state:
            state.users.pop(self._token, None)
            if state.users or state.server is None:
                return False
            _stop(_family(self._home))
            state.server = None
            return True

    @contextmanager
    def _state(self) -> Iterator[_State]:
        """The state as the living processes confirm it, under the lock; what the block leaves is written back."""
        folder = store_folder(self._home)
        folder.mkdir(parents=True, exist_ok=True)
        with lock(Tracking("", self._home), "tracking-server"):
            state = _read_state(folder / "server.json")
            state.users = {token: user for token, user in state.users.items() if user.is_alive()}
            if state.server is None or not state.server.is_alive():
                state.server = _find_orphan(self._home)
            try:
                yield state
            finally:
                _write_state(folder / "server.json", state)


def is_listening(server: ServerProcess) -> bool:
    """Whether the server, or a process below it, owns its port."""
    try:
        leader = psutil.Process(server.pid)
        sockets = [each for process in [leader, *leader.children(recursive=True)] for each in _listeners(process)]
    except psutil.NoSuchProcess:
        return False
    return server.port in sockets


def log_tail(home: Path) -> str:
    """The last lines that the embedded server wrote."""
    path = store_folder(home) / "server.log"
    text = path.read_text(errors="replace") if path.is_file() else ""
    return "\n".join(text.splitlines()[-TAIL_LINES:])


def _listeners(process: Any) -> list[int]:
    try:
        found = process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return []
    return [each.laddr.port for each in found if each.status == psutil.CONN_LISTEN]


def _start(home: Path, port: int) -> ServerProcess:
    folder = store_folder(home)
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
        *("--serve-artifacts", "--artifacts-destination", str(artifacts_folder(home))),
        *("--backend-store-uri", database_uri(home)),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= SERVER_SETTINGS | {MARK: _store_mark(home)}
    with open(folder / "server.log", "wb") as log:
        # A session of its own: an interrupt typed at the command must not take the server from its other users.
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _CHILDREN[child.pid] = child
    return ServerProcess(Mark(child.pid, psutil.Process(child.pid).create_time()), port)


def _stop(family: list[Any]) -> None:
    """End the processes of a server's group: politely first, and for certain after ``STOP_GRACE_S``."""
    for ask in ("terminate", "kill"):
        for process in family:
            try:
                getattr(process, ask)()
            except psutil.NoSuchProcess:
                continue
        deadline = time.monotonic() + STOP_GRACE_S
        while family and time.monotonic() < deadline:
            family = [process for process in family if Mark.of(process.pid) is not None and process.is_running()]
            time.sleep(0.05)


def _find_orphan(home: Path) -> ServerProcess | None:
    """A live server of this store that the state file does not know; leftovers without a leader are ended."""
    family = _family(home)
    for process in family:
        words = process.cmdline()
        mark = Mark.of(process.pid)
        if mark is not None and words[1:4] == ["-m", "mlflow", "server"]:
            return ServerProcess(mark, int(words[words.index("--port") + 1]))
    _stop(family)
    return None


def _family(home: Path) -> list[Any]:
    """All live processes that carry the store's mark: a server's leader and what it started."""
    wanted, found = _store_mark(home), []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == wanted and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _store_mark(home: Path) -> str:
    # Device and inode: the same path inside a container on this machine is another store.
    folder = store_folder(home)
    status = folder.stat()
    return f"{status.st_dev}:{status.st_ino}:{folder}"


def _free_port(wanted: int) -> int:
    """``wanted`` if it is free, so that links and devices' settings outlive a restart, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no loopback port is free")


def _read_state(path: Path) -> _State:
    try:
        read = json.loads(path.read_text())
        server = read["server"] and ServerProcess(Mark(**read["server"]["mark"]), read["server"]["port"])
        users = {token: Mark(**user) for token, user in read["users"].items()}
        return _State(server or None, int(read["port"]), users)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        # No state, or not one of ours: the processes themselves are asked instead, so nothing is lost but the port.
        return _State()


def _write_state(path: Path, state: _State) -> None:
    users = {token: vars(user) for token, user in state.users.items()}
    server = state.server and {"mark": vars(state.server.mark), "port": state.server.port}
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.write_text(json.dumps({"server": server, "port": state.port, "users": users}, indent=1))
    draft.replace(path)
