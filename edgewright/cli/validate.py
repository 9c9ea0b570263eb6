"""``edgewright validate``: everything that can be checked without running."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from edgewright.errors import RecipeError
from edgewright.pipeline.recipe import Recipe, load_recipe
from edgewright.pipeline.targets import Target, load_targets


def run(arguments: argparse.Namespace) -> int:
    """Checks a recipe and its targets; says what it would build, or every problem of both files."""
    recipe, errors = _check(arguments.recipe, arguments.targets)
    if recipe is None:
        print("\n".join(str(error) for error in errors), file=sys.stderr)
        return RecipeError.exit_code
    variants = ", ".join(variant.name for variant in recipe.variants)
    print(f"{arguments.recipe}: fine. {recipe.model}: {variants} for {', '.join(recipe.targets)}.")
    return 0


def _check(recipe_file: Path, targets_file: Path) -> tuple[Recipe | None, list[RecipeError]]:
    """The recipe if both files are sound, otherwise what each of them breaks."""
    targets: Mapping[str, Target] | None = None
    recipe: Recipe | None = None
    errors = []
    try:
        targets = load_targets(targets_file)
    except RecipeError as error:
        errors.append(error)
    try:
        recipe = load_recipe(recipe_file, targets, str(targets_file))
    except RecipeError as error:
        errors.append(error)
    return (None if errors else recipe), errors
