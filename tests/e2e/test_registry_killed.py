"""The tracking server is killed under a build: what does not need it goes on, what does is one line, and nothing is half."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from edgewright.pipeline.tracking import champion, versions

pytestmark = pytest.mark.slow

SEED = ("--seed", "6")


def kill_registry(workshop: Any) -> None:
    """Ends the server's leader and what it started, all at once."""
    leader = json.loads((workshop.home / "mlflow" / "server.json").read_text())["server"]["mark"]["pid"]
    for victim in [psutil.Process(leader), *psutil.Process(leader).children(recursive=True)]:
        victim.kill()


def wait_for_line(process: Any, beginning: str) -> None:
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith(beginning):
            return
    raise AssertionError(f"no line began with {beginning!r}: {''.join(seen)}{process.stderr.read()}")


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def runs_begun(workshop: Any) -> int:
    with sqlite3.connect(f"file:{workshop.home / 'mlflow' / 'mlflow.db'}?mode=ro", uri=True, timeout=5) as database:
        return int(database.execute("select count(*) from runs").fetchone()[0])


def ends_with_one_line(workshop: Any, process: Any) -> None:
    _, err = process.communicate(timeout=180)
    assert (process.returncode, err.count("\n")) == (1, 1), err
    assert "the registry answered: " in err
    assert workshop.wait_until_quiet() == []
    workshop.check_registry()
    in_office = champion(workshop.tracking, "tiny", "here")
    assert in_office is not None
    assert in_office.version == 1


def test_a_build_outlives_its_registry_or_says_in_one_line_that_it_did_not(
    first_build: Any, make_workshop: Any
) -> None:
    workshop = make_workshop(first_build.workshop)
    words = workshop.build_words(workshop.write_lean_recipe("lean.yaml"), *SEED)

    process = workshop.start("edgewright", *words)
    wait_for_line(process, " data ")
    kill_registry(workshop)  # it is not needed yet, and started again when it is
    wait_for_line(process, " pack ")
    kill_registry(workshop)  # needed next
    ends_with_one_line(workshop, process)

    before = runs_begun(workshop)
    process = workshop.start("edgewright", *words)
    wait_for(lambda: runs_begun(workshop) > before)
    kill_registry(workshop)  # half a run is written
    ends_with_one_line(workshop, process)

    done, summary = workshop.build(workshop.recipe.with_name("lean.yaml"), *SEED)
    assert (done.status, done.err) == (0, "")
    assert summary["targets"][0]["champion"] == 2
    assert [each.version for each in versions(workshop.tracking, "tiny", "here")] == [2, 1]
    workshop.check_registry()
    assert workshop.described_processes() == []
