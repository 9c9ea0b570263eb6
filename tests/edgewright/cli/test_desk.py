"""``edgewright up``, ``down`` and ``status`` before anything runs, and what a command does beside a running desk."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgewright.cli.desk import _moment
from edgewright.cli.prefect_settings import DeskServer, settle_prefect
from edgewright.desk import running_desk
from edgewright.desk.part import Part
from edgewright.desk.running import PREFECT, desk_users
from edgewright.desk.state import DeskState, desk_folder, write_state
from edgewright.pipeline.live_process import bind_loopback
from edgewright.pipeline.workspace import Workspace

# Answers as a healthy server does.
SERVER = """
import socket, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Healthy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
server = HTTPServer(("127.0.0.1", 0), Healthy, bind_and_activate=False)
server.socket = socket.socket(fileno=int(sys.argv[1]))
server.serve_forever()
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(home))
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI", "EDGEWRIGHT_NOTIFY_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return home


def test_where_no_desk_is_open_status_says_so_and_down_has_nothing_to_do(
    edgewright: Callable[..., Any], home: Path
) -> None:
    status = edgewright("status")
    assert status.status == 1
    lines = [line.split() for line in status.out.splitlines()]
    assert [line[0] for line in lines] == ["MLflow", "Prefect", "worker"]
    assert all(line[1:4] == ["-", "not", "started"] for line in lines)
    down = edgewright("down")
    assert (down.status, down.out) == (0, "edgewright desk: nothing to stop\n")
    assert not home.exists(), "looking makes nothing"


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "MLFLOW_TRACKING_URI"])
def test_up_is_refused_where_other_servers_are_named(
    name: str, edgewright: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://team.example")
    said = edgewright("up")
    assert (said.status, said.err.count("\n")) == (2, 1)
    assert f"{name} is 'http://team.example'" in said.err
    assert not home.exists()


def test_up_is_refused_outside_of_a_checkout(edgewright: Callable[..., Any], home: Path, tmp_path: Path) -> None:
    said = edgewright("up")
    assert said.status == 2
    assert said.err == f"{tmp_path} holds no deployments/prefect.yaml: run this in the root of a checkout.\n"
    assert not home.exists()


def test_up_is_refused_with_somewhere_that_cannot_be_told(edgewright: Callable[..., Any], home: Path) -> None:
    said = edgewright("up", "--notify", "hooks.example")
    assert said.status == 2
    assert "--notify 'hooks.example'" in said.err
    assert not home.exists()


def test_times_are_said_as_people_say_them() -> None:
    now = datetime.now().astimezone()
    noon = now.replace(hour=12, minute=5)
    assert _moment(noon) == "12:05"
    assert _moment(noon + timedelta(days=1)) == "tomorrow 12:05"
    assert _moment(noon - timedelta(days=1)) == "yesterday 12:05"
    assert _moment(noon + timedelta(days=3)) == f"{noon + timedelta(days=3):%a %d %b} 12:05"


@pytest.fixture
def desk_server(home: Path, tmp_path: Path) -> Iterator[int]:
    """A desk whose Prefect server is one of a few lines; its port."""
    desk_folder(home).mkdir(parents=True)
    part = Part(home, PREFECT)
    with bind_loopback(0) as listener:
        port = int(listener.getsockname()[1])
        command = [sys.executable, "-c", SERVER, str(listener.fileno())]
        mark = part.start(command, tmp_path, os.environ, [listener.fileno()])
    write_state(home, DeskState(port, {PREFECT: mark}))
    yield port
    part.stop(5.0)


def test_a_desk_runs_while_its_server_lives(desk_server: int, home: Path) -> None:
    desk = running_desk(home)
    assert desk is not None
    assert desk.prefect_api_url == f"http://127.0.0.1:{desk_server}/api"
    assert desk.prefect_ui_url == f"http://127.0.0.1:{desk_server}/deployments"
    (desk_folder(home) / "desk.json").unlink()
    DeskServer(desk).wait()
    assert running_desk(home) == desk, "found by its mark, and its port by its socket"
    Part(home, PREFECT).stop(5.0)
    assert running_desk(home) is None


def test_a_command_uses_the_desks_server_and_says_so(
    desk_server: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in os.environ if each.startswith("PREFECT_")]:  # another test's harness
        monkeypatch.delenv(name)
    settings, leaving = dict(os.environ), []
    monkeypatch.setattr(atexit, "register", lambda *words, **named: leaving.append((words, named)))
    monkeypatch.setattr(sys, "argv", ["edgewright", "build", "recipe.yaml"])
    try:
        server = settle_prefect(Workspace(home))
        assert isinstance(server, DeskServer)
        server.wait()
        assert os.environ["PREFECT_API_URL"] == f"http://127.0.0.1:{desk_server}/api"
        assert os.environ["PREFECT_LOGGING_LEVEL"] == "INFO", "its page shows the log"
        assert os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] == "CRITICAL", "the terminal does not"
        assert desk_users(home) == {os.getpid(): "edgewright build"}
    finally:
        for each in os.environ.keys() - settings.keys():
            monkeypatch.delenv(each)
    [((leave, *_), named)] = leaving
    leave(**named)
    assert desk_users(home) == {}


def test_a_user_that_was_killed_does_not_count(desk_server: int, home: Path) -> None:
    users = desk_folder(home) / "users"
    users.mkdir()
    (users / "1.json").write_text(f'{{"pid": {os.getpid()}, "created": 1000.0, "doing": "edgewright build"}}')
    (users / "2.json").write_text("{torn")
    assert desk_users(home) == {}
    assert list(users.iterdir()) == []
