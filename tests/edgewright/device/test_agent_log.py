"""The log: one object a line, no secret in it, no flood, and never an error for who writes."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest

from edgewright.device.agent_log import AgentLog, RateLimit


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_object() -> None:
    stream = io.StringIO()
    log = AgentLog(stream, wall=lambda: 1_900_000_000.5)
    assert log.write("warning", "rollback", version=3, reason="two\nlines", share=0.5, other=None)
    assert lines(stream) == [
        {
            "at": "2030-03-17T17:46:40.500Z",
            "level": "warning",
            "event": "rollback",
            "version": 3,
            "reason": "two\nlines",
            "share": 0.5,
            "other": None,
        }
    ]
    assert stream.getvalue().count("\n") == 1


def test_people_read_words() -> None:
    stream = Terminal()
    AgentLog(stream).write("warning", "rollback", version=3, reason="too slow\x1b[31m\nnow", none=None)
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(r'rollback         version=3  reason="too slow\u001b[31m\nnow"')
    assert "WARNING" in line


@pytest.mark.parametrize(
    "text",
    [
        "http://user:hunter2@host/path",
        "postgresql://hunter2@host",
        "Authorization: Bearer hunter2.abc-def",
        "basic hunter2==",
        "?token=hunter2&x=1",
        "EDGEWRIGHT_AGENT_SPOOL_TOKEN=hunter2",
        "password=hunter2",
        "as configured: hunter2!",
    ],
)
def test_secrets_are_not_in_it(text: str) -> None:
    for stream in (io.StringIO(), Terminal()):
        AgentLog(stream, secrets=("hunter2!", "")).write("error", "sender", reason=f"it said {text} and so on")
        assert "hunter2" not in stream.getvalue()
        assert "***" in stream.getvalue()
    for length in range(540, 601):  # also where the text is cut
        stream = io.StringIO()
        AgentLog(stream, secrets=("hunter2!",)).write("error", "sender", reason=f"{'x' * length} {text} and so on")
        assert "hunter" not in stream.getvalue()


def test_lines_and_texts_have_a_longest_length() -> None:
    for stream in (io.StringIO(), Terminal()):
        log = AgentLog(stream)
        log.write("info", "long", reason="ä" * 100_000)
        log.write("info", "many", **{f"fact_{index}": "x" * 500 for index in range(1000)})
        assert all(
            len(line) <= 2000 or (line.isascii() and len(line) < 4000) for line in stream.getvalue().splitlines()
        )
    stream = io.StringIO()
    AgentLog(stream).write("info", "many", **{f"fact_{index}": "x" * 500 for index in range(1000)})
    assert lines(stream)[0]["left_out"] > 990


def test_values_that_json_has_not_are_texts() -> None:
    stream = io.StringIO()
    AgentLog(stream).write("info", "odd", inf=math.inf, nan=math.nan)
    assert "NaN" not in stream.getvalue() and "Infinity" not in stream.getvalue()
    assert lines(stream)[0]["inf"] == "inf"


def test_a_fact_does_not_replace_what_every_line_has() -> None:
    stream = io.StringIO()
    AgentLog(stream).write("info", "install", at="later", event="x")
    assert lines(stream)[0]["event"] == "install"
    assert lines(stream)[0]["event_"] == "x"


def test_a_burst_is_written_then_few_and_what_was_held_back_is_counted() -> None:
    stream, clock = io.StringIO(), Clock()
    log = AgentLog(stream, now=clock)
    for _ in range(57):
        log.write("info", "worker_ended")
    assert len(lines(stream)) == 20
    log.write("info", "commit")
    assert len(lines(stream)) == 21, "another kind has its own burst"
    clock.now += 10
    log.write("info", "worker_ended")
    assert lines(stream)[-2]["suppressed"] == "37 more suppressed"
    assert len(lines(stream)) == 23
    log.write("info", "worker_ended")
    log.tell_suppressed()
    assert lines(stream)[-1]["suppressed"] == "1 more suppressed"


def test_kinds_beyond_a_number_share_a_burst() -> None:
    limit = RateLimit(2, 0.0)
    assert sum(limit.admits(f"kind {index}") for index in range(10_000)) <= 256 + 2
    assert len(limit.held_back) <= 257


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "the journal is gone")


def test_a_journal_that_is_gone_stops_nobody() -> None:
    assert not AgentLog(Gone()).write("error", "alarm")
    stream = io.StringIO()
    log = AgentLog(stream)
    stream.close()
    assert not log.write("error", "alarm")
