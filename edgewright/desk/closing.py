"""Closes the desk: ends what ``edgewright up`` started, and nothing else; runs that are going on end as cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgewright.desk.api import PrefectApi, is_healthy
from edgewright.desk.flow_runs import cancel_runs, end_abandoned, settle_cancelled
from edgewright.desk.part import Part, flow_run, runs_flow
from edgewright.desk.running import PREFECT, WORKER, desk_users, prefect_api_url, prefect_port
from edgewright.desk.state import desk_folder, desk_lock, read_state, write_state
from edgewright.errors import DeskError
from edgewright.pipeline.live_process import Mark, end
from edgewright.pipeline.tracking.server import release_server

# A flow's process takes down what it started; a server closes its database.
_FLOW_GRACE_S = 15.0
_GRACE_S = 10.0
_ANSWER_S = 3.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Closed:
    """What closing the desk did.

    Attributes:
        stopped: The parts that were stopped now; none where the desk was closed.
        cancelled: Names of the runs that were going on.
        kept: What stays up, and for whom; by the part's name.
    """

    stopped: tuple[str, ...]
    cancelled: tuple[str, ...]
    kept: dict[str, str]


def close_desk(home: Path, on_progress: Callable[[str], None]) -> Closed:
    """Closes the desk of a workspace. A second call does nothing.

    Args:
        home: The workspace folder.
        on_progress: Hears what is being waited for.

    Raises:
        DeskError: Another command has been opening or closing it for too long.
    """
    if not desk_folder(home).is_dir():
        return Closed((), (), {})
    with desk_lock(home, lambda: on_progress("another command is opening or closing the desk")):
        state = read_state(home)
        prefect, worker = Part(home, PREFECT), Part(home, WORKER)
        server = prefect.find(state.parts.get(PREFECT))
        stopped: list[str] = []
        kept: dict[str, str] = {}
        if worker.family():
            on_progress("stopping the worker")
        api = _api(server, state.prefect_port)
        was_there, cancelled = _stop_worker(worker, worker.find(state.parts.get(WORKER)), api)
        stopped += [WORKER] if was_there else []
        state.parts.pop(WORKER, None)
        users = desk_users(home)
        if users and server is not None:
            kept[PREFECT] = ", ".join(f"{doing} (process {pid})" for pid, doing in users.items())
        else:
            if prefect.family():
                on_progress("stopping Prefect")
                stopped.append(PREFECT)
            prefect.stop(_GRACE_S)
            state.parts.pop(PREFECT, None)
        if state.keeps_mlflow:
            on_progress("stopping MLflow")
        use = release_server(home)
        if use.server is not None:
            kept["mlflow"] = f"process{'es' if len(use.users) > 1 else ''} {', '.join(map(str, use.users))}"
        elif state.keeps_mlflow:
            stopped.append("mlflow")
        state.keeps_mlflow = False
        write_state(home, state)
        return Closed(tuple(stopped), cancelled, kept)


def _stop_worker(part: Part, leader: Mark | None, api: PrefectApi | None) -> tuple[bool, tuple[str, ...]]:
    """Ends the worker and its runs: first it takes no new ones, then they are cancelled, then their processes end.

    Returns:
        Whether anything was there to end, and the names of the runs that were cancelled.
    """
    family, cancelled = part.family(), dict[str, str]()
    for process in family:
        if leader is not None and process.pid == leader.pid:
            # Once only: a second one makes Prefect's worker leave at once.
            process.terminate()
    try:
        if api is not None and leader is None:
            end_abandoned(api)
        if api is not None:
            cancelled = cancel_runs(api)
    except DeskError:
        api = None  # the server ended meanwhile. What it was not told, the next `edgewright up` tells it
    if api is not None:
        # A run that has just ended or was suspended is on its way out: what is told to end now would crash.
        _wait_until(lambda: not any(runs_flow(each) and flow_run(each) not in cancelled for each in part.family()))
    end([process for process in part.family() if runs_flow(process)], _FLOW_GRACE_S)
    _wait_until(lambda: leader is None or not leader.is_alive())
    part.stop(_GRACE_S)
    if api is not None:
        with suppress(DeskError):  # as above
            settle_cancelled(api, cancelled)
    return bool(family), tuple(cancelled.values())


def _wait_until(happened: Callable[[], bool]) -> None:
    gives_up_at = time.monotonic() + _GRACE_S
    while not happened() and time.monotonic() < gives_up_at:
        time.sleep(_POLL_S)


def _api(server: Mark | None, port: int) -> PrefectApi | None:
    """The server, where it answers."""
    if server is None:
        return None
    api = PrefectApi(prefect_api_url(prefect_port(server, port)))
    return api if is_healthy(api.url, _ANSWER_S) else None
