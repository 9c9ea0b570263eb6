"""SIGKILL at any moment of a build: no half release, nothing left running, and the next build carries on."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest

from edgewright.pipeline.tracking import champion, versions
from edgewright.pipeline.tracking.client import open_client

pytestmark = pytest.mark.slow

STAGES = ("snapshot", "train", "compress", "quantize", "evaluate", "measure", "pack")
SEED = ("--seed", "5")


def registry_is_whole(workshop: Any) -> None:
    assert champion(workshop.tracking, "tiny", "here") is not None, (
        "the first build's stays until the second's is ready"
    )
    workshop.check_registry()


def kill_when(workshop: Any, moment: Callable[[], bool], timeout_s: float = 180) -> bool:
    """Starts a build and kills it at a moment; False when it was done before."""
    process = workshop.start("edgewright", *workshop.build_words(None, *SEED))
    deadline = time.monotonic() + timeout_s
    while process.poll() is None and not moment() and time.monotonic() < deadline:
        time.sleep(0.005)
    killed = process.poll() is None
    process.kill()
    _, errors = process.communicate(timeout=60)
    assert killed or process.returncode == 0, errors
    return killed


def only_servers_outlive(workshop: Any) -> None:
    """Isolated stages, measuring processes and Prefect's server end by themselves; MLflow's waits to be found again."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not all("mlflow" in words for words in workshop.described_processes()):
        time.sleep(0.2)
    assert all("mlflow" in words for words in workshop.described_processes())


def records(workshop: Any, stage: str) -> int:
    return len(list((workshop.home / "store" / "stages" / stage).glob("*.json")))


def stage_states(workshop: Any) -> dict[str, str]:
    latest = "select id from flow_run order by start_time desc limit 1"
    return dict(workshop.prefect(f"select name, state_name from task_run where flow_run_id = ({latest})"))


def finish(workshop: Any) -> dict[str, Any]:
    """The next build repairs, carries on and ends well, and nothing is left running."""
    done, summary = workshop.build(None, *SEED)
    assert (done.status, done.err) == (0, ""), done.err
    registry_is_whole(workshop)
    assert workshop.described_processes() == []
    here = summary["targets"][0]
    assert here["champion"] == here["version"]
    client = open_client(workshop.tracking)
    runs = client.search_runs(
        [client.get_experiment_by_name("tiny").experiment_id], f"tags.`edgewright.build` = '{summary['build']}'"
    )
    assert sorted(run.info.run_name for run in runs) == sorted(
        f"{variant}@{target}" for variant in ("fp32", "i8", "p50-i8") for target in ("here", "board")
    )
    assert {run.info.status for run in runs} == {"FINISHED"}
    for target in ("here", "board"):
        assert [each.build for each in versions(workshop.tracking, "tiny", target)].count(summary["build"]) == 1
    return dict(summary)


def test_killed_right_after_each_stage_was_remembered(first_build: Any, make_workshop: Any) -> None:
    workshop = make_workshop(first_build.workshop)
    for stage in STAGES[1:]:
        before = records(workshop, stage)
        killed = kill_when(workshop, lambda stage=stage, before=before: records(workshop, stage) > before)
        assert killed, f"{stage} was not computed again: it is remembered from an earlier, killed build"
        only_servers_outlive(workshop)
        registry_is_whole(workshop)
    finish(workshop)
    states = stage_states(workshop)
    remembered = [name for name in states if name.split("-")[0] in ("take", "train", "compress", "measure")]
    assert {states[name] for name in remembered if not name.startswith("compress")} == {"Unchanged"}


def test_killed_at_random_moments(first_build: Any, make_workshop: Any) -> None:
    moments = random.Random(11)
    workshop = make_workshop(first_build.workshop)
    kills = 0
    for part in range(8):
        # One moment in each eighth of a build (which takes less time than the first one did: its databases are there). It
        # begins without a memory each time, or the late moments would never come.
        shutil.rmtree(workshop.home / "store", ignore_errors=True)
        at_s = 0.7 * first_build.done.seconds * (part + moments.random()) / 8
        started = time.monotonic()
        if kill_when(workshop, lambda started=started, at_s=at_s: time.monotonic() - started > at_s):
            kills += 1
            only_servers_outlive(workshop)
        registry_is_whole(workshop)
    assert kills >= 4, "most moments come before the end, also where the machine's speed changes"
    finish(workshop)


def test_killed_while_it_writes_to_the_registry(first_build: Any, make_workshop: Any) -> None:
    workshop = make_workshop(first_build.workshop)
    tables = ("runs", "tags", "params", "metrics", "model_versions", "model_version_tags", "registered_model_aliases")
    path = f"file:{workshop.home / 'mlflow' / 'mlflow.db'}?mode=ro"
    counting = " , ".join(f"(select count(*) from {table})" for table in tables)

    def fingerprint() -> Any:
        with sqlite3.connect(path, uri=True, timeout=5) as database:
            aliases = database.execute("select name, alias, version from registered_model_aliases").fetchall()
            return database.execute(f"select {counting}").fetchone(), aliases

    kills = 0
    for changes in (1, 2, 4, 7, 11, 16, 22, 30):
        seen, last = [0], [fingerprint()]

        def moment(changes: int = changes, seen: list[int] = seen, last: list[Any] = last) -> bool:
            now = fingerprint()
            if now != last[0]:
                last[0] = now
                seen[0] += 1
            return seen[0] >= changes

        if not kill_when(workshop, moment):
            break
        kills += 1
        only_servers_outlive(workshop)
        registry_is_whole(workshop)
    assert kills >= 4
    finish(workshop)
