"""A part of the desk as processes: found with and without memory, told from the flow runs that it started."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.desk.part import Part, flow_processes, last_heard, last_words, runs_flow
from edgewright.desk.state import desk_folder
from edgewright.pipeline.live_process import Mark

# A worker, and a flow run of it in a session of its own, which has a child that computes.
WORKER = """
import os, subprocess, sys, time
sleep = "import time; time.sleep(600)"
code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{sleep}']); {sleep}"
subprocess.Popen(
    [sys.executable, "-c", code, "prefect.engine"],
    env={**os.environ, "PREFECT__FLOW_RUN_ID": "run-1"},
    start_new_session=True,
)
print("begun", flush=True)
time.sleep(600)
"""


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Part]:
    desk_folder(tmp_path).mkdir()
    part = Part(tmp_path, "worker")
    yield part
    part.stop(2.0)


def begin(part: Part, tmp_path: Path, processes: int = 3) -> Mark:
    mark = part.start([sys.executable, "-c", WORKER], tmp_path, os.environ)
    deadline = time.monotonic() + 20
    while len(part.family()) < processes and time.monotonic() < deadline:
        time.sleep(0.05)
    return mark


def test_nothing_is_found_where_nothing_was_started(tmp_path: Path) -> None:
    part = Part(tmp_path / "none", "worker")
    assert part.find(None) is None
    assert part.family() == []


def test_a_part_is_found_by_its_mark_when_the_memory_is_lost_or_of_another_process(part: Part, tmp_path: Path) -> None:
    mark = begin(part, tmp_path)
    assert part.find(mark) == mark
    for lost in (None, Mark(os.getpid(), 1000.0)):
        found = part.find(lost)
        assert found is not None
        assert found.pid == mark.pid, "not the flow run, which leads a session too"
    assert Part(tmp_path, "prefect").find(None) is None, "another part of the same desk"
    elsewhere = tmp_path / "elsewhere"
    desk_folder(elsewhere).mkdir(parents=True)
    assert Part(elsewhere, "worker").find(None) is None, "the same part of another desk"


def test_a_flow_run_is_known_by_its_own_process(part: Part, tmp_path: Path) -> None:
    begin(part, tmp_path)
    processes = flow_processes()["run-1"]
    assert len(processes) == 2
    assert [runs_flow(process) for process in processes].count(True) == 1


def test_stopping_ends_the_part_and_all_that_it_started(part: Part, tmp_path: Path) -> None:
    mark = begin(part, tmp_path)
    part.stop(5.0)
    assert not mark.is_alive()
    assert part.family() == []
    assert "run-1" not in flow_processes()


def test_the_log_of_the_one_before_is_kept(part: Part, tmp_path: Path) -> None:
    assert last_words(part.log) == ()
    assert last_heard(part.log) is None
    for words in ("first", "second"):
        part.start([sys.executable, "-c", f"print('{words}')"], tmp_path, os.environ)
        deadline = time.monotonic() + 20
        while words not in last_words(part.log) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert last_words(part.log) == ("second",)
    assert last_words(part.log.with_suffix(".log.1")) == ("first",)
    assert last_heard(part.log) is not None
