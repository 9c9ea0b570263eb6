"""``edgewright validate``: everything that can be checked without running."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from edgewright.errors import RecipeError
from edgewright.pipeline.closer_rules import check_slices
from edgewright.pipeline.data_rules import check_loaded, source_facts
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
        check_data_of(recipe, recipe_file)
    except RecipeError as error:
        errors.append(error)
    return (None if errors else recipe), errors


def check_data_of(recipe: Recipe, recipe_file: Path) -> None:
    """Loads and splits the data as a build would, and looks whether the gate's questions can be asked of it.

    Raises:
        RecipeError: The data breaks a rule, or lacks what the gate is to slice by.
    """
    problems = check_loaded(recipe.data, recipe.task)
    if not problems:
        facts = source_facts(recipe.data, recipe.task)
        problems = check_slices(recipe.gate, facts.class_names, facts.groups is not None, facts.columns)
    if problems:
        raise RecipeError(str(recipe_file), tuple(problems))
