"""The section ``nightly``: works without being named, names what is wrong in it, and changes nothing that is built."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from edgewright.pipeline.document import parse_fields
from edgewright.pipeline.nightly_settings import NightlySettings
from edgewright.pipeline.recipe import Recipe


def problems(**fields: Any) -> str:
    settings, found = parse_fields(NightlySettings, fields)
    assert settings is None
    return " ".join(f"{problem.key} {problem.message}" for problem in found)


def test_a_recipe_need_not_name_it(sound_recipe: dict[str, Any]) -> None:
    nightly = Recipe.model_validate(sound_recipe).nightly
    assert (nightly.cron, nightly.time_zone, nightly.promotion) == ("0 2 * * *", "UTC", "approve")
    assert (nightly.least_new_samples, nightly.test_share, nightly.incoming) == (100, 0.2, None)
    limits = nightly.limits
    assert (limits.psi, limits.class_balance_psi, limits.missing_pct, limits.rejected_pct) == (0.25, 0.25, 1.0, 10.0)


@pytest.mark.parametrize(
    "cron",
    ["0 2 * * *", "*/5 * * * *", "30 1 * * MON-FRI", "0 0 1 jan,jul *", "0-5/2,7 1 1-7 * 7", "5/15 0 29 2 *"],
)
def test_cron_expressions_that_come_round_are_taken_here_and_by_the_scheduler(cron: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    assert NightlySettings(cron=cron).cron == cron
    assert CronSchedule(cron=cron, timezone="Europe/Berlin").cron == cron


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 2 * *", "has 4 fields, a cron expression has 5"),
        ("0 0 2 * * *", "has 6 fields"),
        ("@daily", "has 1 field,"),
        ("", "has 0 fields"),
        ("0 25 * * *", "bad hour"),
        ("0 2 L * *", 'at "L"'),
        ("0 2 * * 5#2", 'at "5#2"'),
        ("0 2 ? * *", 'at "?"'),
        ("0 2 30 2 *", "cron expression (bad day-of-month)"),
        ("x y z a b", 'at "x"'),
    ],
)
def test_others_are_refused_with_an_example(cron: str, said: str) -> None:
    found = problems(cron=cron)
    assert found.startswith("cron ") and said in found and '"0 2 * * *"' in found


def test_time_zones_are_those_of_the_database() -> None:
    assert NightlySettings(time_zone="America/New_York").time_zone == "America/New_York"
    assert 'Did you mean "Europe/Berlin"?' in problems(time_zone="Europe/Berln")
    for odd in ("../../etc/passwd", "localtime", "", "Mars"):
        assert "is not a time zone of the IANA database. " in problems(time_zone=odd)


@pytest.mark.parametrize(
    "fields",
    [
        {"least_new_samples": 0},
        {"test_share": 0.9},
        {"test_share": -0.1},
        {"promotion": "always"},
        {"approval_timeout_h": 0.0},
        {"question_timeout_h": 1e6},
        {"incoming": ""},
        {"limits": {"psi": 0.0}},
        {"limits": {"missing_pct": 101.0}},
        {"limits": {"class_balance": 1.0}},
        {"hour": 2},
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NightlySettings.model_validate(fields)
