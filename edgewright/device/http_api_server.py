"""An HTTP server whose threads, bytes and times are bounded, so that no client can take it from the others for long."""

from __future__ import annotations

import contextlib
import io
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_THREADS = 16
_SPARE_BYTES = 1 << 19
_CROWDED = 12
_READING_S = 0.3  # whoever sends a request for longer makes room for others, where there is none
_BUSY_BODY = b'{"error": {"code": "busy", "message": "there are too many connections: ask again."}}'
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BUSY_BODY), _BUSY_BODY)
)


class BoundedServer(ThreadingHTTPServer):
    """Serves each connection in a thread of its own, up to a bound.

    Attributes:
        request_bytes: Largest body of a request.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, place: tuple[str, int], handler: type[BaseHTTPRequestHandler], request_bytes: int) -> None:
        """Take the address.

        Args:
            place: Host and port; port 0 takes any.
            handler: What serves a connection.
            request_bytes: Largest body of a request. Half a mebibyte more is held at once at most.

        Raises:
            OSError: The address cannot be had.
        """
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        self.request_bytes = request_bytes
        self._bytes_left = request_bytes + _SPARE_BYTES
        self._open = 0
        self._reading: dict[socket.socket, float] = {}
        self._counting = threading.Lock()
        super().__init__(place, handler)

    @property
    def is_crowded(self) -> bool:
        """Whether connections should not be kept for a next request."""
        return self._open > _CROWDED

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, or refuse it where there are too many."""
        with self._counting:
            full = self._open >= _THREADS and not self._make_room()
            self._open += not full
        if full:
            with contextlib.suppress(OSError):
                request.settimeout(0)
                request.send(_BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system gives no thread
            self._leave()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what is this program's fault; a client that goes away in the middle is nothing to report."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def begin_reading(self, connection: socket.socket) -> None:
        """Say that a request is awaited on a connection."""
        with self._counting:
            self._reading[connection] = time.monotonic()

    def end_reading(self, connection: socket.socket) -> None:
        """Say that it is there, or comes no more."""
        with self._counting:
            self._reading.pop(connection, None)

    def take_bytes(self, count: int) -> bool:
        """Take part of what may be held at once."""
        with self._counting:
            if count > self._bytes_left:
                return False
            self._bytes_left -= count
            return True

    def give_bytes(self, count: int) -> None:
        """Give it back."""
        with self._counting:
            self._bytes_left += count

    def _make_room(self) -> bool:
        """End the connection whose request has been awaited longest; its thread is about to leave."""
        connection, since = min(self._reading.items(), key=lambda entry: entry[1], default=(None, 0.0))
        if connection is None or time.monotonic() - since < _READING_S:
            return False
        del self._reading[connection]
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RD)
        return True

    def _leave(self) -> None:
        with self._counting:
            self._open -= 1


class TimedReader(io.RawIOBase):
    """Reads from a socket until a moment: a client that sends a byte now and then does not hold a thread for ever."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.until = 0.0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, or wait for it until the moment.

        Raises:
            TimeoutError: The moment has passed.
        """
        left_s = self.until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the request came too slowly")
        self._line.settimeout(left_s)
        return self._line.recv_into(buffer)
