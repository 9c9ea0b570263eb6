"""The recipe's section ``nightly``: where new samples arrive, when a retrain is tried, and what it may decide by itself.

Nothing here changes what is built: the section is no part of a build's identity, and of no stage's inputs.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Literal
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from edgewright.pipeline.broken_rule import did_you_mean, show_value
from edgewright.pipeline.targets import Strict

Promotion = Literal["auto", "approve", "never"]

# What every reader of cron expressions takes alike: numbers, names, lists, ranges and steps, in five fields. "L", "W" and
# "#" are left out: they mean different things in different places.
_CRON_FIELD = re.compile(r"[0-9*,/-]+|[0-9*,/-]*(?:[A-Za-z]{3}[0-9*,/-]*)+")
_CRON_FIELDS = 5
_CRON_REMEDY = 'Write minute, hour, day, month and day of the week, e.g. "0 2 * * *" for two o\'clock every night.'


class IntakeLimits(Strict):
    """How different new samples may be before a person is asked. Decision 0024 says how each is measured."""

    psi: float = Field(
        0.25,
        gt=0,
        le=10,
        description="largest population stability index of a feature against the training split; above 0.25 is commonly "
        "called a major shift",
    )
    class_balance_psi: float = Field(
        0.25, gt=0, le=10, description="largest population stability index of the classes, or of the values to answer"
    )
    label_agreement_points: float = Field(
        10.0,
        gt=0,
        le=100,
        description="largest drop of a simple linear model's agreement with the new labels, in points: wrong labels show "
        "there",
    )
    missing_pct: float = Field(1.0, ge=0, le=100, description="largest share of samples that lack values, in percent")
    rejected_pct: float = Field(
        10.0, ge=0, le=100, description="largest share of samples that were set aside as unusable, in percent"
    )


class NightlySettings(Strict):
    """What a retrain does that nobody watches."""

    incoming: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        None,
        description="folder that new samples are delivered to; without it `incoming/` and the model's name, in the workspace",
    )
    cron: str = Field(
        "0 2 * * *",
        max_length=100,
        description="when it runs: minute, hour, day, month, day of the week, as cron writes them",
    )
    time_zone: str = Field("UTC", max_length=100, description="time zone of `cron`, by its IANA name")
    least_new_samples: int = Field(
        100, ge=1, le=10_000_000, description="with fewer new samples a person is asked before anything is trained"
    )
    test_share: float = Field(
        0.2,
        ge=0,
        lt=0.9,
        description="share of the new samples that judge releases, where the publisher fixed the test split; elsewhere the "
        "data's own shares hold",
    )
    limits: IntakeLimits = Field(IntakeLimits(), description="how different new samples may be")
    promotion: Promotion = Field(
        "approve",
        description="what becomes of a release that passes the gate: auto promotes it, approve asks a person, never leaves "
        "it as candidate",
    )
    approval_timeout_h: float = Field(
        24.0, ge=0.01, le=720, description="hours that a person has to approve; no answer means no"
    )
    question_timeout_h: float = Field(
        24.0,
        ge=0.01,
        le=720,
        description="hours that a person has to decide about samples that are too few or too different; no answer means no",
    )

    @field_validator("cron")
    @classmethod
    def _comes_round(cls, cron: str) -> str:
        problem = _cron_problem(cron)
        if problem:
            raise ValueError(f"{show_value(cron)} {problem} {_CRON_REMEDY}")
        return cron

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        if zone not in _zones():
            nearest = did_you_mean(zone, sorted(_zones()))
            remedy = "Examples: UTC, Europe/Berlin." if nearest.startswith("Known") else nearest
            raise ValueError(f"{show_value(zone)} is not a time zone of the IANA database. {remedy}")
        return zone


@cache
def _zones() -> frozenset[str]:
    # The name of this machine's own zone means another one elsewhere.
    return frozenset(available_timezones() - {"localtime"})


def _cron_problem(cron: str) -> str | None:
    """What is wrong with a cron expression; None where nothing is."""
    fields = cron.split()
    if len(fields) != _CRON_FIELDS:
        return f"has {len(fields)} field{'' if len(fields) == 1 else 's'}, a cron expression has {_CRON_FIELDS}."
    for field in fields:
        if not _CRON_FIELD.fullmatch(field):
            return f"is not a cron expression (at {show_value(field)})."
    try:
        next(CronSim(cron, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        said = str(error)
        return f"is not a cron expression ({said[:1].lower()}{said[1:]})."
    except StopIteration:
        return "names a time that never comes."
    return None
