"""Runs that nobody runs any more are found by asking for their process; everything else is left alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psutil
import pytest

pytestmark = pytest.mark.usefixtures("prefect_api")
Start = Callable[..., UUID]
HOST = socket.gethostname()


@pytest.fixture
def ended_pid() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def client(prefect_api: None) -> Iterator[Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def start(client: Any) -> Iterator[Start]:
    """A run in a state, with tags and the process that its worker noted."""
    from prefect import flow
    from prefect.states import State

    made: list[UUID] = []

    def begin(kind: str = "RUNNING", *, tags: tuple[str, ...] = (), infrastructure: str | None = None) -> UUID:
        @flow(name="watched")
        def watched() -> None: ...

        run = client.create_flow_run(watched, tags=tags, state=State(type="PENDING"))
        made.append(run.id)
        if infrastructure:
            client.update_flow_run(run.id, infrastructure_pid=infrastructure)
        if kind != "PENDING":
            client.set_flow_run_state(run.id, State(type=kind), force=True)
        return run.id

    yield begin
    for run_id in made:
        client.delete_flow_run(run_id)


def state_of(client: Any, run_id: UUID) -> str:
    return client.read_flow_run(run_id).state.name


def me(created: float | None = None) -> str:
    return f"process:{HOST}:{os.getpid()}:{created or psutil.Process().create_time()}"


def test_a_command_that_was_killed(client: Any, start: Start, ended_pid: int) -> None:
    from tasks.stale_runs import crash_stale_runs

    run = start(tags=(f"process:{HOST}:{ended_pid}:1700000000.0",))
    (said,) = crash_stale_runs()
    assert f"its process {ended_pid} is gone" in said
    assert state_of(client, run) == "Crashed"
    assert crash_stale_runs() == [], "once"


def test_a_run_of_a_worker_that_was_killed_with_it(client: Any, start: Start, ended_pid: int) -> None:
    from tasks.stale_runs import crash_stale_runs

    run = start(infrastructure=f"{HOST}:{ended_pid}")
    crash_stale_runs()
    assert state_of(client, run) == "Crashed"


def test_a_number_that_another_process_has_by_now(client: Any, start: Start) -> None:
    from tasks.stale_runs import crash_stale_runs

    run = start(tags=(me(created=1700000000.0),))
    crash_stale_runs()
    assert state_of(client, run) == "Crashed"


@pytest.mark.parametrize("kind", ["live command", "live worker", "another machine", "unknown process"])
def test_what_lives_or_cannot_be_seen_from_here_is_left_alone(client: Any, start: Start, kind: str) -> None:
    from tasks.stale_runs import crash_stale_runs

    run = {
        "live command": lambda: start(tags=(me(),)),
        "live worker": lambda: start(infrastructure=f"{HOST}:{os.getpid()}"),
        "another machine": lambda: start(infrastructure="elsewhere:1"),
        "unknown process": lambda: start(),
    }[kind]()
    assert crash_stale_runs() == []
    assert state_of(client, run) == "Running"


def test_a_pending_run_gets_time_to_begin(client: Any, start: Start) -> None:
    from tasks.stale_runs import crash_stale_runs

    run = start("PENDING")
    assert crash_stale_runs() == []
    assert state_of(client, run) == "Pending"


def test_a_question_about_something_older_is_withdrawn(client: Any, start: Start) -> None:
    from tasks.stale_runs import cancel_superseded

    older, newer = start("PAUSED", tags=("model:digits",)), start("PAUSED", tags=("model:digits",))
    other = start("PAUSED", tags=("model:motion",))
    (said,) = cancel_superseded("watched", "model:digits", newer)
    assert "a newer run took over" in said
    assert [state_of(client, run) for run in (older, newer, other)] == ["Cancelled", "Paused", "Paused"]
