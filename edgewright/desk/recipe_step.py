"""What ``deployments/prefect.yaml`` takes from a recipe: the form's first filling, the schedule, the words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgewright.errors import RecipeError
from edgewright.pipeline.document import parse_fields, read_document
from edgewright.pipeline.recipe import Recipe


def read_recipe(path: str) -> dict[str, Any]:
    """A recipe for templates of a deployment; a build step of ``prefect deploy``.

    Only the fields are checked: whether its frameworks are installed and its targets known is for the machine to say that
    builds it.

    Args:
        path: The recipe file, from the folder that the command runs in.

    Returns:
        ``recipe``: all its values, defaults included; ``model``, ``description``; ``cron`` and ``time_zone`` of its
        nightly.

    Raises:
        RecipeError: A field breaks a rule.
    """
    recipe, problems = parse_fields(Recipe, read_document(Path(path)))
    if recipe is None:
        raise RecipeError(path, tuple(problems))
    nightly = recipe.nightly
    return {
        "recipe": recipe.model_dump(mode="json"),
        "model": recipe.model,
        "description": recipe.description,
        "cron": nightly.cron,
        "time_zone": nightly.time_zone,
    }
