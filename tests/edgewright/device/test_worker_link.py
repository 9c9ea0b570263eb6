"""A worker as the agent meets it, honest or not: every end has a reason, and none of them reaches the agent."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hostile_models
from edgewright.bundle import Bundle
from edgewright.device import worker_job, worker_link
from edgewright.device.answer import BusyError, ReadingTimeoutError, WorkerLostError
from edgewright.device.worker_job import WorkerJob, describe_end
from edgewright.device.worker_link import MOST_WAITING, NotTakenError, WorkerLink
from edgewright.errors import DataError, DeadlineError, EdgewrightError
from small_bundles import LABELS, WHITE, make_small_bundle, samples

NPY = "application/x-npy"
Link = Callable[..., WorkerLink]


def npy(array: Any) -> bytes:
    body = io.BytesIO()
    np.save(body, array)
    return body.getvalue()


ONE = npy(samples(1)[0])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_small_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def link(bundle: Bundle) -> Iterator[Link]:
    """Starts workers, and ends them after the test."""
    links: list[WorkerLink] = []

    def start(model: Bundle | None = None, now: Callable[[], float] = time.monotonic, **changes: Any) -> WorkerLink:
        chosen = model or bundle
        fields = {
            "memory_mib": 2048,
            "start_deadline_s": 20,
            "deadline_s": 2,
            "heartbeat_s": 5,
            "request_bytes": 1 << 20,
        }
        job = WorkerJob(chosen.folder, chosen.sha256, **{**fields, **changes})
        links.append(WorkerLink(job, now, lambda: None))
        return links[-1]

    yield start
    for each in links:
        each.end("the test is over")
        assert each.wait_ended(5)


def ready(link: WorkerLink) -> WorkerLink:
    stop_at = time.monotonic() + 20
    while not link.is_ready:
        assert link.phase != "ended" and time.monotonic() < stop_at, link.ending
        time.sleep(0.005)
    return link


def soon() -> float:
    return time.monotonic() + 10


def test_a_worker_becomes_ready_and_answers(link: Link) -> None:
    found = ready(link())
    assert found.report["figures"]["golden_agreeing"] == 16
    assert found.ask(npy(samples(3)[0]), NPY, soon()).labels == list(LABELS)
    with pytest.raises(DataError, match="shape"):
        found.ask(npy(np.zeros((1, 3, 3), np.uint8)), NPY, soon())
    assert found.ask(ONE, NPY, soon()).answers[0]["label"] == LABELS[0] and found.is_ready


def test_requests_have_their_turn_in_the_order_of_coming_and_too_many_are_sent_away(link: Link, tmp_path: Path) -> None:
    found = ready(link(make_small_bundle(tmp_path / "slow", hostile_models.slow(20_000))))
    order: list[int] = []
    busy: list[BusyError] = []

    def ask(number: int) -> None:
        try:
            found.ask(ONE, NPY, soon())
            order.append(number)
        except BusyError as error:
            busy.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(MOST_WAITING + 4)]
    for number, thread in enumerate(threads):
        thread.start()
        stop_at = time.monotonic() + 5
        while len(found._queue) + len(order) + len(busy) <= number and time.monotonic() < stop_at:
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == sorted(order) and busy and len(order) >= MOST_WAITING
    assert len(order) + len(busy) == MOST_WAITING + 4 and found.idle


def test_who_waits_too_long_for_a_turn_is_sent_away(link: Link) -> None:
    found = ready(link())
    with found._turn:
        found._queue.append(object())
    with pytest.raises(BusyError):
        found.ask(ONE, NPY, time.monotonic() + 0.05)
    found._queue.clear()


def test_a_killed_worker_fails_the_request_it_had_and_no_other(link: Link) -> None:
    found = ready(link(deadline_s=10.0))
    os.kill(found.pid, signal.SIGSTOP)
    errors: list[EdgewrightError] = []

    def ask() -> None:
        try:
            found.ask(ONE, NPY, soon())
        except EdgewrightError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(found._queue) < 3:
        time.sleep(0.005)
    time.sleep(0.05)
    os.kill(found.pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    kinds = sorted(type(error).__name__ for error in errors)
    assert kinds == [NotTakenError.__name__, NotTakenError.__name__, WorkerLostError.__name__]
    assert found.wait_ended(5) and found.ending is not None and "SIGKILL" in found.ending.reason


def test_an_inference_that_does_not_end_is_broken_off_inside(link: Link, tmp_path: Path) -> None:
    """Too many samples at once are no fault of the worker's; one sample is."""
    found = ready(link(make_small_bundle(tmp_path / "b", hostile_models.hanging_on_white()), deadline_s=0.3))
    pid = found.pid
    with pytest.raises(DeadlineError, match="2 samples"):
        found.ask(npy(np.repeat(WHITE, 2, axis=0)), NPY, soon())
    assert found.ask(ONE, NPY, soon()).labels == [LABELS[0]] and found.pid == pid
    with pytest.raises(DeadlineError, match="1 samples"):
        found.ask(npy(WHITE), NPY, soon())
    assert not found.is_ready and found.wait_ended(5)
    assert found.ending is not None and "its model answers no more" in found.ending.reason


PRETENDING = """
import json, socket, struct, sys, time
line = socket.socket(fileno=int(sys.argv[1]))
def say(**head):
    data = json.dumps(head).encode()
    line.sendall(b"edw1" + struct.pack("!II", len(data), 0) + data)
line.recv(65536)
say(kind="ready", figures={{}}, model={{}})
line.recv(65536)
{action}
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("action", "error", "reason", "blames"),
    [
        ("say(kind='read', number=1)", DeadlineError, "it did not end an inference within 0.2 s", "release"),
        ("", ReadingTimeoutError, "it did not read a request within 0.2 s", "request"),
    ],
)
def test_a_worker_that_cannot_break_off_is_killed_and_what_was_only_read_is_not_the_models_fault(
    action: str, error: type[EdgewrightError], reason: str, blames: str, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = PRETENDING.format(action=action)
    monkeypatch.setattr(worker_job, "worker_command", lambda line: [sys.executable, "-c", script, str(line)])
    found = ready(link(deadline_s=0.2))
    with pytest.raises(error) as caught:
        found.ask(ONE, NPY, soon())
    assert type(caught.value) is error
    assert found.wait_ended(5) and found.ending is not None
    assert (found.ending.reason, found.ending.blames) == (reason, blames)


def test_reading_a_request_is_not_part_of_the_models_time(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    action = "time.sleep(1); say(kind='read', number=1); time.sleep(1); say(kind='trouble', number=1, code='data')"
    script = PRETENDING.format(action=action)
    monkeypatch.setattr(worker_job, "worker_command", lambda line: [sys.executable, "-c", script, str(line)])
    with pytest.raises(DataError):
        ready(link(deadline_s=0.5)).ask(ONE, NPY, soon())


def test_where_the_system_gives_no_thread_no_process_is_left(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(job: WorkerJob) -> Any:
        line, process = worker_job.start_worker(job)
        started.append(process)
        return line, process

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(worker_link, "start_worker", start)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(threading.Thread, "start", refuse)
        link()
    assert started[0].returncode == -signal.SIGKILL


def test_a_silent_worker_is_ended_but_not_for_the_agents_own_sleep(link: Link) -> None:
    clock = [1000.0]
    found = ready(link(now=lambda: clock[0], heartbeat_s=1.0))
    clock[0] += 100  # this process slept: the beats lie there and are read before the second look
    found.check()
    time.sleep(0.6)
    found.check()
    assert found.is_ready
    os.kill(found.pid, signal.SIGSTOP)
    time.sleep(0.3)
    clock[0] += 100
    found.check()
    found.check()
    assert found.wait_ended(5) and found.ending is not None and "silent" in found.ending.reason


def test_a_retired_worker_takes_no_more_requests(link: Link) -> None:
    found = ready(link())
    found.retire()
    with pytest.raises(NotTakenError):
        found.ask(ONE, NPY, soon())


PRETENDED = {
    "speaks nonsense": ("line.sendall(b'GET / HTTP/1.1' * 10); time.sleep(60)", "a message starts with"),
    "promises gigabytes": ("line.sendall(b'edw1' + b'\\xff' * 8); time.sleep(60)", "a message starts with"),
    "answers unasked": ("say(kind='answer', number=0); time.sleep(60)", "that nobody waits for"),
    "is ready without figures": ("say(kind='ready', figures=3, model={}); time.sleep(60)", "it reported nothing"),
    "reports without end": (
        "say(kind='ready', figures={'x': 1e999}, model={}); time.sleep(60)",
        "is not valid JSON",
    ),
    "talks without end": (
        "[sys.stderr.write('x' * 1000) for _ in range(20000)]; print('the end', file=sys.stderr); sys.exit(3)",
        "it ended with the exit code 3; its last words: ",
    ),
    "leaves a child that holds its line": ("os.fork() or time.sleep(30); os.kill(os.getpid(), 9)", "SIGKILL"),
    "aborts": ("os.abort()", "it was ended by SIGABRT"),
    "never begins": ("time.sleep(60)", "it did not prove its bundle within 0.5 s"),
    "closes its line": ("line.close(); time.sleep(60)", "it was ended by SIGKILL"),
}


@pytest.mark.parametrize("case", PRETENDED)
def test_a_process_that_is_no_worker_ends_with_a_reason(case: str, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    action, reason = PRETENDED[case]
    script = f"""
import json, os, socket, struct, sys, time
line = socket.socket(fileno=int(sys.argv[1]))
def say(**head):
    data = json.dumps(head).encode()
    line.sendall(b"edw1" + struct.pack("!II", len(data), 0) + data)
{action}
"""
    command = lambda descriptor: [sys.executable, "-c", script, str(descriptor)]  # noqa: E731
    monkeypatch.setattr(worker_job, "worker_command", command)
    found = link(start_deadline_s=0.5 if case == "never begins" else 20)
    stop_at = time.monotonic() + 20
    while not found.wait_ended(0.05):
        found.check()
        assert time.monotonic() < stop_at
    assert found.ending is not None and reason in found.ending.reason
    assert len(found.ending.reason) < 700


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ("values=[], confidences=[], input_mean=[]", '[{"label": "a"}, {}]'),
        ("values=['b'], confidences=[], input_mean=[]", "[{}]"),
        ("values=[], confidences=[], input_mean=[]", '[{"label": "%s"}]' % ("a" * 999)),
        ("values=[], confidences=[], input_mean=[]", '[{"label": 3}]'),
        ("values=[], confidences=[], input_mean=[]", "{}"),
        ("values=[], confidences=[], input_mean=[]", "[3]"),
        ("values=[], confidences=[], input_mean=[]", "[NaN]"),
        ("values=[], confidences=[], input_mean=[]", '[{"score": 1e999}]'),
        ("values=[], confidences=[], input_mean=[]", '[{"score": [[]]}]'),
        ("values=[], confidences=[], input_mean=[]", "[" * 100_000),
    ],
)
def test_an_answer_that_is_none_ends_the_worker(
    answer: str, body: str, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"""
import json, socket, struct, sys, time
line = socket.socket(fileno=int(sys.argv[1]))
def say(body=b"", **head):
    data = json.dumps(head).encode()
    line.sendall(b"edw1" + struct.pack("!II", len(data), len(body)) + data + body)
line.recv(65536)
say(kind="ready", figures={{}}, model={{}})
line.recv(65536)
say({body!r}.encode(), kind="answer", number=1, {answer})
time.sleep(60)
"""
    command = lambda descriptor: [sys.executable, "-c", script, str(descriptor)]  # noqa: E731
    monkeypatch.setattr(worker_job, "worker_command", command)
    found = ready(link())
    with pytest.raises(WorkerLostError, match="nonsense"):
        found.ask(ONE, NPY, soon())
    assert found.wait_ended(5)


def test_an_end_is_told_in_words() -> None:
    assert describe_end(-11, b"") == "it was ended by SIGSEGV"
    assert (
        describe_end(1, b"Traceback\n  x\nMemoryError\n\n")
        == "it ended with the exit code 1; its last words: MemoryError"
    )
