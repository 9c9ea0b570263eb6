"""The page that explains every key of a recipe says what the parser does, because it is written from the same models."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.corruptions import CORRUPTIONS
from edgewright.pipeline.document import parse_fields, read_document
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.recipe_reference import EXAMPLE, keys_of, reference
from edgewright.pipeline.targets import Target

PAGE = Path(__file__).parents[3] / "docs" / "guides" / "recipes.md"


def test_the_committed_page_is_what_the_code_says_today() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "write it again: python -m edgewright.pipeline.recipe_reference > docs/guides/recipes.md"
    )


@pytest.mark.parametrize("model", [Recipe, Target])
def test_every_key_that_is_parsed_has_a_row(model: type[Recipe] | type[Target]) -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", reference(), flags=re.MULTILINE))

    assert set(keys_of(model.model_json_schema())) <= rows


def test_every_corruption_has_a_row() -> None:
    assert all(f"| `{name}` |" in reference() for name in CORRUPTIONS)


def test_every_link_inside_of_the_page_leads_to_a_heading() -> None:
    page = reference()
    headings = re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors
    assert len(anchors) == len(headings), "two headings share one anchor"


@pytest.fixture
def example(tmp_path: Path) -> dict[str, Any]:
    """The least recipe that the page shows."""
    file = tmp_path / "parts.yaml"
    file.write_text(EXAMPLE)
    return dict(read_document(file))


def test_the_least_recipe_that_it_shows_breaks_no_rule_of_its_own(example: dict[str, Any]) -> None:
    recipe, problems = parse_fields(Recipe, example)

    assert problems == []
    assert recipe is not None


def test_no_key_of_the_least_recipe_can_be_left_out(example: dict[str, Any]) -> None:
    for key in example:
        recipe, _ = parse_fields(Recipe, {name: value for name, value in example.items() if name != key})
        assert recipe is None, key


def test_it_needs_no_training_framework() -> None:
    code = (
        "import sys, edgewright.pipeline.recipe_reference as page; page.reference(); sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
