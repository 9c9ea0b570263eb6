"""Frees what nobody needs any more: old builds' runs, versions, stage records and files. Says first what would go."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from edgewright.pipeline.retention import Pruned, PruningPlan
from edgewright.pipeline.tracking import TrackingServer
from edgewright.pipeline.workspace import open_workspace
from tasks.page import show_text
from tasks.prune import plan_what_goes, prune

KeepDays = Annotated[float, Field(ge=1, le=3650, description="what is younger stays, in days; 1 to 3,650")]
KeepBuilds = Annotated[int, Field(ge=1, le=1000, description="newest builds of each model that stay; 1 to 1,000")]
DryRun = Annotated[bool, Field(description="only say what would go; untick it to remove")]


@flow(name="prune-store", persist_result=False)
def prune_store(keep_days: KeepDays = 30.0, keep_builds: KeepBuilds = 5, dry_run: DryRun = True) -> State[Any]:
    """Removes artifacts and runs that no alias, champion's line or recent build needs.

    Args:
        keep_days: What is younger stays, in days.
        keep_builds: How many of each model's newest builds stay.
        dry_run: Only say what would go.

    Returns:
        ``Dry run``, ``Nothing to remove`` or ``Pruned``; what goes and why the rest stays is on the run's page.

    Raises:
        UsageError: A number is too small to be safe.
        DataError: A record of delivered samples is damaged.
        RegistryError: The registry cannot be reached.
    """
    workspace = open_workspace()
    with TrackingServer(workspace.home) as server:
        tracking = server.wait()
        plan: PruningPlan = plan_what_goes(workspace, tracking, keep_days, keep_builds)
        show_text(plan.to_markdown(), "what-goes", "What nobody needs any more, and why the rest stays")
        freed = f"{plan.freed_bytes / 1024**2:,.1f} MiB"
        if plan.is_empty:
            return _ended("Nothing to remove", "everything that is there is needed, or too young to tell")
        if dry_run:
            return _ended("Dry run", f"{freed} could be freed; run it again without dry_run to do so")
        pruned: Pruned = prune(workspace, tracking, plan)
        show_text(pruned.to_markdown(), "what-went", "What was removed")
        return _ended("Pruned", f"{pruned.freed_bytes / 1024**2:,.1f} MiB freed")


def _ended(name: str, message: str) -> State[Any]:
    state: State[Any] = Completed(name=name, message=message)
    return state
