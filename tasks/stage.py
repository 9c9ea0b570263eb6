"""What every stage's task has in common: a slot while it computes, and a state that says what happened."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from edgewright.pipeline.artifact_store import Outcome
from edgewright.pipeline.progress import Progress
from tasks.progress import Reporter

ResultT = TypeVar("ResultT")

# The store remembers by content digest. Prefect's own cache would remember by path, and answer with stale results.
STAGE_OPTIONS: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}

# Many tasks may wait for each other at once; only as many compute as there are cores.
_slots = threading.BoundedSemaphore(max(1, len(os.sched_getaffinity(0))))


def run_stage(name: str, work: str, stage: Callable[[Reporter], Outcome[ResultT]]) -> ResultT:
    """Runs a stage in a slot; the task ends as ``Unchanged`` when the result was remembered.

    Args:
        name: Name of the stage, for progress.
        work: What of it: the variant, the target.
        stage: Runs the stage with the given progress listener.
    """
    reporter = Reporter(name, work)
    with _slots:
        outcome = stage(reporter)
    if outcome.unchanged:
        reporter(Progress(work, 1, 1, "unchanged"))
        # Prefect takes the value out of a state that a task returns.
        state: Any = Completed(name="Unchanged", message="remembered by digest", data=outcome.value)
        return cast(ResultT, state)
    reporter(Progress(work, 1, 1, "done"))
    return outcome.value
