"""Calibration error: whether a compressed classifier is still as sure as it is right."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgewright.errors import GateError
from edgewright.pipeline.evidence import Evidence, GateLimits, NoneYet
from edgewright.pipeline.gate_probabilities import probability_check
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from gate_evidence import UNMEASURED

SAMPLES = 2000
DIGESTS = tuple(f"{index:064x}" for index in range(SAMPLES))
SURE = np.random.default_rng(1).uniform(0.6, 1.0, SAMPLES).astype(np.float32)
# As often right as the reference is sure.
PREDICTED = (np.random.default_rng(2).uniform(size=SAMPLES) > SURE).astype(np.int64)


def answers(score: np.ndarray | None) -> Predictions:
    return Predictions(DIGESTS, np.zeros(SAMPLES, np.int64), PREDICTED, score)


def evidence(score: np.ndarray | None, **changes: Any) -> Evidence:
    values: dict[str, Any] = {
        "quality": Quality("accuracy"),
        "candidate": answers(score),
        "reference": answers(SURE),
        "champion": NoneYet(),
        "baseline": NoneYet(),
        "measured": UNMEASURED,
        "groups": None,
    }
    return Evidence(**{**values, **changes})


TOO_SURE = np.minimum(SURE + np.float32(0.15), np.float32(1.0))
LIMITS = GateLimits(floor_pct=0, calibration_error_points=4)


@pytest.mark.parametrize(("score", "outcome"), [(SURE - np.float32(0.005), "pass"), (TOO_SURE, "fail")])
def test_a_rise_is_held_against_its_limit(score: np.ndarray, outcome: str) -> None:
    check = probability_check(evidence(score), LIMITS)
    assert (check.name, check.outcome, check.limit) == ("probability calibration", outcome, 4.0)
    assert check.reason.startswith("rise of calibration error ")


def test_what_is_undecided_says_how_many_samples_would_decide() -> None:
    slightly = np.minimum(SURE + np.float32(0.06), np.float32(1.0))
    check = probability_check(evidence(slightly), LIMITS)
    assert check.outcome == "not_measurable"
    assert check.samples_needed is not None and check.samples_needed > SAMPLES


def test_without_a_limit_the_figure_is_stated() -> None:
    check = probability_check(evidence(TOO_SURE), GateLimits(floor_pct=0))
    assert (check.outcome, check.limit) == ("pass", None)
    assert check.figure is not None and check.figure > 5
    assert check.reason.startswith("no limit is set; rise of calibration error ")


def test_equal_evidence_gives_equal_checks() -> None:
    assert probability_check(evidence(TOO_SURE), LIMITS) == probability_check(evidence(TOO_SURE), LIMITS)


class TestWithoutScores:
    """Releases from before scores were kept."""

    def test_nobody_asks_where_no_limit_is_set(self) -> None:
        check = probability_check(evidence(None), GateLimits(floor_pct=0))
        assert (check.outcome, check.figure) == ("pass", None)
        assert check.reason == "no probabilities were kept with the answers: not asked"

    def test_what_a_limit_asks_for_is_not_measurable(self) -> None:
        check = probability_check(evidence(None), LIMITS)
        assert (check.outcome, check.limit) == ("not_measurable", 4.0)
        assert check.remedy == "evaluate candidate and reference again with this version"


class TestOtherTasks:
    """Anomaly scores and values are no probabilities."""

    @pytest.mark.parametrize("quality", [Quality("auroc"), Quality("skill", 1.0)])
    def test_are_not_asked(self, quality: Quality) -> None:
        check = probability_check(evidence(SURE, quality=quality), GateLimits(floor_pct=0))
        assert (check.outcome, check.figure) == ("pass", None)

    @pytest.mark.parametrize("quality", [Quality("auroc"), Quality("skill", 1.0)])
    def test_a_limit_is_an_error(self, quality: Quality) -> None:
        with pytest.raises(GateError, match=r"calibration_error_points: answers .* are no probabilities"):
            probability_check(evidence(SURE, quality=quality), LIMITS)


def test_the_reference_is_not_compared_with_itself() -> None:
    itself = dataclasses.replace(UNMEASURED, is_reference=True)
    assert probability_check(evidence(SURE, measured=itself), LIMITS).figure is None
