"""A build that a person asks for: by the recipe's form, by a recipe's file or by its text."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field, WithJsonSchema

from edgewright.errors import RecipeError, UsageError
from edgewright.pipeline.deployment_files import TARGETS_FILE
from edgewright.pipeline.form_schema import form_schema
from edgewright.pipeline.intake import open_collection
from edgewright.pipeline.recipe import Recipe, load_recipe
from edgewright.pipeline.targets import load_targets
from edgewright.pipeline.tracking import TrackingServer
from edgewright.pipeline.waiver import Waiver
from edgewright.pipeline.workspace import open_workspace
from flows.build_release import build_release
from flows.holding import holding
from flows.outcome import state_of_build
from flows.task_runner import TASK_RUNNER

RecipeForm = Annotated[Recipe, WithJsonSchema(form_schema(Recipe))]
FileName = Annotated[
    str | None, Field(description="a recipe's file, below the worker's folder, e.g. deployments/recipes/digits.yaml")
]
RecipeText = Annotated[str | None, Field(description="or the recipe itself, as YAML")]


@flow(name="release-model", flow_run_name="release-{recipe.model}", task_runner=TASK_RUNNER, persist_result=False)
def release_model(
    recipe: RecipeForm, targets_file: str = TARGETS_FILE, waivers: Sequence[Waiver] = (), collected: bool = False
) -> State[Any]:
    """Builds all variants of a recipe, judges the best per target, and releases what passes.

    Args:
        recipe: What to build.
        targets_file: The targets that the recipe names.
        waivers: Checks of the gate that a person lets pass, each with the reason.
        collected: Also learn from the samples that nightlies took in.

    Returns:
        The state that says how it ended; its result is a ``BuildSummary``.

    Raises:
        EdgewrightError: The recipe breaks a rule, the data is unusable, the reference cannot be built, or the registry
            cannot be reached.
    """
    return _release(recipe, targets_file, waivers, collected)


@flow(name="release-recipe", flow_run_name="release", task_runner=TASK_RUNNER, persist_result=False)
def release_recipe(
    file: FileName = None, text: RecipeText = None, targets_file: str = TARGETS_FILE, collected: bool = False
) -> State[Any]:
    """Builds a recipe that is given by its file or by its text, as ``release-model`` does.

    Args:
        file: A recipe's file, below the worker's folder.
        text: Or the recipe itself, as YAML.
        targets_file: The targets that the recipe names.
        collected: Also learn from the samples that nightlies took in.

    Returns:
        As ``release_model``.

    Raises:
        UsageError: Neither a file nor a text is given, or both are.
        EdgewrightError: As ``release_model``.
    """
    return _release(read_recipe(file, text, targets_file), targets_file, (), collected)


def read_recipe(file: str | None, text: str | None, targets_file: str) -> Recipe:
    """A recipe by its file or by its text.

    Raises:
        UsageError: Neither is given, or both are.
        RecipeError: The recipe breaks a rule.
    """
    if (file is None) == (text is None):
        raise UsageError("give a recipe's file or a recipe's text, one of them")
    targets = load_targets(Path(targets_file))
    if file is not None:
        return load_recipe(Path(file), targets, targets_file)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "recipe.yaml"
        place.write_text(text or "")
        try:
            return load_recipe(place, targets, targets_file)
        except RecipeError as error:
            raise RecipeError("the text", error.problems) from error


def _release(recipe: Recipe, targets_file: str, waivers: Sequence[Waiver], collected: bool) -> State[Any]:
    workspace = open_workspace()
    with TrackingServer(workspace.home) as server, holding(workspace, f"build.{recipe.model}"):
        collection = open_collection(workspace, recipe).samples if collected else None
        summary = build_release(workspace, server, recipe, targets_file, waivers=waivers, collection=collection)
    return state_of_build(summary)
