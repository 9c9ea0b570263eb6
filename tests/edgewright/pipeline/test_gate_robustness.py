"""Robustness: what corrupted samples cost the candidate more than they cost its reference."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgewright.errors import GateError
from edgewright.pipeline.evidence import Corrupted, Evidence, GateLimits, NoneYet
from edgewright.pipeline.gate_robustness import robustness_checks
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from gate_evidence import UNMEASURED


def answers(wrong: int, samples: int = 1000) -> Predictions:
    """Predictions of which the first ``wrong`` are wrong."""
    predicted = np.zeros(samples, np.int64)
    predicted[:wrong] = 1
    return Predictions(tuple(f"{index:064x}" for index in range(samples)), np.zeros(samples, np.int64), predicted)


def evidence(corrupted: dict[str, Corrupted], *, is_reference: bool = False) -> Evidence:
    """On clean samples candidate and reference are the same."""
    return Evidence(
        quality=Quality("accuracy"),
        candidate=answers(10),
        reference=answers(10),
        champion=NoneYet(),
        baseline=NoneYet(),
        measured=dataclasses.replace(UNMEASURED, is_reference=is_reference),
        groups=None,
        corrupted=corrupted,
    )


def both(candidate: int, reference: int, groups: tuple[str, ...] | None = None) -> Corrupted:
    return Corrupted(candidate=answers(candidate), reference=answers(reference), groups=groups)


LIMITS = GateLimits(floor_pct=0, robustness_margin_points=5)


def test_a_candidate_that_bears_noise_worse_than_its_reference_fails_there_alone() -> None:
    checks = robustness_checks(evidence({"noise": both(300, 200), "blur": both(210, 200)}), LIMITS)
    assert [(check.name, check.outcome) for check in checks] == [
        ("robust to noise", "fail"),
        ("robust to blur", "pass"),
    ]
    assert checks[0].figure == pytest.approx(10.0)
    assert checks[0].limit == 5.0


def test_what_the_reference_loses_as_well_is_no_fault_of_the_candidate() -> None:
    (check,) = robustness_checks(evidence({"noise": both(600, 600)}), LIMITS)
    assert (check.outcome, check.figure) == ("pass", 0.0)


def test_corruptions_keep_their_order() -> None:
    names = ("sensor drift", "noise", "blur")
    checks = robustness_checks(evidence({name: both(0, 0) for name in names}), LIMITS)
    assert [check.name for check in checks] == [f"robust to {name}" for name in names]


def test_without_a_margin_the_figure_is_stated() -> None:
    (check,) = robustness_checks(evidence({"noise": both(300, 200)}), GateLimits(floor_pct=0))
    assert (check.outcome, check.limit, check.figure) == ("pass", None, pytest.approx(10.0))
    assert check.reason.startswith("no limit is set; drop 10.00 points, between ")


def test_people_count_where_there_are_groups() -> None:
    people = tuple(f"person{index // 100}" for index in range(1000))
    (check,) = robustness_checks(evidence({"noise": both(30, 0, people)}), LIMITS)
    assert (check.groups, check.outcome) == (10, "not_measurable")
    (alone,) = robustness_checks(evidence({"noise": both(30, 0)}), LIMITS)
    assert alone.outcome == "pass"


def test_a_margin_without_corrupted_samples_is_an_error() -> None:
    with pytest.raises(GateError, match="robustness_margin_points is set, but no corrupted samples were evaluated"):
        robustness_checks(evidence({}), LIMITS)


def test_other_samples_are_an_error() -> None:
    other = Corrupted(candidate=answers(0), reference=answers(0, 999), groups=None)
    with pytest.raises(GateError, match="reference under noise has 999"):
        robustness_checks(evidence({"noise": other}), LIMITS)


def test_the_reference_itself_shows_the_same_checks() -> None:
    (check,) = robustness_checks(evidence({"noise": both(200, 200)}, is_reference=True), LIMITS)
    assert (check.name, check.outcome, check.figure) == ("robust to noise", "pass", None)
