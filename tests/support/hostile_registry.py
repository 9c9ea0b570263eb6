"""A registry on loopback that serves a folder as MLflow's artifact store, and does to it what an attacker could."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

PREFIX = "/api/2.0/mlflow-artifacts/artifacts/"


@dataclass
class Attack:
    """What happens to the artifacts whose path ends in one of ``at``.

    Attributes:
        at: Ends of paths; the empty text means all.
        change: Gives other bytes for those in the store.
        replace: Bytes to serve in their stead, by whole path.
        status: Answer with that status alone.
        truncate_to: Say that the file is so short.
        disconnect_after: Break each connection after so many bytes.
        endless: Never stop sending.
        gap_s: Pause after each byte of the body.
        header_gap_s: Pause after each byte of the headers.
        endless_headers: Send interim answers for ever.
        redirect: Send the client elsewhere.
        silent: Answer nothing for so many seconds.
    """

    at: tuple[str, ...] = ("",)
    change: Callable[[str, bytes], bytes] | None = None
    replace: dict[str, bytes] = field(default_factory=dict)
    status: int | None = None
    truncate_to: int | None = None
    disconnect_after: int | None = None
    endless: bool = False
    gap_s: float = 0.0
    header_gap_s: float = 0.0
    endless_headers: bool = False
    redirect: str | None = None
    silent: float = 0.0


@dataclass
class HostileRegistry:
    """The server's state; tests change it while it runs."""

    folder: Path
    url: str = ""
    attack: Attack | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)
    sent_bytes: int = 0

    def forget(self) -> None:
        """Count from zero again."""
        self.requests.clear()
        self.sent_bytes = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: HostileRegistry

    def log_message(self, *_: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        registry = self.registry
        path = unquote(urlsplit(self.path).path.removeprefix(PREFIX))
        wanted = self.headers.get("Range")
        registry.requests.append((path, wanted))
        registry.authorizations.add(self.headers.get("Authorization"))
        attack = registry.attack
        if attack is None or not any(path.endswith(end) for end in attack.at):
            attack = Attack()
        self.close_connection = True
        with suppress(ConnectionError):
            self._answer(path, wanted, attack)

    def _answer(self, path: str, wanted: str | None, attack: Attack) -> None:
        time.sleep(attack.silent)
        while attack.endless_headers:
            self._send(b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 1000 + b"\r\n\r\n")
        file = self.registry.folder / path
        data = attack.replace.get(path) or (file.read_bytes() if file.is_file() else None)
        if attack.redirect is not None:
            return self._head(302, 0, attack, f"Location: {attack.redirect}\r\n")
        if attack.status is not None or data is None:
            body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "No such artifact"}'
            self._head(attack.status or 404, len(body), attack)
            return self._send(body)
        if attack.change is not None:
            data = attack.change(path, data)
        if attack.truncate_to is not None:
            data = data[: attack.truncate_to]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if start and start >= len(data):
            return self._head(416, 0, attack)
        extra = f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}\r\n" if start else ""
        self._head(206 if start else 200, None if attack.endless else len(data) - start, attack, extra)
        self._body(data[start:], attack)

    def _head(self, status: int, length: int | None, attack: Attack, extra: str = "") -> None:
        size = "" if length is None else f"Content-Length: {length}\r\n"
        head = f"HTTP/1.1 {status} Status\r\nServer: uvicorn\r\n{size}{extra}Connection: close\r\n\r\n"
        self._send(head.encode(), attack.header_gap_s)

    def _body(self, data: bytes, attack: Attack) -> None:
        self._send(data if attack.disconnect_after is None else data[: attack.disconnect_after], attack.gap_s)
        while attack.endless:
            self._send(bytes(1 << 12), attack.gap_s)

    def _send(self, data: bytes, gap_s: float = 0.0) -> None:
        for at in range(0, len(data), 1 if gap_s else max(1, len(data))):
            part = data[at : at + 1] if gap_s else data
            self.registry.sent_bytes += len(part)  # before: the client may count as soon as it has them
            self.wfile.write(part)
            self.wfile.flush()
            time.sleep(gap_s)


@contextmanager
def serving(folder: Path) -> Iterator[HostileRegistry]:
    """Serve a folder on a free loopback port."""
    state = HostileRegistry(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": state}))
    server.daemon_threads = True
    server.block_on_close = False
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.attack = None
        server.shutdown()
        server.server_close()
        thread.join()
