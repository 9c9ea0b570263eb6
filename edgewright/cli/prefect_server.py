"""The embedded Prefect server: on loopback, with its database in the workspace, for as long as one command lives.

Prefect can start such a server by itself, but that one outlives a command that is killed, for good. This one holds the
reading end of a pipe whose other end only the command has: when the command is gone, however it died, the server ends.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from edgewright.desk.api import is_healthy
from edgewright.desk.prefect_process import let_writers_wait
from edgewright.errors import EdgewrightError
from edgewright.pipeline.workspace import Workspace

# Creating the database takes half a minute on two busy cores; everything later takes seconds.
_START_DEADLINE_S = 300.0
_STOP_GRACE_S = 10.0
_POLL_S = 0.1
_TAIL_LINES = 8


class PrefectServer:
    """One command's own server: starts at once, answers later, ends with the command at the latest."""

    def __init__(self, workspace: Workspace) -> None:
        folder = workspace.prefect_home
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "server.log"
        # Two servers that create one database at once spoil it: the second waits until the first answers.
        self._starting = FileLock(folder / "starting.lock")
        self._starting.acquire()
        here, self._lifeline = os.pipe()
        # The port is taken here and handed on, so that nobody else can take it in between.
        with socket.create_server(("127.0.0.1", 0)) as listener, self._log.open("ab") as log:
            self.api_url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edgewright.cli.prefect_server", str(here), str(listener.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(here, listener.fileno()),
                # An interrupt typed at the command must not end the server before the command has said its last word.
                start_new_session=True,
            )
        os.close(here)

    def wait(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Returns once the server answers.

        Raises:
            EdgewrightError: It ended, or did not answer in time.
        """
        gives_up_at = time.monotonic() + _START_DEADLINE_S
        try:
            while not is_healthy(self.api_url):
                if self._process.poll() is not None or time.monotonic() > gives_up_at:
                    raise EdgewrightError(
                        f"Prefect's embedded server {'ended while it started' if self._process.poll() else 'is silent'}; "
                        f"{self._log} ends with:\n{_tail(self._log)}\nRepair what it names, move {self._log.parent} "
                        "away to begin with an empty one, or name another server in PREFECT_API_URL."
                    )
                on_wait()
                time.sleep(_POLL_S)
        finally:
            self._starting.release()

    def close(self) -> None:
        """Ends the server and waits for its end; a second call does nothing."""
        if self._lifeline < 0:
            return
        os.close(self._lifeline)
        self._lifeline = -1
        self._starting.release()
        try:
            self._process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]) if path.is_file() else ""


def _serve(lifeline: int, listener: int) -> None:
    threading.Thread(target=_end_with_starter, args=(lifeline,), daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    let_writers_wait()
    config = uvicorn.Config(
        create_app(ephemeral=True, final=True), log_level="error", lifespan="on", timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listener)])


def _end_with_starter(lifeline: int) -> None:
    """Ends this process when the last writing end of the pipe is closed: first politely, then for certain."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOP_GRACE_S / 2)
    os._exit(1)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
