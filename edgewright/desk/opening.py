"""Opens the desk: finds what lives, starts what does not, and puts the deployments into Prefect.

Whatever a command before left, also one that was killed half way, is found by its mark and used. Everything here can be
done again at once: what is in order is left alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from edgewright.desk.api import PrefectApi, is_healthy
from edgewright.desk.automations import install_automations
from edgewright.desk.deploying import PREFECT_FILE, deploy, unscheduled
from edgewright.desk.environment import client_environment, refuse_other_servers, server_environment
from edgewright.desk.flow_runs import end_abandoned, skip_missed
from edgewright.desk.part import Part, folder_of, last_words, variable_of
from edgewright.desk.running import PREFECT, WORKER, prefect_api_url, prefect_port
from edgewright.desk.state import DeskState, desk_lock, read_state, write_state
from edgewright.desk.versions import check_versions
from edgewright.desk.work_pool import POOL, RUNS_AT_ONCE, ensure_pool, worker_is_heard
from edgewright.errors import DeskError, UsageError
from edgewright.pipeline.live_process import bind_loopback
from edgewright.pipeline.tracking.server import TrackingServer
from edgewright.pipeline.workspace import Workspace

# Creating the database takes half a minute on two busy cores; a worker starts in five seconds.
_PREFECT_DEADLINE_S = 300.0
_WORKER_DEADLINE_S = 120.0
_WORKER_GRACE_S = 5.0
# A schedule's runs are created with the deployment; a server that is busy takes some seconds.
_SCHEDULED_WITHIN_S = 30.0
_POLL_S = 0.2

OnProgress = Callable[[str], None]


@dataclass(frozen=True)
class Opened:
    """What opening the desk did.

    Attributes:
        started: The parts that were started now; none where the desk was open.
        deployed: Whether deployments were put into Prefect now.
        notes: What people should know, a sentence each.
    """

    started: tuple[str, ...]
    deployed: bool
    notes: tuple[str, ...]


def open_desk(workspace: Workspace, root: Path, notify_url: str | None, on_progress: OnProgress) -> Opened:
    """Opens the desk of a workspace.

    Args:
        workspace: Where its state is kept.
        root: The checkout whose deployments are put into Prefect; flows run in it.
        notify_url: Where the automations tell what they tell; None leaves that as it is.
        on_progress: Hears what is being waited for.

    Raises:
        UsageError: ``root`` is no checkout, or other servers are named.
        DeskError: A part cannot start, or Prefect refuses what is put into it.
        RegistryError: The tracking server cannot start.
    """
    check_versions()
    refuse_other_servers()
    if not (root / PREFECT_FILE).is_file():
        raise UsageError(f"{root} holds no {PREFECT_FILE}: run this in the root of a checkout.")
    with desk_lock(workspace.home, lambda: on_progress("another command is opening or closing the desk")):
        return _Opening(workspace, root, on_progress).open(notify_url)


class _Opening:
    def __init__(self, workspace: Workspace, root: Path, on_progress: OnProgress) -> None:
        self._workspace, self._home, self._root = workspace, workspace.home, root
        self._tell = on_progress
        self._state: DeskState = read_state(workspace.home)
        self._prefect, self._worker = Part(self._home, PREFECT), Part(self._home, WORKER)
        self._started: list[str] = []
        self._notes: list[str] = []

    def open(self, notify_url: str | None) -> Opened:
        state = self._state
        worker = self._worker.find(state.parts.get(WORKER))
        elsewhere = worker and folder_of(worker)
        if elsewhere and elsewhere != self._root:
            raise UsageError(
                f"the desk of {self._home} runs flows in {elsewhere}, and this is {self._root}: run this there, or close "
                "it first (edgewright down)."
            )
        tracking = TrackingServer(self._home, kept=True)
        tracking.begin()
        state.keeps_mlflow = True
        api = PrefectApi(prefect_api_url(self._start_prefect()))
        if tracking.wait(lambda waited: self._tell(f"starting MLflow  {waited:.0f} s")).started_here:
            self._started.append("mlflow")
        self._wait_for_prefect(api)
        ensure_pool(api, self._root)
        if worker is not None and variable_of(worker, "PREFECT_API_URL") != api.url:
            # Prefect had to take another port. What asks the old one is of no use any more.
            self._worker.stop(_WORKER_GRACE_S)
            worker = None
        begun = time.time()
        if worker is None:
            self._start_worker(api)
        before = state.deployed
        environment = client_environment(self._workspace, api.url)
        deployed = deploy(api, self._root, environment, before, self._tell)
        state.deployed = deployed or before
        write_state(self._home, state)
        state.deployed.automations = install_automations(api, self._root, before.automations, notify_url)
        write_state(self._home, state)
        if worker is None:
            self._wait_for_worker(api, begun)
        if deployed:
            self._tell("waiting for scheduled runs")
            unscheduled(api, _SCHEDULED_WITHIN_S)
        return Opened(tuple(self._started), deployed is not None, tuple(self._notes))

    def _start_prefect(self) -> int:
        """Finds Prefect's server or starts it; returns its port. It may not answer yet."""
        state = self._state
        mark = self._prefect.find(state.parts.get(PREFECT))
        if mark is not None:
            state.prefect_port = prefect_port(mark, state.prefect_port)
        else:
            folder = self._workspace.prefect_home
            folder.mkdir(parents=True, exist_ok=True)
            self._tell("starting Prefect")
            # Two servers that create one database at once spoil it: a command with a server of its own may be doing so.
            with FileLock(folder / "starting.lock"), bind_loopback(state.prefect_port) as listener:
                state.prefect_port = int(listener.getsockname()[1])
                mark = self._prefect.start(
                    [sys.executable, "-m", "edgewright.desk.prefect_process", str(listener.fileno())],
                    self._root,
                    server_environment(self._workspace, state.prefect_port),
                    [listener.fileno()],
                )
            self._started.append(PREFECT)
        state.parts[PREFECT] = mark
        write_state(self._home, state)
        return state.prefect_port

    def _wait_for_prefect(self, api: PrefectApi) -> None:
        mark, begun = self._state.parts[PREFECT], time.monotonic()
        while not is_healthy(api.url):
            waited_s = time.monotonic() - begun
            if not mark.is_alive() or waited_s > _PREFECT_DEADLINE_S:
                raise self._failure(self._prefect, "Prefect's server", mark.is_alive(), waited_s)
            self._tell(f"starting Prefect  {waited_s:.0f} s  (the first time it makes its database)")
            time.sleep(_POLL_S)

    def _start_worker(self, api: PrefectApi) -> None:
        """Starts the worker, after what the one before left has been put in order."""
        lost = end_abandoned(api)
        if lost:
            self._notes.append(f"ended as Crashed, because their process was gone: {', '.join(lost)}")
        for name, count in skip_missed(api).items():
            missed = f"{count} run{' was' if count == 1 else 's were'} missed"
            self._notes.append(f"{name}: besides the last one, {missed} while the desk was closed; that one runs now")
        words = ["--pool", POOL, "--type", "process", "--name", WORKER, "--limit", str(RUNS_AT_ONCE)]
        self._state.parts[WORKER] = self._worker.start(
            [
                sys.executable,
                "-m",
                "prefect",
                "--no-prompt",
                "worker",
                "start",
                *words,
                "--no-create-pool-if-not-found",
            ],
            self._root,
            client_environment(self._workspace, api.url),
        )
        write_state(self._home, self._state)
        self._started.append(WORKER)

    def _wait_for_worker(self, api: PrefectApi, since: float) -> None:
        mark, begun = self._state.parts[WORKER], time.monotonic()
        while not worker_is_heard(api, WORKER, since):
            waited_s = time.monotonic() - begun
            if not mark.is_alive() or waited_s > _WORKER_DEADLINE_S:
                raise self._failure(self._worker, "the worker", mark.is_alive(), waited_s)
            self._tell(f"starting the worker  {waited_s:.0f} s")
            time.sleep(_POLL_S)

    def _failure(self, part: Part, name: str, is_alive: bool, waited_s: float) -> DeskError:
        what = f"has not answered for {waited_s:.0f} s" if is_alive else "ended while it started"
        words = "\n".join(last_words(part.log))
        anew = f", or move {self._workspace.prefect_home} away to begin with an empty Prefect"
        return DeskError(
            f"{name} {what}; {part.log} ends with:\n{words}\nRepair what it names, then `edgewright up` again"
            f"{anew if part.name == PREFECT else ''}."
        )
