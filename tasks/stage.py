"""What every stage's task has in common: a slot while it computes, and a state that says what happened."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import psutil
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from edgewright.errors import StageError
from edgewright.pipeline.artifact_store import Outcome
from edgewright.pipeline.progress import Progress
from tasks.progress import Reporter

ResultT = TypeVar("ResultT")

# The store remembers by content digest. Prefect's own cache would remember by path, and answer with stale results.
STAGE_OPTIONS: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}

# Many tasks may wait for each other at once; only as many compute as there are cores.
_slots = threading.BoundedSemaphore(max(1, len(os.sched_getaffinity(0))))

# Processes that compute for a stage, by the module that they run.
_WORKERS = {"edgewright.pipeline.isolation", "edgewright.benchmark_worker"}
_KILL_INTERVAL_S = 0.2
_stopping = threading.Event()


def run_stage(name: str, work: str, stage: Callable[[Reporter], Outcome[ResultT]]) -> ResultT:
    """Runs a stage in a slot; the task ends as ``Unchanged`` when the result was remembered.

    Args:
        name: Name of the stage, for progress.
        work: What of it: the variant, the target.
        stage: Runs the stage with the given progress listener.
    """
    reporter = Reporter(name, work)
    with _slots:
        if _stopping.is_set():
            raise StageError(f"{name} {work} did not begin: the command was interrupted. Build again to carry on.")
        outcome = stage(reporter)
    if outcome.unchanged:
        reporter(Progress(work, 1, 1, "unchanged"))
        # Prefect takes the value out of a state that a task returns.
        state: Any = Completed(name="Unchanged", message="remembered by digest", data=outcome.value)
        return cast(ResultT, state)
    reporter(Progress(work, 1, 1, "done"))
    return outcome.value


def stop_stages() -> None:
    """Ends what computes and lets nothing begin any more, so that an interrupted command ends now and not in minutes.

    For a process that is about to end: there is no way back. Stages that were ended fail, and are not remembered.
    """
    if not _stopping.is_set():
        _stopping.set()
        threading.Thread(target=_end_workers, daemon=True).start()


def _end_workers() -> None:
    while True:  # a stage may be just about to start its process
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if not _WORKERS.isdisjoint(child.cmdline()):
                    child.kill()
        time.sleep(_KILL_INTERVAL_S)
