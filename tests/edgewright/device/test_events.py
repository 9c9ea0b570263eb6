"""Events: what four calls lead to, what never leaves a device, and that nobody is held up."""

from __future__ import annotations

import base64
import io
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.device.agent_config import AgentConfig, DeviceSection, SpoolSection
from edgewright.device.agent_log import AgentLog
from edgewright.device.agent_state import AgentState
from edgewright.device.events import Events

NOWHERE = "http://127.0.0.1:9"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def config_for(folder: Path, url: str = NOWHERE, **spool: Any) -> AgentConfig:
    device = DeviceSection(id="press-7", model="digits", target="linux-x86", state=str(folder))
    return AgentConfig(device, spool=SpoolSection(url=url, **spool))


Make = Callable[..., Events]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Events] = []

    def make(clock: Clock | None = None, **settings: Any) -> Events:
        events = Events(config_for(tmp_path, **settings), AgentLog(io.StringIO()), clock or Clock())
        made.append(events)
        return events

    yield make
    for events in made:
        if events.spool is not None:
            events.spool.stop()


def spooled(events: Events) -> list[dict[str, Any]]:
    assert events.spool is not None
    assert events.spool.write_pending()
    return [json.loads(item.line) for item in events.spool.next_batch(1000)]


def logged(events: Events) -> list[dict[str, Any]]:
    stream = events.log._stream
    assert isinstance(stream, io.StringIO)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_logged_counted_and_durable_when_the_call_returns(make: Make, tmp_path: Path) -> None:
    events = make()
    assert events.spool is not None
    events.spool.start()
    events.event("rollback", version=4, reason="p95 9.1 ms, budget 5 ms", share=math.nan)
    assert events.spool.figures().items["high"] == 1
    (item,) = spooled(events)
    assert (item["kind"], item["priority"]) == ("event.rollback", 2)
    assert item["payload"] == {"version": 4, "reason": "p95 9.1 ms, budget 5 ms", "share": "nan"}
    assert [(line["event"], line["level"]) for line in logged(events)] == [("rollback", "warning")]
    assert events.metrics.counts()["events"] == 1


def test_secrets_do_not_leave_in_a_reason(make: Make) -> None:
    events = make()
    events.event("alarm", reason="http://user:hunter2@host is not reached " + "x" * 10_000)
    (item,) = spooled(events)
    assert "hunter2" not in str(item)
    assert len(item["payload"]["reason"]) == 600


def test_a_flood_of_one_kind_is_held_back_and_told_of(make: Make) -> None:
    events = make()
    for _ in range(100):
        events.event("worker_ended", reason="it crashed")
    events.event("rollback", reason="it crashed too often")
    report = events.report()
    assert report["suppressed"] == {"worker_ended": 70}
    assert report["counts"]["events_suppressed"] == 70
    kinds = [item["kind"] for item in spooled(events)]
    assert kinds.count("event.worker_ended") == 30
    assert kinds.count("event.rollback") == 1


@pytest.mark.parametrize(
    ("policy", "confidence", "leaves"),
    [
        ("never", 0.1, False),
        ("uncertain", 0.1, True),
        ("uncertain", 0.6, False),
        ("uncertain", math.nan, False),
        ("Always", 0.1, False),
    ],
)
def test_a_raw_input_leaves_only_by_the_policy_and_when_it_is_uncertain(
    make: Make, policy: str, confidence: float, leaves: bool
) -> None:
    events = make(raw_inputs=policy, sample_confidence=0.6)
    events.answered(1.0, {"samples": 1, "confidences": [confidence], "input_mean": [0.25], "labels": ["7"]})
    events.sample(b"\x93NUMPY raw", "application/x-npy", confidence)
    events.report()
    items = spooled(events)
    samples = [item for item in items if item["kind"] == "sample"]
    assert bool(samples) is leaves
    if leaves:
        assert base64.b64decode(samples[0]["payload"]["body"]) == b"\x93NUMPY raw"
        assert samples[0]["priority"] == 0
    else:
        assert base64.b64encode(b"\x93NUMPY raw").decode() not in json.dumps(items)


def test_samples_are_bounded_in_size_and_number(make: Make) -> None:
    clock = Clock()
    events = make(clock, raw_inputs="uncertain")
    events.sample(bytes(1 << 20), "application/x-npy", 0.1)
    for _ in range(50):
        events.sample(b"raw", "application/x-npy", 0.1)
    assert len(spooled(events)) == 20
    clock.now += 60
    for _ in range(50):
        events.sample(b"raw", "application/x-npy", 0.1)
    assert len(spooled(events)) == 26
    assert events.metrics.counts()["samples_withheld"] == 1 + 30 + 44


def test_reports_come_when_they_are_due_with_what_changed_since(make: Make) -> None:
    clock = Clock()
    events = make(clock, telemetry_s=300)
    state = AgentState(active="factory")
    events.follow(lambda: state)
    events.look()
    events.count("polls")
    events.answered(2.0, {"samples": 3})
    clock.now = 299
    events.look()
    assert spooled(events) == []
    clock.now = 300
    events.look()
    clock.now = 601
    events.look()
    first, second = (item["payload"] for item in spooled(events))
    assert first["counts"] == {"polls": 1, "requests": 1, "samples": 3}
    assert first["serves"] == {"place": "factory"}
    assert second["counts"] == {}
    assert second["answers"]["requests"] == 0


def test_inputs_that_drift_raise_one_alarm(make: Make) -> None:
    events = make()
    for value in [float(index % 10) for index in range(500)]:
        events.answered(1.0, {"input_mean": [value]})
    for _ in range(2):
        for value in [float(index % 10) + 5 for index in range(500)]:
            events.answered(1.0, {"input_mean": [value]})
        events.report()
    alarms = [item for item in spooled(events) if item["kind"] == "event.alarm"]
    assert len(alarms) == 1
    assert alarms[0]["payload"]["about"] == "input_drift"
    assert alarms[0]["payload"]["psi"] > 0.25


def test_without_a_receiver_nothing_is_written_to_the_disk(make: Make, tmp_path: Path) -> None:
    with make(url="", raw_inputs="uncertain") as events:
        events.event("start")
        events.answered(1.0, {"samples": 1})
        events.sample(b"raw", "application/x-npy", 0.1)
        assert events.report()["spool"] is None
        assert events.describe()["spool"] is None
    assert list(tmp_path.iterdir()) == []
    assert "edgewright_requests_total 1" in events.metrics_page()


def test_an_unknown_counter_is_told_of_and_raises_nothing(make: Make) -> None:
    events = make()
    events.count("no_such_counter", 2)
    assert logged(events)[0]["name"] == "no_such_counter"


def test_the_page_of_metrics_and_the_status_follow_the_state(make: Make) -> None:
    events = make()
    state = AgentState(active="factory")
    events.follow(lambda: state, lambda: None)
    page = events.metrics_page()
    assert 'edgewright_release_info{place="factory"' in page
    assert "edgewright_spool_items 0" in page
    assert "edgewright_agent_memory_mib" in page
    assert "worker_memory" not in page
    json.dumps(events.describe())


def test_started_and_stopped_it_leaves_everything_on_the_disk(tmp_path: Path) -> None:
    with Events(config_for(tmp_path), AgentLog(io.StringIO())) as events:
        events.event("start", address="http://127.0.0.1:8930")
        events.answered(1.0, {"samples": 1})
        start = time.monotonic()
    assert time.monotonic() - start < 5
    again = Events(config_for(tmp_path), AgentLog(io.StringIO()))
    assert {item["kind"] for item in spooled(again)} == {"event.start", "report"}
    assert again.spool is not None
    again.spool.stop()


def test_an_answer_costs_the_answering_thread_little(make: Make) -> None:
    events = make()
    facts = {"samples": 1, "confidences": [0.9], "input_mean": [0.5], "labels": ["7"], "values": []}
    start = time.perf_counter()
    for _ in range(5000):
        events.answered(1.5, facts)
    assert (time.perf_counter() - start) / 5000 < 0.0005, "seconds; some 10 µs are usual"
