"""Where the stages of a build run: in threads of the flow's own process, or on a Dask cluster.

``$EDGEWRIGHT_TASK_RUNNER`` says so, for every flow of a process: ``threads``; ``dask-local:2`` for two processes of this
machine; ``dask://host:8786`` for the scheduler of a cluster that is there already.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from prefect.settings import get_current_settings
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from edgewright.errors import EdgewrightError, UsageError
from edgewright.pipeline.shared_store import SHARED_VARIABLE, team_store

VARIABLE = "EDGEWRIGHT_TASK_RUNNER"
_THREADS = "threads"
_LOCAL = re.compile(r"dask-local:([1-9][0-9]{0,2})")
_SCHEDULER = re.compile(r"(dask|tcp|tls)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})")
# Tasks mostly wait for each other; how many compute at once is settled in tasks.stage.
_THREADS_AT_ONCE = 64
_FORMS = f"{_THREADS}, dask-local:2 (processes of this machine), or dask://host:8786 (a Dask scheduler)"


@dataclass(frozen=True)
class Cluster:
    """A Dask cluster.

    Attributes:
        address: The scheduler's, where there is one already; empty for processes of this machine.
        processes: How many of those.
    """

    address: str = ""
    processes: int = 0


def read_setting(text: str) -> Cluster | None:
    """What the setting means; None for threads.

    Raises:
        UsageError: It means nothing, or cannot work with the other settings of this process.
    """
    text = text.strip()
    if text in ("", _THREADS):
        return None
    local, scheduler = _LOCAL.fullmatch(text), _SCHEDULER.fullmatch(text)
    if local is None and (scheduler is None or not 0 < int(scheduler[3]) < 65536):
        raise UsageError(f"{VARIABLE}={text} is no way to run a build's tasks. Set it to {_FORMS}.")
    if importlib.util.find_spec("prefect_dask") is None:
        raise UsageError(f"{VARIABLE}={text} needs Dask, which is not installed: pip install 'edgewright[scale]'")
    if scheduler is None:
        assert local is not None
        return Cluster(processes=int(local[1]))
    if team_store() is None:
        raise UsageError(
            f"{VARIABLE}={text} runs a build on several machines, and {SHARED_VARIABLE} is not set: what one of them makes "
            "the others would never see. Set it here and for every worker, to a folder that all of them mount or to "
            f"s3://bucket/prefix; or set {VARIABLE} to dask-local:2."
        )
    prefect = get_current_settings().api.url
    if not _is_loopback(scheduler[2]) and (prefect is None or _is_loopback(urlsplit(prefect).hostname or "")):
        raise UsageError(
            f"{VARIABLE}={text} runs a build on several machines, and Prefect's server is at {prefect or 'none yet'}, which "
            "only this one can reach. Set PREFECT_API_URL to a server that the workers reach, too."
        )
    return Cluster(address=f"{scheduler[1].replace('dask', 'tcp')}://{scheduler[2]}:{scheduler[3]}")


class ChosenTaskRunner(ThreadPoolTaskRunner[Any]):
    """The task runner of every flow: Prefect asks it for a new one when a run begins, and then it looks at the setting."""

    def duplicate(self) -> TaskRunner[Any]:  # type: ignore[override]  # Prefect uses no more of it than a task runner has
        """The task runner that the setting asks for."""
        try:
            cluster = read_setting(os.environ.get(VARIABLE, ""))
        except EdgewrightError as error:
            return _RefusingTaskRunner(error)
        if cluster is None:
            return ThreadPoolTaskRunner(max_workers=_THREADS_AT_ONCE)
        from flows.dask_runner import ClusterTaskRunner

        if cluster.address:
            return ClusterTaskRunner(address=cluster.address)
        return ClusterTaskRunner.of_this_machine(cluster.processes)


class _RefusingTaskRunner(ThreadPoolTaskRunner[Any]):
    """Fails the run with what is wrong with the setting. Raised any earlier, it would leave the run pending for good."""

    def __init__(self, error: EdgewrightError) -> None:
        super().__init__(max_workers=1)
        self._error = error

    def submit(self, *_: Any, **__: Any) -> Any:
        """Refuses.

        Raises:
            EdgewrightError: What is wrong.
        """
        raise self._error


TASK_RUNNER: TaskRunner[Any] = ChosenTaskRunner(max_workers=_THREADS_AT_ONCE)


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "[::1]", "::1") or host.startswith("127.")
