"""The embedded server as a process: started once, known to all its users, stopped by the last.

All decisions are taken under one file lock. The state file is written in one piece; what it says about a process counts
only while that process lives.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from edgewright.pipeline.live_process import (
    Mark,
    end,
    folder_mark,
    free_port,
    listening_ports,
    start_detached,
    with_environment,
)
from edgewright.pipeline.tracking.client import Tracking, artifacts_folder, database_uri, lock, store_folder

STOP_GRACE_S = 15.0
TAIL_LINES = 12
MARK = "EDGEWRIGHT_TRACKING_STORE"
# The user that stands for nobody: its process is the server's own.
_KEEPER = "kept"
_NOT_INHERITED = ("MLFLOW_", "PREFECT_", "EDGEWRIGHT_DESK")

# The same settings stand, with their reasons, in the repository's mlflow/server.env for servers run by other means.
SERVER_SETTINGS = {
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


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


@dataclass(frozen=True)
class Use:
    """What holds a server up at one moment.

    Attributes:
        server: The server, where one lives.
        port: Its port, or the one that the next server will be given if it is free; 0 before the first.
        kept: Whether it stays up without users, until it is released.
        users: Ids of the live processes that use it.
    """

    server: ServerProcess | None
    port: int
    kept: bool
    users: tuple[int, ...]


@dataclass
class _State:
    server: ServerProcess | None = None
    port: int = 0
    users: dict[str, Mark] = field(default_factory=dict)

    def use(self) -> Use:
        users = {mark.pid for token, mark in self.users.items() if token != _KEEPER}
        return Use(self.server, self.port, _KEEPER in self.users, tuple(sorted(users)))


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
            return self._find_or_start(state)

    def keep(self) -> tuple[ServerProcess, bool]:
        """Find or start the server, and have it stay up without users until ``release``. Ends with the server itself.

        Returns:
            As ``join``.
        """
        with self._state() as state:
            server, started = self._find_or_start(state)
            # A user that lives exactly as long as the server: nothing to keep remains when it dies.
            state.users[_KEEPER] = server.mark
            return server, started

    def release(self) -> Use:
        """Keep the server no longer: it is stopped unless a live process uses it.

        Returns:
            Who uses the server still; no server where it was stopped, or none ran.
        """
        if not store_folder(self._home).is_dir():
            return _State().use()
        with self._state() as state:
            state.users.pop(_KEEPER, None)
            self._stop_if_unused(state)
            return state.use()

    def look(self) -> Use:
        """What holds the server up now; what a killed one left behind is ended."""
        if not store_folder(self._home).is_dir():
            return _State().use()
        with self._state() as state:
            return state.use()

    def leave(self) -> bool:
        """Stop being a user; the last one out stops the server.

        Returns:
            Whether the server was stopped.
        """
        if not store_folder(self._home).is_dir():
            return False
        with self._state() as state:
            state.users.pop(self._token, None)
            return self._stop_if_unused(state)

    def _find_or_start(self, state: _State) -> tuple[ServerProcess, bool]:
        if state.server is not None:
            return state.server, False
        state.port = free_port(state.port)
        state.server = _start(self._home, state.port)
        return state.server, True

    def _stop_if_unused(self, state: _State) -> bool:
        if state.users or state.server is None:
            return False
        end(_family(self._home), STOP_GRACE_S)
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
        sockets = [port for each in [leader, *leader.children(recursive=True)] for port in listening_ports(each)]
    except psutil.NoSuchProcess:
        return False
    return server.port in sockets


def log_tail(home: Path) -> str:
    """The last lines that the embedded server wrote."""
    path = store_folder(home) / "server.log"
    text = path.read_text(errors="replace") if path.is_file() else ""
    return "\n".join(text.splitlines()[-TAIL_LINES:])


def _start(home: Path, port: int) -> ServerProcess:
    folder = store_folder(home)
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
        *("--serve-artifacts", "--artifacts-destination", str(artifacts_folder(home))),
        *("--backend-store-uri", database_uri(home)),
    ]
    # Nothing of the one that starts it: it may be a flow's process, and others will use it when that has ended.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    environment |= SERVER_SETTINGS | {MARK: _store_mark(home)}
    return ServerProcess(
        start_detached(command, folder=folder, environment=environment, log=folder / "server.log"), port
    )


def _find_orphan(home: Path) -> ServerProcess | None:
    """A live server of this store that the state file does not know; leftovers without a leader are ended."""
    family = _family(home)
    for process in family:
        words = process.cmdline()
        mark = Mark.of(process.pid)
        if mark is not None and words[1:4] == ["-m", "mlflow", "server"]:
            return ServerProcess(mark, int(words[words.index("--port") + 1]))
    end(family, STOP_GRACE_S)
    return None


def _family(home: Path) -> list[Any]:
    """All live processes that carry the store's mark: a server's leader and what it started."""
    return with_environment(MARK, _store_mark(home))


def _store_mark(home: Path) -> str:
    return folder_mark(store_folder(home))


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
