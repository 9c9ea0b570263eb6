"""The tasks of pruning: what nobody needs any more, and its removal."""

from __future__ import annotations

from prefect import task

from edgewright.pipeline.progress import Progress
from edgewright.pipeline.retention import Pruned, PruningPlan, apply, plan_pruning
from edgewright.pipeline.tracking import Tracking
from edgewright.pipeline.workspace import Workspace
from tasks.progress import Reporter
from tasks.stage import STAGE_OPTIONS


@task(name="plan-pruning", **STAGE_OPTIONS)
def plan_what_goes(workspace: Workspace, tracking: Tracking, keep_days: float, keep_builds: int) -> PruningPlan:
    """Draws up what could go; removes nothing."""
    return plan_pruning(workspace, tracking, keep_days, keep_builds)


@task(name="prune", **STAGE_OPTIONS)
def prune(workspace: Workspace, tracking: Tracking, plan: PruningPlan) -> Pruned:
    """Removes what a plan names, unless somebody needs it by now."""
    reporter = Reporter("prune", "store")
    return apply(workspace, tracking, plan, lambda what, done, total: reporter(Progress("store", done, total, what)))
