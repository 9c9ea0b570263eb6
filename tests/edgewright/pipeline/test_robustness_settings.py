"""The gate's section ``robustness``: known names, each once, and only what the data can suffer."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.pipeline.corruptions import CORRUPTIONS, corruptions_for
from edgewright.pipeline.document import parse_fields
from edgewright.pipeline.robustness_settings import RobustnessSettings, check_robustness
from edgewright.preprocessing import SampleKind


def _settings(*corruptions: str) -> RobustnessSettings:
    parsed, problems = parse_fields(RobustnessSettings, {"corruptions": list(corruptions)})
    assert parsed is not None, problems
    return parsed


@pytest.mark.parametrize("kind", ["image", "window", "row"])
def test_all_that_applies_to_the_data_may_be_asked_for(kind: SampleKind) -> None:
    assert check_robustness(_settings(*corruptions_for(kind)), kind, 3) == []


def test_all_known_names_can_be_read() -> None:
    assert _settings(*CORRUPTIONS).corruptions == list(CORRUPTIONS)


def test_what_the_data_cannot_suffer_is_named_by_its_place() -> None:
    found = check_robustness(_settings("noise", "drift", "blur"), "image")
    assert [problem.key for problem in found] == ["corruptions[1]"]
    assert "does not apply to samples of the kind image" in found[0].message
    assert "noise, blur, brightness, contrast, occlusion" in found[0].message


def test_one_channel_cannot_go_missing() -> None:
    asked = _settings("noise", "missing_channel")
    assert check_robustness(asked, "window") == check_robustness(asked, "window", 2) == []
    assert [problem.key for problem in check_robustness(asked, "window", 1)] == ["corruptions[1]"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"corruptions": ["nose"]}, 'Did you mean "noise"'),
        ({"corruptions": ["noise", "blur", "noise"]}, "names a corruption twice: noise"),
        ({"corruptions": []}, "has fewer than 1 entry"),
        ({"corruptions": ["noise"], "samples": 99}, "between 100 and 100000"),
        ({"corruptions": ["noise"], "margin_points": 0}, "above 0"),
        ({}, "is missing"),
    ],
)
def test_a_broken_rule_is_named(value: dict[str, Any], message: str) -> None:
    parsed, problems = parse_fields(RobustnessSettings, value)
    assert parsed is None
    assert message in " ".join(problem.message for problem in problems)
