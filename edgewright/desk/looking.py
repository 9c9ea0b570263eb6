"""How the desk is: asked of its processes and its servers, now. Starts nothing and changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from edgewright.desk.api import PrefectApi, is_healthy
from edgewright.desk.deploying import deployment_names, scheduled_runs, unscheduled
from edgewright.desk.flow_runs import runs_under_way
from edgewright.desk.part import Part, last_heard, last_words
from edgewright.desk.running import PREFECT, WORKER, prefect_api_url, prefect_port, prefect_ui_url
from edgewright.desk.state import DeskState, read_state
from edgewright.desk.work_pool import POOL, RUNS_AT_ONCE, last_heartbeat
from edgewright.errors import DeskError
from edgewright.pipeline.live_process import Mark
from edgewright.pipeline.tracking.client import store_folder
from edgewright.pipeline.tracking.server import is_answering, server_use
from edgewright.pipeline.workspace import Workspace

# Of each kind: what it means for a person is said where it is shown.
Condition = Literal["running", "starting", "silent", "crashed", "not started"]

MLFLOW = "mlflow"
_ML_MODE = "/#/experiments?workflowType=machine_learning"
# Younger ones are starting, as a rule.
_STARTS_WITHIN_S = 120.0
# A worker speaks every 30 seconds.
_WORKER_SILENT_AFTER_S = 100.0
_NEXT_RUNS = 3


@dataclass(frozen=True)
class PartView:
    """One part as it is now.

    Attributes:
        name: ``mlflow``, ``prefect`` or ``worker``.
        condition: Whether it runs; ``silent`` lives and does not answer.
        words: The link of a server, what a worker does, or why a part is not well.
        since: When a running part was started; when one that crashed was last heard of.
        log: Its log.
        last_words: The last lines of it, of a part that is not well.
    """

    name: str
    condition: Condition
    words: str
    since: datetime | None
    log: Path
    last_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComingRun:
    """A run that a schedule made.

    Attributes:
        deployment: ``flow/name``.
        at: When; in local time.
    """

    deployment: str
    at: datetime


@dataclass(frozen=True)
class DeskView:
    """The desk as it is now.

    Attributes:
        parts: MLflow, Prefect and the worker.
        under_way: The runs that are going on: deployment and name of each.
        coming: The next runs, the first one first.
        warnings: What is wrong although all parts run, a sentence each.
    """

    parts: tuple[PartView, ...]
    under_way: tuple[str, ...] = ()
    coming: tuple[ComingRun, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether everything is up, and schedules make runs."""
        return all(part.condition == "running" for part in self.parts) and not self.warnings


def look_at_desk(home: Path) -> DeskView:
    """How the desk of a workspace is now."""
    state = read_state(home)
    prefect, api = _prefect(home, state)
    mlflow = _mlflow(home, state)
    if api is None:
        return DeskView((mlflow, prefect, _worker(home, state, None)))
    try:
        return _with_prefect(home, state, mlflow, prefect, api)
    except DeskError as error:
        silent = PartView(PREFECT, "silent", str(error), prefect.since, prefect.log)
        return DeskView((mlflow, silent, _worker(home, state, None)))


def _with_prefect(home: Path, state: DeskState, mlflow: PartView, prefect: PartView, api: PrefectApi) -> DeskView:
    names, now = deployment_names(api), datetime.now(UTC)
    coming = [
        ComingRun(names.get(run["deployment_id"], "a removed deployment"), at.astimezone())
        for run in scheduled_runs(api)
        if (at := datetime.fromisoformat(run["expected_start_time"])) > now
    ]
    warnings = [
        f"{name} has an active schedule and no run to come within 100 days: the versions may not work together "
        "(make setup, then edgewright down and up)"
        for name in unscheduled(api)
    ]
    warnings += (
        [f"nothing is deployed: edgewright up deploys {len(state.deployed.names)} deployments"] if not names else []
    )
    pool = api.find(f"/work_pools/{POOL}")
    if pool and pool["is_paused"]:
        warnings.append(f"the work pool {POOL} is paused in Prefect: no run begins until it is resumed there")
    under_way = tuple(
        f"{names.get(run['deployment_id'], 'by hand')} ({run['name']})" for run in runs_under_way(api, None)
    )
    parts = (mlflow, prefect, _worker(home, state, api))
    return DeskView(parts, under_way, tuple(coming[:_NEXT_RUNS]), tuple(warnings))


def _prefect(home: Path, state: DeskState) -> tuple[PartView, PrefectApi | None]:
    part = Part(home, PREFECT)
    mark = part.find(state.parts.get(PREFECT))
    if mark is None:
        # Its database hears more often of it than its log.
        files = [part.log, *sorted(Workspace(home).prefect_home.glob("prefect.db*"))]
        return _absent(PREFECT, part.log, PREFECT in state.parts, last_heard(*files)), None
    port = prefect_port(mark, state.prefect_port)
    api = PrefectApi(prefect_api_url(port))
    if is_healthy(api.url, 3.0):
        return PartView(PREFECT, "running", prefect_ui_url(port), _created(mark), part.log), api
    return _unheard(PREFECT, part.log, mark), None


def _worker(home: Path, state: DeskState, api: PrefectApi | None) -> PartView:
    part = Part(home, WORKER)
    mark = part.find(state.parts.get(WORKER))
    heard = last_heartbeat(api, WORKER) if api else None
    if mark is None:
        said = last_heard(part.log)
        if heard is not None:
            said = max(filter(None, (said, datetime.fromtimestamp(heard).astimezone())))
        return _absent(WORKER, part.log, WORKER in state.parts, said)
    words = f"takes runs from the pool {POOL}, {RUNS_AT_ONCE} at once"
    if api is None:
        return PartView(WORKER, "running", f"{words}; waits for Prefect", _created(mark), part.log)
    if heard is None or heard < max(mark.created - 5, time.time() - _WORKER_SILENT_AFTER_S):
        return _unheard(WORKER, part.log, mark)
    return PartView(WORKER, "running", words, _created(mark), part.log)


def _mlflow(home: Path, state: DeskState) -> PartView:
    use, log = server_use(home), store_folder(home) / "server.log"
    if use.server is None:
        return _absent(MLFLOW, log, state.keeps_mlflow, last_heard(log))
    if not is_answering(use.server, 3.0):
        return _unheard(MLFLOW, log, use.server.mark)
    link = use.server.uri + _ML_MODE
    since = _created(use.server.mark)
    if use.kept:
        return PartView(MLFLOW, "running", link, since, log)
    users = ", ".join(map(str, use.users)) or "nobody"
    if state.keeps_mlflow:
        words = f"crashed; a new one runs as long as process {users} uses it: edgewright up keeps it up"
        return PartView(MLFLOW, "crashed", words, since, log)
    return PartView(MLFLOW, "not started", f"one runs as long as process {users} uses it: {link}", since, log)


def _absent(name: str, log: Path, was_started: bool, heard: datetime | None) -> PartView:
    if not was_started:
        return PartView(name, "not started", "edgewright up starts it", None, log)
    return PartView(name, "crashed", "edgewright up starts it again", heard, log, last_words(log))


def _unheard(name: str, log: Path, mark: Mark) -> PartView:
    """A live process that does not answer: it is young, or something is wrong."""
    age_s = time.time() - mark.created
    if age_s < _STARTS_WITHIN_S:
        return PartView(name, "starting", f"for {age_s:.0f} s", _created(mark), log)
    words = f"process {mark.pid} lives and does not answer: end it, then edgewright up"
    return PartView(name, "silent", words, _created(mark), log, last_words(log))


def _created(mark: Mark) -> datetime:
    return datetime.fromtimestamp(mark.created).astimezone()
