"""One promotion per model at a time, over all commands, flows and machines; who waits for another says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgewright.cli.console import say_error
from edgewright.pipeline.lease import hold_lease
from edgewright.pipeline.workspace import Workspace

_WAIT_S = 120.0


@contextmanager
def promotion_held(workspace: Workspace, model: str, holder: str) -> Iterator[None]:
    """Hold a model's promotion lease while the block runs.

    Args:
        workspace: Its shared store keeps the lease.
        model: Name of the model.
        holder: Who wants it, for others who wait.

    Raises:
        LeaseHeldError: Another one still holds it after two minutes.
    """
    with hold_lease(workspace.shared, f"promotion.{model}", holder=holder, wait_s=_WAIT_S, on_wait=say_error):
        yield
