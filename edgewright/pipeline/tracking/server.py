"""The embedded tracking server: nothing to install, nothing to start, shared by every command that needs it at once.

``MLFLOW_TRACKING_URI`` names a server that is there already. Without it, the first user starts one on loopback (sqlite
and files below the workspace), later users find it, and the last live one stops it; one that is *kept* stays up without
users. Users and the server are known by process id *and* creation time, so that a killed user does not count and a
reused id is nobody. The state file is only a short cut: the server carries a mark in its environment, by which one that
nobody remembers is found and used again.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from edgewright.errors import RegistryError
from edgewright.pipeline.tracking.client import Tracking, database_uri, store_folder
from edgewright.pipeline.tracking.server_process import ServerProcess, SharedServer, Use, is_listening, log_tail

# A first start migrates the database and imports MLflow twice: 10-17 s on two idle cores, far more on busy ones.
START_DEADLINE_S = 180.0
REMOTE_DEADLINE_S = 10.0
POLL_S = 0.1
RESTARTS = 2
VARIABLE = "MLFLOW_TRACKING_URI"

OnWait = Callable[[float], None]


class TrackingServer:
    """One user's hold on a tracking server: begin early, wait when it is needed, close when done.

    Usable as a context manager; entering begins, leaving closes. The server's start then overlaps the work between
    ``begin`` and ``wait``.

    Args:
        home: The workspace folder.
        kept: Whether the server is to stay up when this hold and all others are given up, until ``release_server``.
    """

    def __init__(self, home: Path, *, kept: bool = False) -> None:
        self._home = home
        self._kept = kept
        self._remote = os.environ.get(VARIABLE, "").strip()
        self._shared = SharedServer(home)
        self._process: ServerProcess | None = None
        self._started_here = False

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def begin(self) -> None:
        """Find or start the server and return at once; a second call does nothing."""
        if not self._remote and self._process is None:
            self._join()

    def wait(self, on_wait: OnWait | None = None) -> Tracking:
        """The tracking server, once it answers.

        Args:
            on_wait: Called about ten times a second with the seconds waited so far.

        Raises:
            RegistryError: It cannot be reached, ended while starting, or did not answer in time.
        """
        if self._remote:
            _check_remote(self._remote)
            return Tracking(self._remote.rstrip("/"), self._home)
        self.begin()
        assert self._process is not None
        begun, restarts = time.monotonic(), 0
        while not is_answering(self._process):
            waited_s = time.monotonic() - begun
            if not self._process.is_alive():
                self._explain_end(restarts)
                restarts += 1
                self._join()
            elif waited_s > START_DEADLINE_S:
                raise RegistryError(
                    f"the tracking server (process {self._process.pid}) has not answered on {self._process.uri} for "
                    f"{waited_s:.0f} s: end that process and try again; its output is in {store_folder(self._home)}"
                )
            if on_wait is not None:
                on_wait(waited_s)
            time.sleep(POLL_S)
        _bypass_proxy()
        return Tracking(self._process.uri, self._home, self._started_here)

    def close(self) -> None:
        """Give up this hold; the last live user stops the server. A second call does nothing."""
        if self._process is not None:
            self._process = None
            if not self._kept:
                self._shared.leave()

    def _join(self) -> None:
        self._process, started = self._shared.keep() if self._kept else self._shared.join()
        self._started_here = self._started_here or started

    def _explain_end(self, restarts: int) -> None:
        """Raise unless starting again can help: the port was taken meanwhile, or the server was ended by somebody."""
        tail = log_tail(self._home)
        # One that was killed while the build did other things starts well the second time; one that is broken does not.
        if restarts >= (RESTARTS if "address already in use" in tail else 1):
            raise RegistryError(
                f"the tracking server ended while it started; {store_folder(self._home) / 'server.log'} ends with:\n"
                f"{tail}\nRepair what it names, or move {store_folder(self._home)} away to begin with an empty registry"
            )


@contextmanager
def tracking_server(home: Path, on_wait: OnWait | None = None) -> Iterator[Tracking]:
    """A tracking server for the time of a ``with`` block; see ``TrackingServer`` to overlap its start with other work.

    Args:
        home: The workspace folder.
        on_wait: Called about ten times a second with the seconds waited so far.

    Raises:
        RegistryError: It cannot be reached or started.
    """
    with TrackingServer(home) as server:
        yield server.wait(on_wait)


def stop_unused_server(home: Path) -> bool:
    """Stop the embedded server of ``home`` unless a live process uses it, e.g. one whose last user was killed.

    Returns:
        Whether a server was stopped.
    """
    return SharedServer(home).leave()


def server_use(home: Path) -> Use:
    """Whether the embedded server of ``home`` lives, who uses it, and whether it is kept; for people who ask."""
    return SharedServer(home).look()


def release_server(home: Path) -> Use:
    """Keep the embedded server of ``home`` no longer; it is stopped unless a live process uses it.

    Returns:
        Who uses it still; no server where it was stopped.
    """
    return SharedServer(home).release()


def is_answering(process: ServerProcess, timeout_s: float = 1.0) -> bool:
    """Whether an embedded server is ready for work."""
    # Another server may have taken the port in the moment before ours did: the listener must be our own process.
    return _answers(process.uri, timeout_s, direct=True) is None and is_listening(process)


def metadata_uri(home: Path) -> str:
    """URI for commands that read or move aliases only: the database itself, so that no server has to start.

    Raises:
        RegistryError: Nothing was released from this workspace yet, or ``MLFLOW_TRACKING_URI`` cannot be reached.
    """
    remote = os.environ.get(VARIABLE, "").strip()
    if remote:
        _check_remote(remote)
        return remote.rstrip("/")
    if not (store_folder(home) / "mlflow.db").is_file():
        raise RegistryError(
            f"{store_folder(home)} holds no registry yet: `edgewright build` makes one, "
            f"or set {VARIABLE} to a server's URL"
        )
    return database_uri(home)


def metadata(home: Path) -> Tracking:
    """``Tracking`` on ``metadata_uri(home)``: everything but uploads works with it, downloads included."""
    return Tracking(metadata_uri(home), home)


def _check_remote(uri: str) -> None:
    parts = urlsplit(uri)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise RegistryError(
            f"{VARIABLE} is {shown!r}: a release needs a server that devices can reach, http://… or https://…; "
            "set that, or unset it to use the embedded server"
        )
    reason = _answers(uri.rstrip("/"), REMOTE_DEADLINE_S, direct=False)
    if reason is not None:
        raise RegistryError(
            f"the tracking server {shown} ({VARIABLE}) does not answer: {reason}. "
            "Start it, correct the address, or unset the variable to use the embedded server"
        )


def _answers(uri: str, timeout_s: float, *, direct: bool) -> str | None:
    """None when ``uri``/health answers 200, else why not."""
    parts = urlsplit(uri)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"{parts.path}/health").geturl()
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if direct else []))
    try:
        with opener.open(address, timeout=timeout_s) as answer:
            answer.read(64)
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"/health says {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


def _bypass_proxy() -> None:
    """Keep the HTTP client that MLflow uses from sending loopback requests to a proxy of the environment."""
    for name in ("NO_PROXY", "no_proxy"):
        known = [entry for entry in os.environ.get(name, "").split(",") if entry]
        if "127.0.0.1" not in known and "*" not in known:
            os.environ[name] = ",".join([*known, "127.0.0.1"])
