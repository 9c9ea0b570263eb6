"""What becomes of flow runs when the desk is closed, when its worker was killed, and when nights passed without it.

A run's state is what Prefect was told last. Whether its process lives is asked of the processes, which carry the run's id.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from edgewright.desk.api import PrefectApi
from edgewright.desk.deploying import deployment_names, scheduled_runs
from edgewright.desk.part import flow_processes, runs_flow
from edgewright.desk.work_pool import POOL

_CLOSED = (
    "The desk was closed while this run was going on (edgewright down). What it had finished is remembered: run it again to "
    "carry on."
)
_LOST = (
    "The process of this run had ended when the desk was opened again: it was killed together with its worker, or the "
    "machine went down. What it had finished is remembered: run it again to carry on."
)
_MISSED = "The desk was closed at the time of this run, and a later one of the same deployment was due since."
_UNDER_WAY = ["PENDING", "RUNNING", "CANCELLING"]
# A run whose time came this long ago was missed; one that is younger is about to be taken.
_MISSED_AFTER = timedelta(minutes=1)


def runs_under_way(api: PrefectApi, pool: str | None = POOL) -> list[dict[str, Any]]:
    """The runs that have begun and not ended, by what Prefect was told.

    Args:
        api: The server.
        pool: The work pool whose runs are meant; None for all runs, those of commands included.
    """
    query: dict[str, Any] = {"flow_runs": {"state": {"type": {"any_": _UNDER_WAY}}}}
    if pool is not None:
        query["work_pools"] = {"name": {"any_": [pool]}}
    return api.all("/flow_runs/filter", **query, sort="START_TIME_ASC")


def end_abandoned(api: PrefectApi) -> list[str]:
    """Ends, in Prefect, the runs of the desk's pool whose process is gone. To be called while no worker lives.

    Returns:
        Their names.
    """
    alive = {run for run, processes in flow_processes().items() if any(runs_flow(each) for each in processes)}
    ended = []
    for run in runs_under_way(api):
        if run["id"] not in alive:
            is_cancelled = run["state"]["type"] == "CANCELLING"
            words = ("CANCELLED", "Cancelled", _CLOSED) if is_cancelled else ("CRASHED", "Crashed", _LOST)
            if _set_state(api, run["id"], *words):
                ended.append(str(run["name"]))
    return ended


def skip_missed(api: PrefectApi) -> dict[str, int]:
    """Of several runs of one deployment whose time passed while no worker lived, leaves the last one to be made up for.

    Returns:
        By deployment, how many were skipped.
    """
    now = datetime.now(UTC)
    names, missed = deployment_names(api), set()
    skipped: dict[str, int] = {}
    for run in reversed(scheduled_runs(api)):
        if now - datetime.fromisoformat(run["expected_start_time"]) < _MISSED_AFTER:
            continue
        deployment = run["deployment_id"]
        if deployment not in missed:
            missed.add(deployment)
        elif _set_state(api, run["id"], "CANCELLED", "Skipped", _MISSED):
            name = names.get(deployment, "a removed deployment")
            skipped[name] = skipped.get(name, 0) + 1
    return skipped


def cancel_runs(api: PrefectApi) -> dict[str, str]:
    """Tells Prefect that all runs of the desk's pool that have begun and not ended are being cancelled.

    Returns:
        Their names, by id.
    """
    cancelled = {}
    for run in runs_under_way(api):
        # Prefect refuses where a run has ended meanwhile.
        if _set_state(api, run["id"], "CANCELLING", "Cancelling", _CLOSED):
            cancelled[str(run["id"])] = str(run["name"])
    return cancelled


def settle_cancelled(api: PrefectApi, runs: Iterable[str]) -> None:
    """Says of cancelled runs whose processes have ended why they are; the worker says it in words of its own."""
    for run in runs:
        if api.read(f"/flow_runs/{run}")["state"]["type"] != "COMPLETED":
            _set_state(api, run, "CANCELLED", "Cancelled", _CLOSED)


def _set_state(api: PrefectApi, run: str, kind: str, name: str, message: str) -> bool:
    """Whether Prefect took the state, or one that comes to the same: what has not begun is cancelled at once."""
    words = {"state": {"type": kind, "name": name, "message": message}}
    answer = api.post(f"/flow_runs/{run}/set_state", words)
    became = (answer["state"] or {}).get("type")
    return answer["status"] == "ACCEPT" or (kind == "CANCELLING" and became == "CANCELLED")
