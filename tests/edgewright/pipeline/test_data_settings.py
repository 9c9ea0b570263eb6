"""The section ``data``: one model per source, each with the fields that it needs and no other."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter
from ruamel.yaml import YAML

from edgewright.pipeline.data_settings import DataSettings, FoldSettings
from edgewright.pipeline.document import parse_fields, read_document
from edgewright.pipeline.folds import GroupFolds
from edgewright.pipeline.split_rule import SplitRule

SETTINGS: TypeAdapter[DataSettings] = TypeAdapter(DataSettings)
LEAST: dict[str, dict[str, Any]] = {
    "digits": {},
    "motion": {},
    "shuttle": {},
    "image_folder": {"path": "pictures", "mode": "grey"},
    "npz": {"path": "parts.npz", "kind": "row"},
    "table": {"path": "runs", "channels": ["x", "y"], "label": "state", "window_samples": 100},
    "entry_point": {"entry_point": "solar:cells"},
    "solar_cells": {},
}


class Section(BaseModel):
    """The section as it stands in a recipe."""

    data: DataSettings


def problems_of(data: dict[str, Any]) -> str:
    """What a person is told."""
    parsed, problems = parse_fields(Section, {"data": data})
    assert (parsed is None) == bool(problems)
    return "\n".join(f"{problem.key} {problem.message}" for problem in problems)


@pytest.mark.parametrize("dataset", sorted(LEAST))
def test_every_source_needs_only_what_cannot_be_guessed(dataset: str) -> None:
    assert problems_of({"dataset": dataset, **LEAST[dataset]}) == ""


@pytest.mark.parametrize("dataset", sorted(LEAST))
@pytest.mark.parametrize("folds", [None, {"folds": 4}])
def test_a_section_that_is_written_out_reads_back_the_same(dataset: str, folds: dict[str, int] | None) -> None:
    given = {"dataset": dataset, **copy.deepcopy(LEAST[dataset])}
    if folds and dataset in ("image_folder", "npz", "table", "entry_point", "motion"):
        given["folds"] = folds
    data = SETTINGS.validate_python(given)
    again = SETTINGS.validate_python(data.model_dump())
    assert again == data
    if folds and "folds" in given:
        assert not again.model_fields_set & {"validation_share", "calibration_share", "test_share"}


def test_every_field_says_what_it_is() -> None:
    schema = SETTINGS.json_schema()
    for name, model in schema["$defs"].items():
        silent = [key for key, field in model.get("properties", {}).items() if "description" not in field]
        assert not silent, name


def test_the_shipped_recipe_of_digits_is_read_as_ever() -> None:
    recipe = read_document(Path(__file__).parents[3] / "deployments" / "recipes" / "digits.yaml")
    data = SETTINGS.validate_python(recipe["data"])
    assert data.split == SplitRule(calibration_share=0.05, validation_share=0.30)


def test_every_section_that_the_guide_shows_is_read() -> None:
    folder = Path(__file__).parents[3] / "docs" / "guides"
    guides = "".join((folder / name).read_text("utf-8") for name in ("own-data.md", "industrial-example.md"))
    blocks = [YAML(typ="safe").load(block) for block in re.findall(r"```yaml\n(.*?)```", guides, re.DOTALL)]
    sections = [SETTINGS.validate_python(block["data"]) for block in blocks if "dataset" in block.get("data", {})]
    assert {section.dataset for section in sections} == {"image_folder", "npz", "table", "entry_point", "solar_cells"}


def test_shares_or_folds_settle_the_split() -> None:
    table = {"dataset": "table", **LEAST["table"]}
    assert SETTINGS.validate_python(table).split == SplitRule(0.05, 0.2, 0.2)
    assert SETTINGS.validate_python({**table, "folds": {"folds": 4}}).split == GroupFolds(4, 1, 1)
    assert SETTINGS.validate_python({"dataset": "motion"}).split == GroupFolds(5, 1, 1)
    assert FoldSettings().rule == GroupFolds()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "data.dataset is missing"),
        (
            {"dataset": "mnist"},
            'data.dataset "mnist" is not one of "digits", "entry_point", "image_folder", "motion", "npz", "shuttle"',
        ),
        ({"dataset": "digits", "test_share": 0.2}, "data.test_share is not a known key"),
        ({"dataset": "motion", "validation_share": 0.2}, "data.validation_share is not a known key"),
        ({"dataset": "shuttle", "folds": {}}, "data.folds is not a known key"),
        ({"dataset": "digits", "calibration_samples": 63}, "63 is below 64: an INT8 range needs at least 64 samples"),
        ({"dataset": "image_folder", "mode": "grey"}, "data.path is missing"),
        ({"dataset": "image_folder", "path": "p", "mode": "gray"}, 'data.mode "gray" is not one of "grey" or "rgb"'),
        ({"dataset": "image_folder", "path": "p", "mode": "rgb", "size_px": [32]}, "data.size_px"),
        (
            {"dataset": "image_folder", "path": "p", "mode": "rgb", "size_px": [32, 0]},
            "data.size_px[1] 0 is not at least 1",
        ),
        (
            {"dataset": "image_folder", "path": "p", "mode": "rgb", "group_pattern": "(a"},
            'data.group_pattern "(a" is not a regular expression',
        ),
        (
            {"dataset": "image_folder", "path": "p", "mode": "rgb", "group_pattern": "a"},
            'data.group_pattern "a" has no parenthesis',
        ),
        ({"dataset": "npz", "path": "p"}, "data.kind is missing"),
        ({"dataset": "npz", "path": "", "kind": "row"}, "data.path"),
        ({"dataset": "table", "path": "p", "channels": []}, "data.channels an empty list has fewer than 1 entry"),
        ({"dataset": "table", "path": "p", "channels": ["x"], "delimiter": ""}, "data.delimiter"),
        (
            {"dataset": "entry_point", "entry_point": "solar.cells"},
            "is not an entry point. Write it as package.module:",
        ),
        ({"dataset": "npz", "path": "p", "kind": "row", "folds": {"folds": 1}}, "data.folds.folds 1 is not between 2"),
        ({"dataset": "solar_cells", "size_px": 77}, "data.size_px 77 is not one of 20, 25"),
    ],
)
def test_a_broken_field_is_told_with_key_rule_and_value(data: dict[str, Any], message: str) -> None:
    assert message in problems_of(data)
