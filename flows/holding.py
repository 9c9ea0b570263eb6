"""One build and one promotion per model at a time, over all flows, commands and machines."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_run_logger, runtime

from edgewright.pipeline.lease import Lease, hold_lease
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.workspace import Workspace
from tasks.progress import Reporter

# A build takes minutes to hours; what waits for it in vain must give its worker back some day.
BUILD_WAIT_S = 6 * 3600.0
PROMOTION_WAIT_S = 120.0


@contextmanager
def holding(workspace: Workspace, name: str, wait_s: float = BUILD_WAIT_S) -> Iterator[Lease]:
    """Holds a lease while the block runs; waits for whoever holds it, and says so. Call it inside of a flow.

    Args:
        workspace: Its shared store keeps the lease.
        name: What is held, e.g. ``build.digits``.
        wait_s: Longest wait, in seconds.

    Raises:
        LeaseHeldError: Another one still holds it.
    """
    reporter, waited = Reporter("wait", name), []

    def say(waiting: str) -> None:
        waited.append(waiting)
        get_run_logger().warning(waiting)
        reporter(Progress(name, 0, 1, waiting))

    with hold_lease(workspace.shared, name, holder=_holder(), wait_s=wait_s, on_wait=say) as lease:
        if waited:
            reporter(Progress(name, 1, 1, "done"))
        yield lease


def _holder() -> str:
    return f"flow run {runtime.flow_run.name} ({runtime.flow_run.id}) of {getpass.getuser()}"
