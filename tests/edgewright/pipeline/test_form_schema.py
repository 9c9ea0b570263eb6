"""What a form shows of a recipe: every field explained, nothing left as raw JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from edgewright.pipeline.form_schema import form_schema
from edgewright.pipeline.recipe import Recipe


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return form_schema(Recipe)


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}{name}", field
        yield from fields(field, f"{path}{name}.")
        yield from fields(field.get("items", {}), f"{path}{name}[].")
        for option in field.get("anyOf", ()):
            yield from fields(option, f"{path}{name}|{option.get('title', '')}.")


def test_it_stands_by_itself(schema: dict[str, Any]) -> None:
    assert not {"$ref", "$defs", "oneOf", "discriminator"} & set(json.dumps(schema).replace('"', " ").split())


def test_every_field_says_what_it_is(schema: dict[str, Any]) -> None:
    found = dict(fields(schema))
    assert len(found) > 100
    assert [path for path, field in found.items() if not field.get("description") or not field.get("title")] == []


def test_bounds_choices_units_and_defaults_are_said(schema: dict[str, Any]) -> None:
    found = dict(fields(schema))
    deadline = found["training.deadline_s"]
    assert deadline["title"] == "deadline, s"
    assert deadline["description"].endswith("in seconds; above 0, at most 604,800; default 3600")
    assert found["training.epochs"]["description"] == "passes over the training samples; 1 to 1,000"
    assert found["framework"]["enum"] == ["pytorch", "keras"]
    # The bounds of what may also be left out.
    assert "4 to 100,000" in found["data|digits.limit_per_class"]["description"]


def test_a_choice_between_sections_names_each(schema: dict[str, Any]) -> None:
    assert [option["title"] for option in schema["properties"]["task"]["anyOf"]] == [
        "classification",
        "anomaly",
        "regression",
    ]


def test_bounds_still_bind(schema: dict[str, Any]) -> None:
    epochs = schema["properties"]["training"]["properties"]["epochs"]
    assert (epochs["minimum"], epochs["maximum"]) == (1, 1000)
