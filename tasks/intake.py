"""The tasks of a nightly's intake: what arrived, whether it is worth a build, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task

from edgewright.pipeline.intake import Assessment, IntakeReport, assess, mark_in_use, refuse, take_in
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.workspace import Workspace
from tasks.progress import Reporter
from tasks.stage import STAGE_OPTIONS


@task(name="take-in", task_run_name="take-in-{recipe.model}", **STAGE_OPTIONS)
def take_in_samples(workspace: Workspace, recipe: Recipe) -> IntakeReport:
    """Empties the incoming folder into the model's collection; what breaks a rule is set aside with the reason."""
    return take_in(workspace, recipe, Reporter("take-in", recipe.model))


@task(name="assess", task_run_name="assess-{recipe.model}", **STAGE_OPTIONS)
def assess_samples(workspace: Workspace, recipe: Recipe) -> Assessment:
    """Says whether the new samples are worth a build: enough of them, and like those before."""
    return assess(workspace, recipe)


@task(name="keep-in-use", task_run_name="keep-in-use-{recipe.model}", **STAGE_OPTIONS)
def keep_in_use(workspace: Workspace, recipe: Recipe, batches: Sequence[str], build: str) -> None:
    """Notes which build learned from the new samples: they are not new any more."""
    mark_in_use(workspace, recipe, batches, build)


@task(name="set-aside", task_run_name="set-aside-{recipe.model}", **STAGE_OPTIONS)
def set_aside(workspace: Workspace, recipe: Recipe, batches: Sequence[str], reason: str, who: str) -> None:
    """Keeps samples out of every build, by a person's decision."""
    refuse(workspace, recipe, batches, reason, who)
