"""The local HTTP interface: answers, what serves, health, status and metrics. The standard library alone.

| route | gives |
| --- | --- |
| ``POST /v1/answers`` | answers on the samples in the body |
| ``GET /v1/model`` | what serves, and what it takes |
| ``GET /healthz`` | 200 when something serves, 503 otherwise |
| ``GET /status`` | all that the agent knows about itself |
| ``GET /metrics`` | figures for Prometheus |

It has no accounts: it listens on loopback unless the owner says otherwise. Requests that a web page could make a
browser send here (a foreign name that resolves to this address, a foreign origin) are refused. Threads, bytes and
times are bounded, so that no client can take the interface from the others for long.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

from edgewright.device.agent_config import AgentConfig
from edgewright.device.answer import CONTENT_TYPES, JSON, BusyError, ModelFailedError, WorkerLostError
from edgewright.device.http_api_hosts import is_loopback, is_own_host, split_address
from edgewright.device.http_api_server import BoundedServer, TimedReader
from edgewright.device.metrics import CONTENT_TYPE as METRICS_TYPE
from edgewright.device.supervisor import describe_runner
from edgewright.device.worker_runner import Runner
from edgewright.errors import AgentConfigError, DataError, DeadlineError, EdgewrightError, NothingServesError

_HEAD_S = 10.0  # for the head of a request, from its first byte
_BODY_S = 10.0  # for its body after that; and again for the answer to be taken
_IDLE_S = 5.0  # between two requests on one connection
_LINGER_S, _LINGER_BYTES = 1.0, 1 << 16
_KIB = 1024
_POLL_S = 0.1
_STATUS: dict[type[EdgewrightError], tuple[int, str]] = {
    DataError: (400, "bad_samples"),
    BusyError: (503, "busy"),
    NothingServesError: (503, "nothing_serves"),
    WorkerLostError: (503, "worker_lost"),
    DeadlineError: (504, "deadline"),
    ModelFailedError: (500, "model_failed"),
}


class Serving(Protocol):
    """Who answers: a `edgewright.device.supervisor.Supervisor`."""

    @property
    def serving(self) -> Runner | None:
        """What answers now."""
        ...

    def answer(self, body: bytes, content_type: str) -> bytes:
        """Answer on a request, in JSON."""
        ...


class Figures(Protocol):
    """Who counts: an ``Events``."""

    def metrics_page(self) -> str:
        """Give the metrics, Prometheus' text."""
        ...

    def event(self, kind: str, **facts: str | int | float | None) -> None:
        """Say what happened."""
        ...


class HttpApi:
    """The interface, on its own threads.

    Attributes:
        host: Where it listens.
        port: On which port.
    """

    def __init__(
        self,
        config: AgentConfig,
        supervisor: Serving,
        events: Figures,
        describe: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Take the address.

        Args:
            config: The configuration; ``serve.listen`` and ``serve.request_kib`` count.
            supervisor: Who answers.
            events: Gives the metrics, and is told of an address that others reach.
            describe: Gives the status, JSON.

        Raises:
            AgentConfigError: ``serve.listen`` is no address, or cannot be had.
        """
        self.host, port = split_address(config.serve.listen)
        handler = type("Handler", (_Handler,), {"api": self})
        try:
            self._server = BoundedServer((self.host, port), handler, int(config.serve.request_kib * _KIB))
        except OSError as cause:
            raise AgentConfigError(f"serve.listen {config.serve.listen!r} cannot be had: {cause}.") from cause
        self.port = int(self._server.server_address[1])
        self.supervisor, self.describe, self.metrics_page = supervisor, describe, events.metrics_page
        if not is_loopback(self.host):
            reason = f"serve.listen is {self.host}: whoever reaches this device can ask its model and read its status."
            events.event("open_address", reason=reason)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": _POLL_S}, name="http", daemon=True
        )

    @property
    def address(self) -> str:
        """The address of the interface, as `edgewright.device.local_model.LocalModel` takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def __enter__(self) -> HttpApi:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer no more; requests under way are given up."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BoundedServer
    api: HttpApi

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._timed = TimedReader(self.connection)
        self.rfile = self._buffered = io.BufferedReader(self._timed)
        self._refused = False

    def handle_one_request(self) -> None:
        self._timed.until = time.monotonic() + _IDLE_S
        self.server.begin_reading(self.connection)
        try:
            self._buffered.peek(1)
        except OSError:
            self.close_connection = True
            return
        self._timed.until = time.monotonic() + _HEAD_S
        super().handle_one_request()

    def finish(self) -> None:
        self.server.end_reading(self.connection)
        if self._refused:
            # A client that is still sending would lose the answer with the connection: what comes is thrown away for a while.
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
                self._timed.until = time.monotonic() + _LINGER_S
                rest = bytearray(_LINGER_BYTES)
                while self._timed.readinto(rest):
                    pass
        super().finish()

    def version_string(self) -> str:
        """Say who this is, and no version: it is nobody's business."""
        return "edgewright"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the agent's log is not a client's to fill."""

    def do_GET(self) -> None:
        """Answer a question about the agent."""
        self.server.end_reading(self.connection)
        if not self._is_welcome():
            return
        serving = self.api.supervisor.serving
        path = self.path.partition("?")[0]
        if path == "/healthz":
            self._send_json(200 if serving else 503, {"serves": serving is not None})
        elif path == "/v1/model":
            if serving is None:
                self._fail(503, "nothing_serves", "no bundle serves on this device now.")
            else:
                self._send_json(200, describe_runner(serving))
        elif path == "/status":
            self._send_json(200, self.api.describe())
        elif path == "/metrics":
            self._send(200, METRICS_TYPE, self.api.metrics_page().encode())
        elif path == "/v1/answers":
            self._fail(405, "method", "ask for answers with POST.", {"Allow": "POST"})
        else:
            self._fail(404, "unknown", "there is no such place here.")

    def do_POST(self) -> None:
        """Answer on samples."""
        length = self._welcome_body()
        if length is None:
            return
        if not self.server.take_bytes(length):
            self._fail(503, "busy", "other requests fill the memory: ask again.", {"Retry-After": "1"})
            return
        try:
            self._timed.until = time.monotonic() + _BODY_S
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True
                return
            self.server.end_reading(self.connection)
            self._answer(body)
        finally:
            self.server.give_bytes(length)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses is refused as JSON too."""
        self._fail(code, "request", message or "this request is not understood.")

    def _answer(self, body: bytes) -> None:
        try:
            answer = self.api.supervisor.answer(body, self._content_type())
        except EdgewrightError as error:
            status, code = next((entry for kind, entry in _STATUS.items() if isinstance(error, kind)), (500, "failed"))
            self._fail(status, code, str(error), {"Retry-After": "1"} if status == 503 else {}, close=False)
        else:
            self._send(200, JSON, answer)

    def _is_welcome(self) -> bool:
        hosts, origin = self.headers.get_all("Host", []), self.headers.get("Origin")
        needed = self.request_version != "HTTP/1.0"
        if not self.path.startswith("/"):
            self._fail(400, "request", "the address must begin with a slash.")
        elif len(hosts) > 1 or (needed and not hosts):
            self._fail(400, "host", "a request has one Host header.")
        elif hosts and not is_own_host(hosts[0], self.api.host):
            self._fail(403, "host", "this Host is not this device: use its address, or localhost.")
        elif origin is not None and not is_own_host(urlsplit(origin).netloc, self.api.host):
            self._fail(403, "origin", "pages of other places may not ask here.")
        else:
            return True
        return False

    def _welcome_body(self) -> int | None:
        """Give the length of a body that will be read; None where the request was refused already."""
        lengths = self.headers.get_all("Content-Length", [])
        if not self._is_welcome():
            return None
        if self.path.partition("?")[0] != "/v1/answers":
            self._fail(404, "unknown", "there is no such place here.")
        elif self.headers.get("Transfer-Encoding") is not None or len(lengths) != 1:
            self._fail(411, "length", "say with Content-Length how long the request is.")
        elif not (lengths[0].isascii() and lengths[0].isdigit()) or len(lengths[0]) > 15:
            self._fail(400, "length", "Content-Length must be a number.")
        elif int(lengths[0]) > self.server.request_bytes:
            self._fail(
                413, "too_large", f"a request has at most {self.server.request_bytes} bytes: ask for less at once."
            )
        elif self._content_type() not in CONTENT_TYPES:
            known = ", ".join(CONTENT_TYPES)
            self._fail(415, "content_type", f"Content-Type must be one of {known}.")
        else:
            return int(lengths[0])
        return None

    def _content_type(self) -> str:
        return str(self.headers.get_content_type()) if "Content-Type" in self.headers else ""

    def _fail(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None, close: bool = True
    ) -> None:
        # What was not read of a refused request would be taken for the next one: the connection ends.
        self._refused = close
        self.close_connection = self.close_connection or close
        self._send_json(status, {"error": {"code": code, "message": message}}, headers)

    def _send_json(self, status: int, value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self._send(status, JSON, json.dumps(value, allow_nan=False).encode("ascii"), headers)

    def _send(self, status: int, kind: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.connection.settimeout(_BODY_S)
        self.close_connection = self.close_connection or self.server.is_crowded
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
