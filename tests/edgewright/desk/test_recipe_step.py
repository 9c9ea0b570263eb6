"""What a deployment takes from a recipe, wherever it is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.desk.recipe_step import read_recipe
from edgewright.errors import RecipeError
from edgewright.pipeline.recipe import Recipe

RECIPES = Path(__file__).parents[3] / "deployments" / "recipes"


def test_the_form_is_filled_with_every_value_and_the_schedule_is_the_recipes() -> None:
    read = read_recipe(str(RECIPES / "digits.yaml"))
    assert Recipe.model_validate(read["recipe"]).model == read["model"] == "digits"
    assert read["recipe"]["training"]["deadline_s"] == 3600, "defaults included"
    assert (read["cron"], read["time_zone"]) == ("0 2 * * *", "UTC")


@pytest.mark.parametrize("recipe", sorted(path.name for path in RECIPES.glob("*.yaml")))
def test_a_recipe_is_deployed_where_its_framework_is_not_installed(
    recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    assert read_recipe(str(RECIPES / recipe))["recipe"]["variants"]


def test_a_broken_field_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text((RECIPES / "digits.yaml").read_text().replace("epochs: 3", "epochs: 0", 1))
    with pytest.raises(RecipeError, match=r"training\.epochs"):
        read_recipe(str(broken))
