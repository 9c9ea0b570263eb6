"""Takes in what arrived, decides whether it is worth a build, builds, and promotes by the recipe's policy; nobody watches.

Whatever was settled is kept in the run's journal before the next step begins. A run that waited for a person, or was killed
and is tried again, therefore goes on with the same samples and the same build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from edgewright.pipeline.deployment_files import TARGETS_FILE
from edgewright.pipeline.intake import Assessment, open_collection
from edgewright.pipeline.journal import Journal
from edgewright.pipeline.recipe import Recipe, load_recipe
from edgewright.pipeline.targets import load_targets
from edgewright.pipeline.tracking import TrackingServer
from edgewright.pipeline.workspace import Workspace, open_workspace
from flows.approval import approve
from flows.asking import RETRAIN, SET_ASIDE, Course, ask
from flows.build_release import build_release
from flows.holding import holding
from flows.outcome import Built
from flows.task_runner import TASK_RUNNER
from tasks.intake import assess_samples, keep_in_use, set_aside, take_in_samples
from tasks.page import show_text
from tasks.repair import crash_stale
from tasks.stale_runs import cancel_superseded

RecipeFile = Annotated[str, Field(description="the recipe's file, below the worker's folder")]
NOTHING_NEW, WAITING, ASIDE = "Nothing new", "Waiting for samples", "Set aside"


def _run_name() -> str:
    return f"nightly-{Path(runtime.flow_run.parameters['recipe_file']).stem}"


@flow(name="nightly-retrain", flow_run_name=_run_name, task_runner=TASK_RUNNER, persist_result=False)
def nightly_retrain(recipe_file: RecipeFile, targets_file: str = TARGETS_FILE) -> State[Any]:
    """Takes in new samples; retrains, judges and promotes where they are worth it, and asks where a person must decide.

    Args:
        recipe_file: The recipe; its section ``nightly`` holds the folder, the limits and the policy.
        targets_file: The targets that the recipe names.

    Returns:
        ``Nothing new``, ``Waiting for samples``, ``Set aside``, ``Released``, ``Candidate``, ``Kept``, ``Refused`` or
        ``Incomplete``; suspended while a person is asked.

    Raises:
        EdgewrightError: The recipe breaks a rule, the data is unusable, the reference cannot be built, or the registry
            cannot be reached.
    """
    recipe = load_recipe(Path(recipe_file), load_targets(Path(targets_file)), targets_file)
    workspace = open_workspace()
    run_id = str(runtime.flow_run.id)
    journal = Journal(workspace.shared, run_id)
    crash_stale()
    with TrackingServer(workspace.home) as server:
        assessment = _settle_samples(workspace, recipe, journal)
        ended = _ended_without_build(workspace, recipe, assessment)
        if ended is not None:
            return ended
        built = _settle_build(workspace, server, recipe, targets_file, assessment, journal)
        keep_in_use(workspace, recipe, assessment.batches, built.build)
        if recipe.nightly.promotion == "approve" and built.promotable:
            return approve(workspace, server.wait(), recipe, built, run_id)
    return built.state()


def _settle_samples(workspace: Workspace, recipe: Recipe, journal: Journal) -> Assessment:
    """Takes in what arrived and settles what this run is about."""
    settled = journal.read("assessment")
    if settled is None:
        with holding(workspace, f"build.{recipe.model}"):
            report = take_in_samples(workspace, recipe)
            found: Assessment = assess_samples(workspace, recipe)
        page = f"{report.to_markdown()}\n\n{found.to_markdown()}"
        show_text(page, f"intake-{recipe.model}", "What arrived, and whether it is worth a build")
        cancel_superseded("nightly-retrain", f"model:{recipe.model}", UUID(journal.run_id))
        settled = journal.settle("assessment", found.to_json())
    assessment = Assessment.from_json(settled)
    get_run_logger().info(assessment.said)
    return assessment


def _ended_without_build(workspace: Workspace, recipe: Recipe, assessment: Assessment) -> State[Any] | None:
    """The state to end in where nothing is to be built; asks a person where the samples are too few or too different."""
    if assessment.outcome == "nothing_new":
        return _completed(NOTHING_NEW, assessment.said)
    if assessment.outcome == "retrain":
        return None
    answer = ask(
        Course,
        f"## {recipe.model}: retrain on these samples?\n\n{assessment.to_markdown()}",
        "course",
        3600 * recipe.nightly.question_timeout_h,
    )
    said = f"{answer.decision}: {answer.reason} ({answer.who})"
    show_text(said, f"answer-{recipe.model}", "What a person decided about the new samples")
    if answer.decision == RETRAIN:
        return None
    if answer.decision == SET_ASIDE:
        set_aside(workspace, recipe, assessment.batches, answer.reason, answer.who)
    return _completed(ASIDE if answer.decision == SET_ASIDE else WAITING, said)


def _settle_build(
    workspace: Workspace,
    server: TrackingServer,
    recipe: Recipe,
    targets_file: str,
    assessment: Assessment,
    journal: Journal,
) -> Built:
    """Builds on the samples that were settled, unless this run has done so before."""
    kept = journal.read("built")
    if kept is None:
        with holding(workspace, f"build.{recipe.model}"):
            collection = open_collection(workspace, recipe).including(assessment.batches).samples
            promotes = recipe.nightly.promotion == "auto"
            summary = build_release(workspace, server, recipe, targets_file, collection=collection, promotes=promotes)
        kept = journal.settle("built", Built.of(summary).to_json())
    return Built.from_json(kept)


def _completed(name: str, message: str) -> State[Any]:
    state: State[Any] = Completed(name=name, message=message)
    return state
