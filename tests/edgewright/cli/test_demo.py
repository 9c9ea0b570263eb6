"""``edgewright demo``: its device is a process of its own, whose failure is told. The whole demo runs in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.cli import demo
from edgewright.errors import EdgewrightError
from edgewright.pipeline.recipe import load_recipe
from edgewright.pipeline.targets import load_targets

ROOT = Path(__file__).parents[3]


def test_its_recipe_and_targets_are_sound_and_one_target_is_a_machine_like_those_that_run_it() -> None:
    file = ROOT / "deployments" / "targets.yaml"
    targets = load_targets(file)
    recipe = load_recipe(ROOT / demo.RECIPE, targets, str(file))
    assert {targets[name].platform for name in recipe.targets} == {"linux/amd64", "linux/arm64"}


def test_a_device_that_fails_is_told_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(
        EdgewrightError, match=r"the device's agent failed: edgewright-agent: .* nothing was ever pulled"
    ):
        demo._agent(["status", "--from", str(tmp_path / "none")])


def test_what_a_device_prints_is_handed_on(tmp_path: Path) -> None:
    assert "nothing yet" in demo._agent(["status", "--from", str(tmp_path)])
