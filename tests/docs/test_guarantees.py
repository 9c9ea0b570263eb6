"""``docs/guarantees.md``: every promise names a test, and every test that is named is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "guarantees.md"
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def promises() -> list[list[str]]:
    """The rows of all tables but their heads."""
    rows = [line.strip().strip("|").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if row[0].strip() not in ("promise", "---")]


PROMISES = promises()


def test_the_page_has_promises_and_says_what_is_not_one() -> None:
    assert len(PROMISES) > 30
    assert "## What is not promised" in PAGE.read_text()


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row[0][:40])
def test_every_promise_names_tests_that_are_there(row: list[str]) -> None:
    assert len(row) == 3, row
    named = _TEST.findall(row[2])
    assert named, f"no test holds: {row[0]}"
    assert not _TEST.sub("", row[2]).strip(" ,"), "nothing but tests stands in the last column"
    for file, name in named:
        body = ast.parse((TESTS / file).read_text()).body
        assert name in {each.name for each in body if isinstance(each, ast.FunctionDef)}, f"{file} has no {name}"


def test_every_end_to_end_test_of_the_agent_holds_a_promise() -> None:
    page = PAGE.read_text()
    files = [path for path in (TESTS / "e2e").glob("test_agent_*.py")]
    assert len(files) == 3
    for path in files:
        names = re.findall(r"(?m)^def (test_\w+)", path.read_text())
        missing = [name for name in names if f"`e2e/{path.name}::{name}`" not in page]
        assert missing in ([], ["test_the_steps_that_are_killed_are_those_of_the_agents_process_alone"]), missing
