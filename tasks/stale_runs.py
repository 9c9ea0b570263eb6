"""Flow runs that say ``Running`` although nobody runs them any more, and runs that a newer one has made pointless.

Prefect notices a killed flow process when its worker lives, and missing heartbeats when an automation watches for them. What
is left (both killed while the server was down, commands that were killed) is found here by asking whether the process lives.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Crashed

# A worker writes down the process within seconds of calling a run pending.
_PENDING_AT_MOST = timedelta(minutes=10)
# Creation times are reckoned from the boot time, which a clock correction moves a little.
_CLOCK_TOLERANCE_S = 5.0
_PAGE = 200
PROCESS_TAG = "process:"


def crash_stale_runs() -> list[str]:
    """Ends every run of this machine whose process is gone; returns one sentence for each."""
    said = []
    with get_client(sync_client=True) as client:
        for run in _runs_in(client, StateType.RUNNING, StateType.CANCELLING, StateType.PENDING):
            reason = _why_stale(run)
            if reason:
                _end(client, run, Crashed(message=f"{reason}; what its stages had finished is remembered"))
                said.append(f"flow run {run.name}: {reason}; it is Crashed now")
    return said


def cancel_superseded(flow_name: str, tag: str, except_for: UUID | None) -> list[str]:
    """Cancels suspended runs that wait for an answer about something older; returns one sentence for each.

    Args:
        flow_name: Of the flow.
        tag: That the runs carry, e.g. ``model:digits``.
        except_for: The newer run.
    """
    said = []
    with get_client(sync_client=True) as client:
        for run in _runs_in(client, StateType.PAUSED, flow_name=flow_name):
            if tag in run.tags and run.id != except_for:
                _end(client, run, Cancelled(message="a newer run of this model took over; nobody had answered"))
                said.append(f"flow run {run.name}: nobody had answered, a newer run took over; it is Cancelled now")
    return said


def expired_runs(flow_name: str) -> set[UUID]:
    """Runs of a flow whose question nobody answered in time."""
    with get_client(sync_client=True) as client:
        failed = _runs_in(client, StateType.FAILED, flow_name=flow_name)
        return {run.id for run in failed if run.state and "never resumed" in (run.state.message or "")}


def _why_stale(run: FlowRun) -> str:
    """Why a run cannot be alive; empty where it may be, or where that cannot be seen from here."""
    started = run.start_time or run.expected_start_time
    for tag in run.tags:
        if tag.startswith(PROCESS_TAG):
            host, pid, created = tag.removeprefix(PROCESS_TAG).rsplit(":", 2)
            return _why_gone(host, int(pid), float(created))
    if run.infrastructure_pid:
        host, _, pid = str(run.infrastructure_pid).rpartition(":")
        return _why_gone(host, int(pid), None, started)
    waited = datetime.now(UTC) - (run.state.timestamp if run.state else datetime.now(UTC))
    if run.state_type == StateType.PENDING and waited > _PENDING_AT_MOST:
        return f"pending for {waited.total_seconds() / 60:.0f} minutes without a process: its worker is gone"
    return ""


def _why_gone(host: str, pid: int, created: float | None, started: datetime | None = None) -> str:
    if host != socket.gethostname():
        return ""
    gone = f"its process {pid} is gone"
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return gone
        born = process.create_time()
    except psutil.NoSuchProcess:
        return gone
    if created is not None:
        return "" if abs(born - created) < _CLOCK_TOLERANCE_S else gone
    # The process is there before the run begins; one that was born later has only the number in common.
    reused = started is not None and born > started.timestamp() + _CLOCK_TOLERANCE_S
    return gone if reused else ""


def _runs_in(client: SyncPrefectClient, *states: StateType, flow_name: str | None = None) -> list[FlowRun]:
    found: list[FlowRun] = []
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))))
    flows = FlowFilter(name=FlowFilterName(any_=[flow_name])) if flow_name else None
    while page := client.read_flow_runs(flow_filter=flows, flow_run_filter=wanted, limit=_PAGE, offset=len(found)):
        found += page
    return found


def _end(client: SyncPrefectClient, run: FlowRun, state: State[None]) -> None:
    client.set_flow_run_state(run.id, state, force=True)
