"""What ``deployments/prefect.yaml`` takes from a recipe: the form's first filling, the schedule, the words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgewright.pipeline.recipe import load_recipe
from edgewright.pipeline.targets import load_targets

TARGETS_FILE = Path("deployments/targets.yaml")


def read_recipe(path: str) -> dict[str, Any]:
    """A recipe for templates of a deployment; a build step of ``prefect deploy``.

    Args:
        path: The recipe file, from the folder that the command runs in.

    Returns:
        ``recipe``: all its values, defaults included; ``model``, ``description``; ``cron`` and ``time_zone`` of its
        nightly.

    Raises:
        RecipeError: The recipe breaks a rule.
    """
    recipe = load_recipe(Path(path), load_targets(TARGETS_FILE), str(TARGETS_FILE))
    nightly = recipe.nightly
    return {
        "recipe": recipe.model_dump(mode="json"),
        "model": recipe.model,
        "description": recipe.description,
        "cron": nightly.cron,
        "time_zone": nightly.time_zone,
    }
