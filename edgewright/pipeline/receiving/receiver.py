"""The receiver: a small HTTP server that acknowledges what is durable, and nothing else.

``POST /v1/batches`` takes JSON lines of one device (``X-Edgewright-Device``), gzipped or not. It answers 200 with the
ranges of sequences that are stored, and those that are refused for good, by epoch. Anything else says why and acknowledges
nothing: 400 not a batch, 401 no token, 411 and 413 sizes, 507 no room; a connection too many is closed. The device tries
again, with fewer items where the same ones would always be refused: ``"for_good": true`` stands beside the reason then. The
line is not encrypted: beyond one's own network a proxy with TLS stands before it.
"""

from __future__ import annotations

import hmac
import json
import socket
import sys
import threading
import zlib
from collections.abc import Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edgewright.errors import DataError, DiskFullError
from edgewright.pipeline.receiving.inbox import Answer, Inbox
from edgewright.pipeline.receiving.item import DEVICE_PATTERN, read_items

PATH = "/v1/batches"
HEALTH_PATH = "/healthz"
_BODY_MAX_BYTES = 4 << 20
_UNPACKED_MAX_BYTES = 16 << 20
_SILENCE_S = 30.0
_DEADLINE_S = 120.0
_AT_ONCE = 64
_REASONS_TOLD = 10
_MOST_DIGITS = 12


class Receiver(ThreadingHTTPServer):
    """Serves one inbox."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], inbox: Inbox, token: str = "") -> None:
        """Bind; `serve_forever` answers.

        Args:
            address: Host and port; port 0: any free one.
            inbox: Where items go.
            token: What devices must show; empty: nothing.
        """
        self.inbox, self.token = inbox, token
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__(address, _Handler)

    @property
    def url(self) -> str:
        """What devices have as ``spool.url``."""
        host, port = self.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, while there are not too many."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, and end it at its deadline: a device that drips must not hold a place for ever."""
        cut = threading.Timer(_DEADLINE_S, _shut, [request])
        cut.daemon = True
        cut.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            cut.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show a defect; a line that breaks off is none."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _RefusedError(Exception):
    """Something is not taken; ``for_good``: nor will it be when the same is sent again."""

    def __init__(self, status: int, text: str, for_good: bool = False) -> None:
        super().__init__(text)
        self.status, self.for_good = status, for_good


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = _SILENCE_S
    protocol_version = "HTTP/1.1"
    server_version = "edgewright"
    sys_version = ""

    def do_GET(self) -> None:
        """Say that the receiver is up; nothing of what it has is given away here."""
        found = self.path == HEALTH_PATH
        self._answer(
            200 if found else 404, {"ok": True} if found else {"error": f"only {HEALTH_PATH} and {PATH} are here"}
        )

    def do_POST(self) -> None:
        """Take a batch."""
        length = self.headers.get("Content-Length", "")
        self.unread = int(length) if length.isdecimal() and len(length) <= _MOST_DIGITS else 0
        try:
            answer = self._take()
        except _RefusedError as refusal:
            self._drain()
            self._answer(refusal.status, {"error": str(refusal), **({"for_good": True} if refusal.for_good else {})})
        except DataError as error:
            self._answer(400, {"error": str(error), "for_good": True})
        except DiskFullError as error:
            self._answer(507, {"error": str(error)})
        else:
            self._answer(200, answer)

    def log_message(self, format: str, *values: object) -> None:
        """Nothing: a line per batch would say less than ``edgewright receive --show``."""

    def _take(self) -> dict[str, object]:
        if self.path != PATH:
            raise _RefusedError(404, f"batches go to {PATH}")
        self._check_token()
        device = self.headers.get("X-Edgewright-Device", "")
        if not DEVICE_PATTERN.fullmatch(device):
            raise _RefusedError(400, "X-Edgewright-Device must be 1 to 64 letters, digits, '.', '_' or '-'")
        answer = self.server.inbox.take(device, read_items(self._body()))
        return _told(answer)

    def _check_token(self) -> None:
        shown = self.headers.get("Authorization", "").encode("utf-8", "replace")
        if self.server.token and not hmac.compare_digest(shown, f"Bearer {self.server.token}".encode()):
            raise _RefusedError(401, "the bearer token is missing or wrong")

    def _body(self) -> bytes:
        length = self.unread
        if not length:
            raise _RefusedError(411, "Content-Length is needed, and a body")
        if length > _BODY_MAX_BYTES:
            raise _RefusedError(413, f"a batch may have {_BODY_MAX_BYTES} bytes", for_good=True)
        body, self.unread = self.rfile.read(length), 0
        if len(body) != length:
            raise _RefusedError(400, "the batch broke off")
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding not in ("identity", "gzip"):
            raise _RefusedError(415, "Content-Encoding may be gzip")
        return _unpacked(body) if encoding == "gzip" else body

    def _drain(self) -> None:
        """Read what was not read, and forget it: a device that still writes when the line closes would not see why."""
        left = min(self.unread, _BODY_MAX_BYTES)
        while left > 0 and (chunk := self.rfile.read(min(left, 1 << 16))):
            left -= len(chunk)

    def _answer(self, status: int, content: dict[str, object]) -> None:
        data = json.dumps(content).encode()
        self.close_connection = True  # what is left of a refused body is not read
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended already
        connection.shutdown(socket.SHUT_RDWR)


def _unpacked(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        data = unpacker.decompress(body, _UNPACKED_MAX_BYTES)
    except zlib.error as error:
        raise _RefusedError(400, f"the batch is not gzip ({error})") from error
    if unpacker.unconsumed_tail:
        raise _RefusedError(413, f"a batch may have {_UNPACKED_MAX_BYTES} bytes unpacked", for_good=True)
    if not unpacker.eof or unpacker.unused_data:
        raise _RefusedError(400, "the batch is not one whole gzip stream")
    return data


def _told(answer: Answer) -> dict[str, object]:
    return {
        "stored": _ranges(answer.stored),
        "refused": _ranges((epoch, sequence) for epoch, sequence, _ in answer.refused),
        "reasons": [reason[:200] for _, _, reason in answer.refused[:_REASONS_TOLD]],
    }


def _ranges(numbers: Iterable[tuple[str, int]]) -> dict[str, list[list[int]]]:
    """Sequences by epoch, as ascending pairs [first, last]."""
    found: dict[str, list[list[int]]] = {}
    for epoch, sequence in sorted(set(numbers)):
        pairs = found.setdefault(epoch, [])
        if pairs and pairs[-1][1] == sequence - 1:
            pairs[-1][1] = sequence
        else:
            pairs.append([sequence, sequence])
    return found
