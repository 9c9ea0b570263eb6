"""What a stage's task says of how it ended, and how an interrupted command lets nothing begin any more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.artifact_store import Outcome
from edgewright.pipeline.progress import Progress

ROOT = Path(__file__).parents[2]


@pytest.fixture
def heard(prefect_api: None) -> Iterator[list[tuple[str, Progress]]]:
    """All progress that the tasks of this process report."""
    from tasks.progress import listening

    said: list[tuple[str, Progress]] = []
    with listening(lambda stage, progress: said.append((stage, progress))):
        yield said


def run_as_task(outcome: Outcome[str]) -> tuple[str, Any]:
    """Name of the final state, and the value that whoever waits for the task gets."""
    from prefect import flow, task

    from tasks.stage import STAGE_OPTIONS, run_stage

    @task(**STAGE_OPTIONS)
    def stage() -> str:
        return run_stage("train", "base", lambda _: outcome)

    @flow(persist_result=False)
    def one_stage() -> tuple[str, Any]:
        future = stage.submit()
        future.wait()
        return str(future.state.name), future.result()

    return one_stage()


def test_what_was_computed_is_completed(heard: list[tuple[str, Progress]]) -> None:
    assert run_as_task(Outcome("value", unchanged=False, compute_s=1.0)) == ("Completed", "value")
    assert heard == [("train", Progress("base", 1, 1, "done"))]


def test_what_was_remembered_is_unchanged_and_has_its_value(heard: list[tuple[str, Progress]]) -> None:
    assert run_as_task(Outcome("value", unchanged=True, compute_s=1.0)) == ("Unchanged", "value")
    assert heard == [("train", Progress("base", 1, 1, "unchanged"))]


def test_an_interrupted_command_ends_what_computes_and_begins_nothing_more(tmp_path: Path) -> None:
    # In a process of its own: there is no way back from it.
    code = """
import threading, time
import endless
from edgewright.errors import EdgewrightError
from edgewright.pipeline.isolation import run_isolated
from tasks import stage
computing = threading.Event()
def train(_):
    computing.set()
    run_isolated(endless.run, work="training", deadline_s=600)
stage.Reporter = lambda *_: lambda *_: None  # no Prefect here
def attempt():
    try: stage.run_stage("train", "base", train)
    except EdgewrightError as error: print(type(error).__name__, str(error).splitlines()[0])
thread = threading.Thread(target=attempt); thread.start(); computing.wait(); time.sleep(1)
stage.stop_stages(); started = time.monotonic(); thread.join()
assert time.monotonic() - started < 10
attempt()
"""
    (tmp_path / "endless.py").write_text("import time\ndef run(*, on_progress):\n    time.sleep(600)\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=True, env=environment)
    ended, refused = done.stdout.splitlines()
    assert ended.startswith("CrashError training: its process was ended by SIGKILL")
    assert refused == "StageError train base did not begin: the command was interrupted. Build again to carry on."
