"""HTTP over the standard library with a bound on everything that a server could drag out: silence, slowness, headers.

A socket's own time-out bounds one gap only: a server that sends a byte within each gap holds its client for ever, in the
headers already. Here every byte counts against one pace.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import IO, Any

_HEADER_MAX_BYTES = 1 << 17
_SLICE_S = 0.5  # so often a waiting client asks whether it shall stop


class TooSlowError(OSError):
    """An answer comes slower than allowed."""


class TooLongError(OSError):
    """An answer is longer than anything that was asked for."""


class StopAskedError(OSError):
    """The client was told to stop."""


class Pace:
    """How slow and how long one answer may be.

    Attributes:
        received_bytes: What came, headers too.
        sent_bytes: What was sent.
        most_bytes: More than that ends it. At first what headers may take; None: no bound.
    """

    def __init__(self, timeout_s: float, minimum_bytes_per_s: float, should_stop: Callable[[], bool]) -> None:
        """Prepare; the clock starts when the answer is awaited, since what is sent takes time too.

        Args:
            timeout_s: The longest silence, and how long the first byte may take.
            minimum_bytes_per_s: After n bytes at most ``timeout_s + n / minimum_bytes_per_s`` may have passed.
            should_stop: Asked while waiting.
        """
        self.received_bytes = 0
        self.sent_bytes = 0
        self.most_bytes: int | None = _HEADER_MAX_BYTES
        self._timeout_s, self._rate, self._should_stop = timeout_s, minimum_bytes_per_s, should_stop
        self._began: float | None = None

    def allow_body(self, most_bytes: int | None) -> None:
        """Say how long the body may be; as much again is allowed for its transfer's framing."""
        self.most_bytes = None if most_bytes is None else self.received_bytes + 2 * most_bytes + _HEADER_MAX_BYTES

    def receive(self, connection: socket.socket, buffer: Any) -> int:
        """Receive what is there, waiting for it.

        Raises:
            TimeoutError: Nothing came for too long.
            TooSlowError: Too little came in all the time.
            TooLongError: Too much came.
            StopAskedError: The client shall stop.
        """
        silent_until = time.monotonic() + self._timeout_s
        if self._began is None:
            self._began = time.monotonic()
        while True:
            if self._should_stop():
                raise StopAskedError("stopped on request")
            now = time.monotonic()
            slow_at = self._began + self._timeout_s + self.received_bytes / self._rate
            if now >= slow_at and self.received_bytes:
                raise TooSlowError(f"slower than {self._rate:g} bytes/s")
            if now >= silent_until:
                raise TimeoutError(f"silent for {self._timeout_s:g} s")
            connection.settimeout(min(_SLICE_S, silent_until - now, max(slow_at - now, 0.001)))
            try:
                count = connection.recv_into(buffer)
            except TimeoutError:
                continue
            self.received_bytes += count
            if self.most_bytes is not None and self.received_bytes > self.most_bytes:
                raise TooLongError(f"longer than {self.most_bytes} bytes")
            return count


class PacedRequest(urllib.request.Request):
    """A request whose answer keeps a pace."""

    def __init__(self, url: str, headers: dict[str, str], pace: Pace) -> None:
        super().__init__(url, headers=headers)
        self.pace = pace


def paced_opener() -> urllib.request.OpenerDirector:
    """Give what opens a `PacedRequest`; it follows no redirect."""
    return urllib.request.build_opener(_Handler(), _TlsHandler(), _NoRedirects())


class _Reader(io.RawIOBase):
    """The receiving side of a socket, at its pace."""

    def __init__(self, connection: socket.socket, pace: Pace) -> None:
        self._connection, self._pace = connection, pace
        self._open_file = connection.makefile("rb", buffering=0)  # keeps the socket open until this reader is closed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._pace.receive(self._connection, buffer)

    def close(self) -> None:
        if not self.closed:
            self._open_file.close()
        super().close()


class _PacedSocket:
    """What ``http.client`` uses of a socket."""

    def __init__(self, connection: socket.socket, pace: Pace) -> None:
        self._connection, self._pace = connection, pace

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._connection, self._pace))

    def sendall(self, data: bytes) -> None:
        self._pace.sent_bytes += len(data)
        self._connection.sendall(data)

    def close(self) -> None:
        self._connection.close()


class PacedConnection(http.client.HTTPConnection):
    """A connection for one request, whose answer keeps a pace."""

    def __init__(self, *arguments: Any, pace: Pace, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._pace = pace

    def connect(self) -> None:
        """Connect; what is received from then on keeps the pace."""
        super().connect()
        self.sock: Any = _PacedSocket(self.sock, self._pace)


class PacedTlsConnection(http.client.HTTPSConnection):
    """The same, encrypted."""

    def __init__(self, *arguments: Any, pace: Pace, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._pace = pace

    def connect(self) -> None:
        """Connect; what is received from then on keeps the pace."""
        super().connect()
        self.sock: Any = _PacedSocket(self.sock, self._pace)


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, req: Any) -> http.client.HTTPResponse:
        return self.do_open(partial(PacedConnection, pace=req.pace), req)


class _TlsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: Any) -> http.client.HTTPResponse:
        return self.do_open(partial(PacedTlsConnection, pace=req.pace), req)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follow nothing: urllib would send the credentials along to wherever an answer points."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None
