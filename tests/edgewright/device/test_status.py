"""``edgewright-agent status``: the page for people, from a running agent or from its folder."""

from __future__ import annotations

import dataclasses
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle_file import BundleFile
from edgewright.device.agent_state import AgentState, Floor, Held
from edgewright.device.spool import Spool
from edgewright.device.spool_memory import Priority
from edgewright.device.state_file import StateFile
from edgewright.device.state_words import describe_state
from edgewright.device.status import RUNNING_NAME, read_status, render_status
from edgewright.errors import AgentStateError
from edgewright.signed_release import Budget, SignedRelease

NOW_S = 1_893_463_200.0  # 2030-01-01 02:00:00 UTC


def held(version: int, at: str = "2030-01-01T00:00:00Z") -> Held:
    digest = f"{version:064x}"
    files = (BundleFile("golden.npz", digest, 10), BundleFile("manifest.json", digest, 10))
    release = SignedRelease("digits", "linux-x86", version, "i8", "onnxruntime", "1/a/b", "0.1.0", Budget(), files)
    return Held(release, at)


def page(status: dict[str, Any]) -> dict[str, str]:
    """The rendered rows by their first word."""
    lines = render_status(status, NOW_S).splitlines()
    assert all(len(line) <= 12 or line[11] == " " for line in lines), "the second column is straight"
    return {line[:12].strip(): line[12:] for line in lines}


def serving() -> AgentState:
    return AgentState().with_slot("A", held(3)).with_trial("A").committed()


def test_a_device_that_never_ran(tmp_path: Path) -> None:
    rows = page(read_status(tmp_path))
    assert rows["agent"] == "does not run; this is what its folder says"
    assert rows["serves"] == "nothing"
    assert rows["why"] == "no release was installed"
    assert rows["next"] == "once it is started: wait for a release"
    assert rows["spool"].startswith("none")


def test_what_a_folder_says(tmp_path: Path) -> None:
    state = serving().with_slot("B", held(4)).with_trial("B").with_trial_start()
    state = dataclasses.replace(state, floors={"root": Floor(2, "k"), "timestamp": Floor(81, "k")}, signed_at_s=NOW_S)
    StateFile(tmp_path).write(state)
    spool = Spool(tmp_path, 1)
    for priority in (Priority.HIGH, Priority.LOW, Priority.LOW):
        spool.put("x", priority, b"{}")
    spool.stop()
    rows = page(read_status(tmp_path))
    assert rows["serves"] == "version 3 (i8), slot A, bundle 000000000000"
    assert rows["since"] == "2030-01-01 00:00:00 UTC (2 h ago)"
    assert rows["why"] == "it is the latest release that proved itself here"
    assert rows["trial"] == "version 4 in slot B, start 1 of 3"
    assert rows["refused"] == "nothing"
    assert rows["floors"] == "root 2, timestamp 81; it is later than 2030-01-01 02:00:00 UTC"
    assert rows["spool"] == "3 items wait (2 low, 0 middle, 1 high)"
    assert rows["next"] == "once it is started: prove version 4 and serve it"


def test_why_it_went_back(tmp_path: Path) -> None:
    state = serving().with_slot("B", held(4, "2030-01-01T01:00:00Z")).with_trial("B")
    state = state.without_trial("p95 9.1 ms, budget 5 ms", "2030-01-01T01:30:00Z")
    rows = page(describe_state(state))
    assert rows["why"] == "it had proved itself here, and version 4, which came after it, was refused"
    assert rows["refused"] == "version 4, 2030-01-01 01:30:00 UTC (30 min ago): p95 9.1 ms, budget 5 ms"
    factory = state.fallen_back("factory", "three failed starts", "2030-01-01T01:45:00Z")
    rows = page(describe_state(factory))
    assert rows["serves"] == "the factory bundle"
    assert rows["why"] == "version 3 was refused"


def test_what_a_running_agent_does_next() -> None:
    def next_of(**told: Any) -> str:
        return page({"running": True, **describe_state(serving()), **told})["next"]

    registry = {"registry": "http://r:5000", "next_s": 240.0}
    assert next_of(updates=registry) == "ask the registry for a release in 4 min"
    assert next_of(updates={"registry": None}) == "nothing new: no registry is configured"
    assert next_of(updates=registry, failed_starts=2) == "start it again; 1 more failures and this device goes back"
    rows = page({"running": True, **describe_state(serving()), "serves": None})
    assert rows["serves"].endswith("; its worker is being started")


def test_many_refusals_are_summed_up_the_latest_first() -> None:
    state = AgentState()
    for version in range(1, 9):
        state = state.refusing(held(version), f"reason {version}", "2030-01-01T00:00:00Z")
    lines = render_status(describe_state(state), NOW_S).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("refused"))
    assert [line.split(":")[-1].strip() for line in lines[first : first + 5]] == [
        f"reason {n}" for n in (8, 7, 6, 5, 4)
    ]
    assert lines[first + 5].strip() == "and 3 before"


class _Agent(BaseHTTPRequestHandler):
    answer: bytes = b""

    def do_GET(self) -> None:
        assert self.path == "/status"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *values: object) -> None:
        pass


def test_a_running_agent_is_asked(tmp_path: Path) -> None:
    state = serving().with_slot("B", held(4)).with_trial("B")
    told = {
        **describe_state(state),
        "agent": "0.1.0",
        "device": "press-7",
        "pid": 4242,
        "up_s": 7200,
        "trial": {
            "slot": "B",
            "version": 4,
            "starts": 1,
            "phase": "ready",
            "compared": 40,
            "agreeing": 39,
            "running_s": 30.0,
        },
        "updates": {
            "registry": "http://r:5000",
            "contact_at": "2030-01-01T01:59:00Z",
            "offered": "version 4 (i8)",
            "note": None,
            "error": "the registry failed (500)",
            "clock": None,
            "next_s": 12.0,
        },
        "spool": {
            "items": {"low": 0, "middle": 12, "high": 1},
            "size_bytes": 1 << 20,
            "maximum_bytes": 64 << 20,
            "evicted": {"low": 5, "middle": 0, "high": 0},
            "error": None,
        },
        "sender": {"sent_items": 1234, "last_sent_s": NOW_S - 60, "last_error": "no answer in time"},
        "drift": {"psi": 0.31, "noise": 0.04},
    }
    handler = type("Handler", (_Agent,), {"answer": json.dumps(told).encode()})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            running = {"pid": 4242, "address": f"http://127.0.0.1:{server.server_address[1]}"}
            (tmp_path / RUNNING_NAME).write_text(json.dumps(running))
            status = read_status(tmp_path)
        finally:
            server.shutdown()
            thread.join()
    assert status["running"]
    rows = page(status)
    assert rows["agent"] == "runs: press-7, version 0.1.0, process 4242, up 2 h"
    assert rows["trial"] == "version 4 in slot B, start 1 of 3, ready, 39 of 40 live answers agree, for 30 s"
    assert rows["registry"] == "http://r:5000, last contact: 2030-01-01 01:59:00 UTC (60 s ago)"
    assert rows["offered"] == "version 4 (i8)"
    assert rows["last error"] == "the registry failed (500)"
    assert "clock" not in rows
    assert rows["next"] == "version 4 serves if it does well, and is refused if not (2 more starts)"
    assert rows["spool"] == "13 items wait (0 low, 12 middle, 1 high), 1.0 of 64 MiB, 5 forgotten for want of room"
    assert rows["sent"] == "1,234 items, last 2030-01-01 01:59:00 UTC (60 s ago); last error: no answer in time"
    assert rows["drift"] == "PSI 0.310 (chance alone gives about 0.040)"


def test_an_agent_is_asked_once(tmp_path: Path) -> None:
    """Also one that had no room to say where it is, and is found by its configuration."""
    asked: list[str] = []

    class Counting(_Agent):
        answer = json.dumps({**describe_state(serving()), "device": "press-7"}).encode()

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

    with HTTPServer(("127.0.0.1", 0), Counting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            listen = f"127.0.0.1:{server.server_address[1]}"
            found = read_status(tmp_path, listen, "press-7")
            assert (found["running"], found["address"], asked) == (True, f"http://{listen}", ["/status"])
            assert not read_status(tmp_path, listen, "press-8")["running"], "another device's"
            (tmp_path / RUNNING_NAME).write_text(json.dumps({"address": f"http://{listen}"}))
            found = read_status(tmp_path)
            assert (found["running"], found["address"], len(asked)) == (True, f"http://{listen}", 3)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ('{"pid": 1, "address": "http://127.0.0.1:9"}', "the agent does not answer at http://127.0.0.1:9: "),
        ('{"address": "nowhere at all"}', "the agent does not answer at nowhere at all: "),
        ('{"pid": 1}', "where the agent listens cannot be read: "),
        ("{}", "where the agent listens cannot be read: "),
        ("[]", "where the agent listens cannot be read: "),
        ("no json", "where the agent listens cannot be read: "),
    ],
)
def test_an_agent_that_does_not_answer_leaves_what_the_folder_says(tmp_path: Path, said: str, trouble: str) -> None:
    StateFile(tmp_path).write(serving())
    (tmp_path / RUNNING_NAME).write_text(said)
    status = read_status(tmp_path)
    assert not status["running"]
    assert page(status)["serves"].startswith("version 3")
    assert status["trouble"].startswith(trouble)


def test_a_state_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(AgentStateError):
        read_status(tmp_path)


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"running": True},
        {
            "running": True,
            "active": "A",
            "slots": 7,
            "trial": "x",
            "refused": {},
            "floors": [],
            "updates": 1,
            "spool": [],
        },
        {"active": "B", "slots": {"B": {}}, "refused": [1, {}], "signed_at_s": "x", "trial": {"starts": None}},
        {
            "active": "A",
            "refused": [{"at": "\x1b[2J", "version": 1, "reason": "a\nb"}],
            "slots": {"A": {"installed_at": 1e300}},
        },
    ],
)
def test_whatever_an_agent_says_the_page_is_a_page(status: dict[str, Any]) -> None:
    text = render_status(status, NOW_S)
    assert "\x1b" not in text
    assert text.splitlines()[0].startswith("agent")
