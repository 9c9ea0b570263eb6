"""Versions that are known to break are refused, all at once, each with what it breaks and the remedy."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from edgewright.desk.versions import RULES, check_versions
from edgewright.errors import DeskError

ROOT = Path(__file__).parents[3]
TESTED = {"prefect": "3.8.8", "mlflow": "3.17.2", "fastapi": "0.150.0", "sqlalchemy": "2.0.46"}


def test_the_tested_versions_pass() -> None:
    check_versions(version=TESTED.__getitem__)
    check_versions()


@pytest.mark.parametrize(
    ("distribution", "version", "said"),
    [
        ("fastapi", "0.151.0", "Body() got an unexpected keyword argument 'min_items'"),
        ("fastapi", "0.165.1", "does not start"),
        ("sqlalchemy", "2.1.0b1", "looks healthy and never creates a scheduled run"),
        ("prefect", "3.9.0", "nothing here was tested"),
        ("mlflow", "3.18.0", "nothing here was tested"),
    ],
)
def test_one_that_breaks_is_named_with_what_it_breaks_and_the_remedy(
    distribution: str, version: str, said: str
) -> None:
    with pytest.raises(DeskError) as refusal:
        check_versions(version={**TESTED, distribution: version}.__getitem__)
    text = str(refusal.value)
    assert text.startswith("these versions do not work together: 1 problem\n")
    assert f"{version} is installed" in text
    assert said in text
    assert f"pip install '{distribution}" in text
    assert "make setup" in text


def test_all_problems_come_at_once_and_so_does_what_is_missing() -> None:
    def version(distribution: str) -> str:
        if distribution == "mlflow":
            raise metadata.PackageNotFoundError(distribution)
        return {**TESTED, "fastapi": "1.0", "sqlalchemy": "2.2"}[distribution]

    with pytest.raises(DeskError) as refusal:
        check_versions(version=version)
    lines = str(refusal.value).splitlines()
    assert lines[0].endswith("3 problems")
    assert [line.split()[0] for line in lines[1:-1]] == ["mlflow", "fastapi", "sqlalchemy"]
    assert "is not installed" in lines[1]


def test_the_rules_are_those_that_pip_is_told() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(each) for each in project["optional-dependencies"]["pipeline"]]
    bounds = {each.name: each.specifier for each in wanted}
    assert {rule.distribution: Requirement(f"x{rule.works}").specifier for rule in RULES} == {
        rule.distribution: bounds[rule.distribution] for rule in RULES
    }
