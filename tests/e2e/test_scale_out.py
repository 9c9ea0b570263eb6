"""A whole build on a team's servers: two Dask workers, objects in S3; and one of the workers dies in the middle."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from dask_cluster import Worker, dask_cluster
from edgewright.pipeline.object_store import ObjectStore
from edgewright.pipeline.object_store_s3 import S3Store
from s3_server import environment_of, make_bucket, s3_server, use

pytestmark = pytest.mark.slow

PLACE = "s3://models/team"
RUNNER, SHARED = "EDGEWRIGHT_TASK_RUNNER", "EDGEWRIGHT_SHARED"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server() as address:
        use(address, monkeypatch)
        make_bucket("models")
        yield address


def test_a_worker_that_is_killed_in_the_middle_costs_time_and_nothing_else(
    server: str, make_workshop: Callable[..., Any], tmp_path: Path
) -> None:
    workshop = make_workshop()
    team, store = {**environment_of(server), SHARED: PLACE}, S3Store.open(PLACE)
    with dask_cluster(tmp_path / "cluster", team, [workshop.folder]) as cluster:
        runner = {RUNNER: cluster.address.replace("tcp", "dask")}
        process = build(workshop, workshop.build_words(workshop.write_lean_recipe("lean.yaml")), **team, **runner)
        wait_until(lambda: all(computing(worker) for worker in cluster.workers), "work for both")
        victim, survivor = cluster.workers
        victim.process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, out + err
        assert survivor.process.poll() is None
        for worker in cluster.workers:
            watched, looks = worker.looks()
            assert watched and not looks
        assert survivor.computed() | victim.computed() <= shared_stages(store)
    workshop.check_registry()
    # Another machine, alone, that shares the store: it computes nothing of what the cluster has.
    other = make_workshop()
    process = build(other, other.build_words(other.write_lean_recipe("lean.yaml")), **team)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, out + err
    states = dict(other.prefect("SELECT name, state_name FROM task_run"))
    computed = {name for name, state in states.items() if state != "Unchanged"}
    assert len(states) > 10
    assert not [name for name in computed if name.startswith(("train", "compress", "quantize", "evaluate", "stress"))]


def build(workshop: Any, words: list[str], **environment: str) -> Any:
    """Starts a build with more in its environment."""
    return workshop.start("edgewright", *words, env={**workshop.environment, **environment})


def computing(worker: Worker) -> bool:
    """Whether a process computes for the worker right now."""
    children = psutil.Process(worker.process.pid).children()
    return any("edgewright.pipeline.isolation" in child.cmdline() for child in children)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    ends = time.monotonic() + seconds
    while True:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended while one looked
            if condition():
                return
        assert time.monotonic() < ends, f"{what} did not happen"
        time.sleep(0.05)


def shared_stages(store: ObjectStore) -> set[str]:
    return {key.removeprefix("stages/").removesuffix(".json") for key in store.keys("stages/")}
