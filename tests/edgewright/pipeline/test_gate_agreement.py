"""Agreement: on how many samples candidate and reference decide alike, right or wrong."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgewright.errors import GateError
from edgewright.pipeline.evidence import Evidence, GateLimits, NoneYet
from edgewright.pipeline.gate_agreement import agreement_check
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.statistics import accuracy_lower_bound
from gate_evidence import UNMEASURED

DIGESTS = tuple(f"{index:064x}" for index in range(1000))


def answers(predicted: np.ndarray) -> Predictions:
    return Predictions(DIGESTS, np.zeros(1000, np.int64), predicted)


def evidence(different: slice | np.ndarray, **changes: Any) -> Evidence:
    """Candidate and reference are both wrong everywhere, and differ in how on the samples in ``different``."""
    candidate, reference = np.ones(1000, np.int64), np.ones(1000, np.int64)
    candidate[different] = 2
    values: dict[str, Any] = {
        "quality": Quality("accuracy"),
        "candidate": answers(candidate),
        "reference": answers(reference),
        "champion": NoneYet(),
        "baseline": NoneYet(),
        "measured": UNMEASURED,
        "groups": None,
    }
    return Evidence(**{**values, **changes})


@pytest.mark.parametrize(("different", "outcome"), [(5, "pass"), (18, "not_measurable"), (60, "fail")])
def test_the_bound_is_held_against_the_limit(different: int, outcome: str) -> None:
    check = agreement_check(evidence(slice(different)), GateLimits(floor_pct=0, agreement_pct=98))
    assert (check.name, check.outcome) == ("agreement with reference", outcome)
    assert check.figure == pytest.approx(100 - different / 10)
    assert check.low == pytest.approx(100 * accuracy_lower_bound(1000 - different, 1000, 0.95))
    assert (check.samples_needed is not None) == (outcome == "not_measurable")


def test_equal_decisions_agree_though_all_are_wrong() -> None:
    assert agreement_check(evidence(slice(0)), GateLimits(floor_pct=0, agreement_pct=99)).outcome == "pass"


def test_without_a_limit_the_figure_is_stated() -> None:
    check = agreement_check(evidence(slice(300)), GateLimits(floor_pct=0))
    assert (check.outcome, check.limit, check.figure) == ("pass", None, pytest.approx(70.0))
    assert check.reason.startswith("no limit is set; agreement 70.00 %, between 67.")


def test_people_count_where_there_are_groups() -> None:
    people = tuple(f"person{index % 10}" for index in range(1000))
    one = np.flatnonzero(np.array(people) == "person4")[:20]
    limits = GateLimits(floor_pct=0, agreement_pct=96)
    spread = agreement_check(evidence(slice(20), groups=people), limits)
    bunched = agreement_check(evidence(one, groups=people), limits)
    assert (spread.outcome, bunched.outcome) == ("pass", "not_measurable")
    assert spread.groups == bunched.groups == 10


def test_four_people_decide_nothing_yet_state_their_figure() -> None:
    people = tuple(f"person{index % 4}" for index in range(1000))
    assert agreement_check(evidence(slice(0), groups=people), GateLimits(floor_pct=0)).outcome == "pass"
    asked = agreement_check(evidence(slice(0), groups=people), GateLimits(floor_pct=0, agreement_pct=90))
    assert asked.outcome == "not_measurable" and asked.remedy


def test_the_reference_agrees_with_itself_by_nature() -> None:
    itself = dataclasses.replace(UNMEASURED, is_reference=True)
    check = agreement_check(evidence(slice(0), measured=itself), GateLimits(floor_pct=0, agreement_pct=98))
    assert (check.outcome, check.reason) == ("pass", "is the reference itself: nothing to compare with")


class TestRegression:
    """Values are more or less near to each other, they do not agree."""

    VALUES = Predictions(DIGESTS, np.linspace(0, 1, 1000), np.linspace(0, 1, 1000))

    def test_is_not_asked(self) -> None:
        what = evidence(slice(0), quality=Quality("skill", 0.25), candidate=self.VALUES, reference=self.VALUES)
        assert agreement_check(what, GateLimits(floor_pct=0)).outcome == "pass"

    def test_a_limit_is_an_error(self) -> None:
        what = evidence(slice(0), quality=Quality("skill", 0.25), candidate=self.VALUES, reference=self.VALUES)
        with pytest.raises(GateError, match="a regression decides nothing that could agree; leave it out"):
            agreement_check(what, GateLimits(floor_pct=0, agreement_pct=98))
