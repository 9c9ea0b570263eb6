"""The local HTTP interface against clients of all kinds; who answers is pretended."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edgewright.device import http_api, http_api_server
from edgewright.device.agent_config import AgentConfig, DeviceSection, ServeSection
from edgewright.device.answer import BusyError, ModelFailedError, WorkerLostError
from edgewright.device.http_api import HttpApi
from edgewright.device.http_api_hosts import is_own_host, split_address
from edgewright.errors import AgentConfigError, DataError, DeadlineError, EdgewrightError, NothingServesError
from serving_agent import RecordedEvents

NPY = {"Content-Type": "application/x-npy"}
KIB = 64


class Pretended:
    """Answers with what the test says."""

    def __init__(self) -> None:
        self.error: EdgewrightError | None = None
        self.asked: list[tuple[bytes, str]] = []
        self.may = threading.Event()
        self.may.set()
        link = SimpleNamespace(report={"figures": {"latency_p95_ms": 1.0}})
        release = {"version": 3, "variant": "i8", "bundle_sha256": "a" * 64}
        self.runner: Any = SimpleNamespace(place="A", release=lambda: release, model={"takes": {}}, link=link)

    @property
    def serving(self) -> Any:
        return self.runner

    def answer(self, body: bytes, content_type: str) -> bytes:
        self.asked.append((body, content_type))
        self.may.wait(10)
        if self.error is not None:
            raise self.error
        return b'{"answers": []}'


def config(listen: str = "127.0.0.1:0") -> AgentConfig:
    return AgentConfig(DeviceSection("d", "m", "t"), serve=ServeSection(listen=listen, request_kib=KIB))


@pytest.fixture
def pretended() -> Pretended:
    return Pretended()


@pytest.fixture
def api(pretended: Pretended) -> Iterator[HttpApi]:
    with HttpApi(config(), pretended, RecordedEvents(), lambda: {"up": True}) as found:
        yield found
        pretended.may.set()


def ask(api: HttpApi, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    kind = response.getheader("Content-Type")
    return response.status, json.loads(data) if kind == "application/json" else data, response


def raw(api: HttpApi, data: bytes) -> bytes:
    """Send any bytes, and give what comes back until the connection closes."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as line:
        line.sendall(data)
        found = b""
        while part := line.recv(1 << 16):
            found += part
    return found


def test_the_routes_give_what_they_promise(api: HttpApi, pretended: Pretended) -> None:
    assert ask(api, "POST", "/v1/answers", b"abc", Content_Type="application/x-npy")[:2] == (200, {"answers": []})
    assert pretended.asked == [(b"abc", "application/x-npy")]
    assert ask(api, "GET", "/healthz")[:2] == (200, {"serves": True})
    status, model, _ = ask(api, "GET", "/v1/model")
    assert status == 200 and model["release"]["version"] == 3 and model["figures"] == {"latency_p95_ms": 1.0}
    assert ask(api, "GET", "/status?x=1")[:2] == (200, {"up": True})
    status, text, response = ask(api, "GET", "/metrics")
    assert status == 200 and text.startswith(b"edgewright_") and "0.0.4" in response.getheader("Content-Type")
    assert response.getheader("Server") == "edgewright"


def test_a_device_on_which_nothing_serves_is_not_healthy(api: HttpApi, pretended: Pretended) -> None:
    pretended.runner = None
    assert ask(api, "GET", "/healthz")[:2] == (503, {"serves": False})
    assert ask(api, "GET", "/v1/model")[0] == 503 and ask(api, "GET", "/status")[0] == 200


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DataError("no such shape"), 400, "bad_samples"),
        (BusyError("later"), 503, "busy"),
        (NothingServesError("later"), 503, "nothing_serves"),
        (WorkerLostError("again"), 503, "worker_lost"),
        (DeadlineError("too long"), 504, "deadline"),
        (ModelFailedError("NaN"), 500, "model_failed"),
    ],
)
def test_errors_are_json_with_a_code_and_words(
    api: HttpApi, pretended: Pretended, error: EdgewrightError, status: int, code: str
) -> None:
    pretended.error = error
    found, body, response = ask(api, "POST", "/v1/answers", b"x", Content_Type="application/x-npy")
    assert (found, body) == (status, {"error": {"code": code, "message": str(error)}})
    assert (response.getheader("Retry-After") == "1") is (status == 503)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 404),
        ("GET", "/../../etc/passwd", {}, 404),
        ("GET", "/v1/model/../../x", {}, 404),
        ("GET", "/%2e%2e/etc/passwd", {}, 404),
        ("GET", "http://other/healthz", {}, 400),
        ("GET", "/v1/answers", {}, 405),
        ("PUT", "/v1/answers", NPY, 501),
        ("DELETE", "/status", {}, 501),
        ("POST", "/status", NPY, 404),
        ("POST", "/v1/answers", {}, 415),
        ("POST", "/v1/answers", {"Content-Type": "application/octet-stream"}, 415),
        ("POST", "/v1/answers", {"Content-Type": "text/plain"}, 415),
        ("POST", "/v1/answers", {**NPY, "Content-Length": str(KIB * 1024 + 1)}, 413),
        ("POST", "/v1/answers", {**NPY, "Content-Length": "-1"}, 400),
        ("POST", "/v1/answers", {**NPY, "Content-Length": "9" * 30}, 400),
        ("POST", "/v1/answers", {**NPY, "Content-Length": "\u0661"}, 400),
        ("POST", "/v1/answers", {**NPY, "Transfer-Encoding": "chunked"}, 411),
        ("GET", "/healthz", {"Host": "evil.example"}, 403),
        ("GET", "/healthz", {"Host": "evil.example:80"}, 403),
        ("GET", "/healthz", {"Host": "127.0.0.1.evil.example"}, 403),
        ("GET", "/healthz", {"Host": "127.0.0.1:x"}, 403),
        ("GET", "/status", {"Origin": "https://evil.example"}, 403),
        ("GET", "/status", {"Origin": "null"}, 403),
        ("POST", "/v1/answers", {**NPY, "Origin": "http://evil.example"}, 403),
        ("GET", "/status", {"Origin": "http://localhost:8080"}, 200),
        ("GET", "/healthz", {"Host": "LOCALHOST"}, 200),
        ("GET", "/healthz", {"Host": "[::1]:99"}, 200),
    ],
)
def test_what_is_not_welcome_is_refused_with_a_status(
    api: HttpApi, pretended: Pretended, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if "Host" not in headers:
        lines.append("Host: localhost")
    if method == "POST" and not {"Content-Length", "Transfer-Encoding"} & set(headers):
        lines.append("Content-Length: 0")
    found = raw(api, ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode())
    head, _, body = found.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert json.loads(body) and (status == 200 or "error" in json.loads(body))
    assert pretended.asked == []


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"POST /v1/answers HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        bytes(1000),
    ],
)
def test_broken_requests_harm_nobody(api: HttpApi, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        try:
            found = line.recv(1 << 16)
        except ConnectionResetError:  # it had not read all of what it refused
            found = b""
    assert found == b"" or b" 200 " not in found.splitlines()[0]
    assert ask(api, "GET", "/healthz")[0] == 200


def test_a_connection_is_used_again(api: HttpApi) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    for _ in range(3):
        connection.request("POST", "/v1/answers", b"x", NPY)
        assert connection.getresponse().read() == b'{"answers": []}'
        port = connection.sock.getsockname()[1]
    assert connection.sock.getsockname()[1] == port
    connection.close()


def test_slow_clients_are_left(api: HttpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not hold a thread: the whole request has a time."""
    monkeypatch.setattr(http_api, "_HEAD_S", 0.3)
    monkeypatch.setattr(http_api, "_BODY_S", 0.3)
    monkeypatch.setattr(http_api, "_IDLE_S", 0.3)
    head = (
        b"POST /v1/answers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-npy\r\nContent-Length: 50\r\n\r\n"
    )
    for begin in (b"", b"GET /heal", head):
        with socket.create_connection(("127.0.0.1", api.port), timeout=10) as line:
            line.sendall(begin)
            start = time.monotonic()
            with pytest.raises(OSError):
                while time.monotonic() - start < 5:
                    if begin:
                        line.sendall(b"x")
                    time.sleep(0.05)
                    line.settimeout(0.01)
                    try:
                        if line.recv(1000) == b"":
                            raise ConnectionResetError
                    except TimeoutError:
                        pass
            assert time.monotonic() - start < 2


def test_more_connections_than_threads_are_told_to_come_back(
    api: HttpApi, pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_api_server, "_THREADS", 3)
    monkeypatch.setattr(http_api_server, "_READING_S", 9.0)
    lines = [socket.create_connection(("127.0.0.1", api.port), timeout=10) for _ in range(3)]
    for line in lines:
        line.sendall(b"GET /heal")
    time.sleep(0.2)
    found = raw(api, b"")
    assert found.startswith(b"HTTP/1.1 503") and json.loads(found.partition(b"\r\n\r\n")[2])["error"]["code"] == "busy"
    for line in lines:
        line.close()
    time.sleep(0.2)
    assert ask(api, "GET", "/healthz")[0] == 200


def test_slow_clients_make_room_where_there_is_none(api: HttpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seventeen that send a byte now and then do not take the interface from those who ask for health."""
    monkeypatch.setattr(http_api_server, "_THREADS", 3)
    monkeypatch.setattr(http_api_server, "_READING_S", 0.1)
    head = (
        b"POST /v1/answers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-npy\r\nContent-Length: 9\r\n\r\n"
    )
    lines = [socket.create_connection(("127.0.0.1", api.port), timeout=10) for _ in range(3)]
    for line, begin in zip(lines, (b"", b"GET /heal", head), strict=True):
        line.sendall(begin)
    time.sleep(0.3)
    assert [ask(api, "GET", "/healthz")[0] for _ in range(3)] == [200] * 3
    for line in lines:
        line.close()


def test_who_waits_for_an_answer_is_not_sent_away(
    api: HttpApi, pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_api_server, "_THREADS", 1)
    monkeypatch.setattr(http_api_server, "_READING_S", 0.0)
    pretended.may.clear()
    first = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
    first.request("POST", "/v1/answers", b"x", NPY)
    while not pretended.asked:
        time.sleep(0.005)
    assert raw(api, b"").startswith(b"HTTP/1.1 503")
    pretended.may.set()
    assert first.getresponse().status == 200
    first.close()


def test_bodies_are_held_up_to_a_bound(pretended: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_api_server, "_SPARE_BYTES", 0)
    pretended.may.clear()
    with HttpApi(config(), pretended, RecordedEvents(), dict) as api:
        first = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
        first.request("POST", "/v1/answers", bytes(KIB * 1024), NPY)
        while not pretended.asked:
            time.sleep(0.005)
        status, body, _ = ask(api, "POST", "/v1/answers", b"x", Content_Type="application/x-npy")
        assert status == 503 and "memory" in body["error"]["message"]
        pretended.may.set()
        assert first.getresponse().status == 200
        first.close()
        stop_at = time.monotonic() + 5  # its bytes are given back after its answer
        while ask(api, "POST", "/v1/answers", b"x", Content_Type="application/x-npy")[0] != 200:
            assert time.monotonic() < stop_at


@pytest.mark.parametrize(
    "listen", ["", "8930", "127.0.0.1", "host:port", "http://127.0.0.1:1", "a@b:1", "127.0.0.1:99999"]
)
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(AgentConfigError, match=r"serve\.listen must look like"):
        split_address(listen)


def test_an_address_that_is_taken_is_told(api: HttpApi, pretended: Pretended) -> None:
    with pytest.raises(AgentConfigError, match="cannot be had"):
        HttpApi(config(f"127.0.0.1:{api.port}"), pretended, RecordedEvents(), dict)


def test_an_address_that_others_reach_is_noted(pretended: Pretended) -> None:
    events = RecordedEvents()
    with HttpApi(config("0.0.0.0:0"), pretended, events, dict) as api:
        (told,) = events.of("open_address")
        assert told["reason"].startswith("serve.listen is 0.0.0.0: whoever reaches this device")
        assert ask(api, "GET", "/healthz", Host="192.0.2.7:1")[0] == 200
        assert ask(api, "GET", "/healthz", Host="evil.example")[0] == 403
    with HttpApi(config(), pretended, events, dict) as api:
        assert len(events.of("open_address")) == 1, "a loopback address is nothing to tell"


def test_a_name_is_believed_where_it_was_configured() -> None:
    assert is_own_host("box.lan:8930", "box.lan") and not is_own_host("box.lan", "127.0.0.1")
    assert not is_own_host("192.0.2.7", "127.0.0.1") and not is_own_host("", "127.0.0.1")


def test_the_interface_listens_on_ipv6_too(pretended: Pretended) -> None:
    try:
        found = HttpApi(config("[::1]:0"), pretended, RecordedEvents(), dict)
    except AgentConfigError:
        pytest.skip("this machine has no IPv6")
    with found as api:
        assert api.address == f"http://[::1]:{api.port}"
        connection = http.client.HTTPConnection("::1", api.port, timeout=10)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
