"""Prefect's API as the desk speaks it, against a server on loopback that answers what the test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from edgewright.desk.api import PrefectApi, is_healthy
from edgewright.errors import DeskError


class Scripted(BaseHTTPRequestHandler):
    """Gives the next of its answers to whatever is asked, and remembers the question."""

    answers: ClassVar[list[tuple[int, Any]]] = []
    asked: ClassVar[list[tuple[str, str, Any]]] = []

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.asked.append((self.command, self.path, body))
        status, content = self.answers.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"" if content is None else json.dumps(content).encode())

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[PrefectApi]:
    Scripted.answers.clear()
    Scripted.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield PrefectApi(f"http://127.0.0.1:{server.server_address[1]}/api")
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_there_is_read_and_what_is_not_is_none(api: PrefectApi) -> None:
    Scripted.answers += [(200, {"name": "edgewright"}), (404, {"detail": "not found"})]
    assert api.find("/work_pools/edgewright") == {"name": "edgewright"}
    assert api.find("/work_pools/other") is None
    assert [path for _, path, _ in Scripted.asked] == ["/api/work_pools/edgewright", "/api/work_pools/other"]


def test_a_busy_database_is_asked_again(api: PrefectApi) -> None:
    Scripted.answers += [(503, {"exception_message": "Service Unavailable"}), (503, None), (201, {"id": "1"})]
    assert api.post("/work_pools/", {"name": "edgewright"}) == {"id": "1"}
    assert Scripted.asked == [("POST", "/api/work_pools/", {"name": "edgewright"})] * 3


def test_a_refusal_is_told_in_the_servers_words(api: PrefectApi) -> None:
    Scripted.answers += [(422, {"detail": "name is too long"})]
    with pytest.raises(DeskError, match=r"refused PATCH /deployments/1: 422 .*name is too long"):
        api.patch("/deployments/1", {"name": "x" * 1000})


def test_everything_is_read_page_by_page(api: PrefectApi) -> None:
    Scripted.answers += [(200, [{"id": number} for number in range(200)]), (200, [{"id": 200}])]
    assert len(api.all("/flows/filter", sort="NAME_ASC")) == 201
    assert [body["offset"] for _, _, body in Scripted.asked] == [0, 200]


def test_a_server_that_is_gone_is_named_with_where_to_look() -> None:
    gone = PrefectApi("http://127.0.0.1:9/api")
    assert not is_healthy(gone.url)
    with pytest.raises(DeskError, match=r"http://127\.0\.0\.1:9/api does not answer .*edgewright status"):
        gone.read("/flows")
