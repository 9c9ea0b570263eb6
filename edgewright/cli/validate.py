"""``edgewright validate``: everything that can be checked without running."""

from __future__ import annotations

import argparse

from edgewright.pipeline.recipe import load_recipe
from edgewright.pipeline.targets import load_targets


def run(arguments: argparse.Namespace) -> int:
    """Checks a recipe and its targets; says what it would build."""
    targets = load_targets(arguments.targets)
    recipe = load_recipe(arguments.recipe, targets, str(arguments.targets))
    variants = ", ".join(variant.name for variant in recipe.variants)
    print(f"{arguments.recipe}: fine. {recipe.model}: {variants} for {', '.join(recipe.targets)}.")
    return 0
