"""A Dask cluster as a task runner: Prefect's own, that says in words when there is no cluster, or when it loses work."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from typing import Any

from distributed import KilledWorker
from prefect import allow_failure
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from edgewright.errors import CrashError, EdgewrightError

# Long enough for workers that are being started again, or replaced.
_NO_WORKERS_S = 300.0
_LOOK_S = 5.0


class ClusterFuture(PrefectDaskFuture[Any]):
    """A task on the cluster."""

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Its value, once it ended.

        Args:
            timeout: Seconds to wait for it.
            raise_on_failure: Whether to raise what it failed with; otherwise that is returned.

        Raises:
            CrashError: Every worker that began it died.
            EdgewrightError: The cluster cannot do it, or has no worker any more.
        """
        try:
            if timeout is None and self._final_state is None:
                self._wait_while_there_are_workers()
            return super().result(timeout, raise_on_failure)
        except Exception as error:
            if self._final_state is not None or isinstance(error, (TimeoutError, _NoWorkersError)):
                raise  # what the task itself failed with
            if not isinstance(error, KilledWorker):
                raise EdgewrightError(
                    f"the Dask cluster failed: {error} Its scheduler and its workers need the same installation as this "
                    "process. Build again: what was finished is remembered."
                ) from error
            lost = CrashError(f"every worker of the Dask cluster that began it died: {error}")
            if raise_on_failure:
                raise lost from error
            return lost

    def _wait_while_there_are_workers(self) -> None:
        """Returns when it ended. Dask itself would wait for a worker for ever."""
        future: Any = self._wrapped_future
        client, seen_at = future.client, time.monotonic()
        while not future.done():
            try:
                future.exception(timeout=_LOOK_S)
            except TimeoutError:
                if client.scheduler_info(n_workers=-1)["workers"]:
                    seen_at = time.monotonic()
                elif time.monotonic() - seen_at > _NO_WORKERS_S:
                    raise _NoWorkersError(
                        f"the Dask scheduler at {client.scheduler.address} has had no worker for {_NO_WORKERS_S:.0f} s. "
                        "Start one (`dask worker`), and build again: what was finished is remembered."
                    ) from None


class _NoWorkersError(EdgewrightError):
    """Nobody is there to do the work."""


class ClusterTaskRunner(DaskTaskRunner):
    """Runs tasks on a cluster that is there, or on one of processes of this machine."""

    @classmethod
    def of_this_machine(cls, processes: int) -> ClusterTaskRunner:
        """One that starts processes here, and ends them with the flow."""
        cores = len(os.sched_getaffinity(0))
        logging.getLogger("distributed").setLevel(logging.ERROR)  # starting and stopping it is no news
        return cls(
            cluster_class="distributed.LocalCluster",
            cluster_kwargs={
                "n_workers": processes,
                "threads_per_worker": max(1, cores // processes),
                "dashboard_address": None,
                "memory_limit": 0,  # stages compute in processes of their own: Dask would only watch what waits for them
                "silence_logs": logging.CRITICAL,
            },
        )

    @property
    def client(self) -> Any:
        """Prefect's client of the cluster; it connects, or starts the processes, when it is first asked for.

        Raises:
            EdgewrightError: There is no cluster.
        """
        try:
            return super().client
        except OSError as error:
            raise EdgewrightError(
                f"no Dask scheduler answers at {self.address} ({error}). Start it with `dask scheduler`, or set "
                "EDGEWRIGHT_TASK_RUNNER to threads."
            ) from error

    def submit(
        self, task: Any, parameters: dict[str, Any], wait_for: Iterable[Any] | None = None, dependencies: Any = None
    ) -> Any:
        """Gives a task to the cluster, as Prefect's own does.

        ``allow_failure`` would be lost on the way to a worker: there it is waited for by a task of Dask's alone.
        """
        waited = [self._end_of(each.unwrap()) if isinstance(each, allow_failure) else each for each in wait_for or ()]
        future = super().submit(task, parameters, waited or None, dependencies)
        return ClusterFuture(future.task_run_id, future.wrapped_future)

    def _end_of(self, future: PrefectDaskFuture[Any]) -> Any:
        return self.client.submit(_forget, future.wrapped_future, pure=False)


def _forget(_: object) -> None:
    """Comes after a task, whatever became of it."""
