"""A man in the middle: a relay on loopback between a device and its registry, which counts each byte and may spoil any.

What the registry answered is passed on as it came, headers too, so that the figures are those of the real server.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import unquote, urlsplit

PREFIX = "/api/2.0/mlflow-artifacts/artifacts/"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *\d+")
_PIECE = 1 << 14


@dataclass
class Attack:
    """What happens to the artifacts whose path ends in one of ``at``.

    Attributes:
        at: Ends of paths; the empty text means all.
        change: Gives other bytes for those of the registry, whose answer then counts as found; the same: as it is.
        cut: Gives the length after which the connection breaks.
        endless: Never stop sending.
        gap_s: Pause after each byte of the body.
        off: The registry cannot be reached.
        hits: How many answers were spoilt.
    """

    at: tuple[str, ...] = ("",)
    change: Callable[[str, bytes], bytes] | None = None
    cut: Callable[[str, bytes], int | None] | None = None
    endless: bool = False
    gap_s: float = 0.0
    off: bool = False
    hits: int = 0

    def meets(self, path: str) -> bool:
        """Whether it is about an artifact."""
        return any(path.endswith(end) for end in self.at)


@dataclass
class MitmProxy:
    """The relay's state; tests change it while it runs.

    Attributes:
        upstream: Port of the registry on loopback.
        url: Where devices find it.
        attack: What happens to answers.
        off_after: The registry is switched off for good once an artifact with this end was delivered.
        requests: Path, range asked for, and status of each request.
        to_device: Bytes that were sent to devices, headers too.
        from_device: Bytes that devices sent.
    """

    upstream: int
    url: str = ""
    attack: Attack | None = None
    off_after: str | None = None
    requests: list[tuple[str, str | None, int]] = field(default_factory=list)
    to_device: int = 0
    from_device: int = 0

    def forget(self) -> None:
        """Count from zero again."""
        self.requests.clear()
        self.to_device = self.from_device = 0

    def switch_off(self) -> None:
        """Let nobody through from now on."""
        self.attack = Attack(off=True)


class _Handler(BaseRequestHandler):
    proxy: MitmProxy
    request: socket.socket

    def handle(self) -> None:
        """Relay one request; devices keep no connection."""
        with suppress(OSError):
            self._relay()

    def _relay(self) -> None:
        proxy, attack = self.proxy, self.proxy.attack or Attack(at=())
        if attack.off:
            return
        asked = _until_head_ends(self.request)
        if not asked:
            return
        proxy.from_device += len(asked)
        lines = asked.decode("latin-1").split("\r\n")
        path = unquote(urlsplit(lines[0].split(" ")[1]).path.removeprefix(PREFIX))
        wanted = next((line.partition(": ")[2] for line in lines if line.lower().startswith("range:")), None)
        head, body = self._ask(asked)
        status = int(head.split(b" ", 2)[1])
        proxy.requests.append((path, wanted, status))
        if not attack.meets(path):
            self._send(head + body)
            if proxy.off_after is not None and path.endswith(proxy.off_after) and status in (200, 206):
                proxy.switch_off()
            return
        attack.hits += 1
        if attack.change is not None:
            changed = attack.change(path, body)
            if changed != body:
                head, body = _found(head, len(changed)), changed
        if attack.endless:
            self._send(_found(head, None) + body)
            while True:
                self._send(bytes(_PIECE))
        length = attack.cut(path, body) if attack.cut is not None else None
        self._send(head)
        self._send(body if length is None else body[:length], attack.gap_s)

    def _ask(self, asked: bytes) -> tuple[bytes, bytes]:
        with socket.create_connection(("127.0.0.1", self.proxy.upstream), timeout=30) as registry:
            registry.sendall(asked)
            answer = bytearray()
            while piece := registry.recv(_PIECE):
                answer += piece
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        return head + b"\r\n\r\n", body

    def _send(self, data: bytes, gap_s: float = 0.0) -> None:
        step = 1 if gap_s else _PIECE
        for at in range(0, len(data), step):
            part = data[at : at + step]
            self.proxy.to_device += len(part)  # before: the device may count as soon as it has them
            self.request.sendall(part)
            if gap_s:
                time.sleep(gap_s)


def _until_head_ends(connection: socket.socket) -> bytes:
    connection.settimeout(30)
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(_PIECE)
        if not piece:
            return b""
        data += piece
    return data


def _found(head: bytes, length: int | None) -> bytes:
    """The head of an answer that was found, of another length; None: of none."""
    _, _, rest = head.partition(b"\r\n")
    rest = b"\r\n" + rest
    said = b"" if length is None else b"\r\ncontent-length: %d" % length
    rest = _LENGTH.sub(said, rest) if _LENGTH.search(rest) else said + rest
    return b"HTTP/1.1 200 OK" + rest


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, *_: Any) -> None:
        """A device that hangs up is no news."""


@contextmanager
def in_the_middle(registry: str) -> Iterator[MitmProxy]:
    """Stand between devices and the registry at an address ``http://127.0.0.1:PORT``."""
    port = urlsplit(registry).port
    assert port is not None
    state = MitmProxy(port)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": state}))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.attack = Attack(off=True)
        server.shutdown()
        server.server_close()
        thread.join()


def put(registry: str, path: str, data: bytes) -> int:
    """Write into the registry's artifact store as anybody who reaches it may; gives the status."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(registry).port or 0, timeout=30)
    try:
        connection.request("PUT", f"{PREFIX}{path}", data)
        return connection.getresponse().status
    finally:
        connection.close()
