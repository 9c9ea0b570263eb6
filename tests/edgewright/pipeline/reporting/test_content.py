"""Reports that would contradict themselves cannot be made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.reporting.answers import AnomalyAnswers, ClassAnswers, ValueAnswers
from edgewright.pipeline.reporting.content import BuildReport, TargetReport


def test_the_chosen_variant_must_be_there(digits_target: TargetReport) -> None:
    with pytest.raises(DataError, match="chosen 'p99'"):
        replace(digits_target, chosen="p99")


def test_there_is_one_reference(digits_target: TargetReport) -> None:
    with pytest.raises(DataError, match=r"references \[\]"):
        replace(digits_target, variants=digits_target.variants[1:])


def test_answers_come_in_pairs(digits_target: TargetReport) -> None:
    with pytest.raises(DataError, match="both reference and p50-i8, or none"):
        replace(digits_target, chosen_answers=None)


def test_a_link_cannot_run_a_script(digits_build: BuildReport) -> None:
    with pytest.raises(DataError, match="not http"):
        replace(digits_build, registry_url="javascript:alert(1)")


def test_a_target_is_reported_once(digits_build: BuildReport) -> None:
    with pytest.raises(DataError, match="not distinct"):
        replace(digits_build, targets=digits_build.targets * 2)


def test_counts_of_answers() -> None:
    counted = ClassAnswers.count(("a", "b", "c"), np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 0, 0]))
    assert counted.counts == ((1, 1, 0), (0, 1, 0), (2, 0, 0))


@pytest.mark.parametrize("counts", [((1,),), ((1, 2), (3,))])
def test_counts_fit_the_names(counts: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(DataError, match="2 x 2"):
        ClassAnswers(("a", "b"), counts)


def test_numbers_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 are not finite"):
        ValueAnswers(np.array([1.0, 2.0]), np.array([1.0, np.nan]), "life", "h")
    with pytest.raises(DataError, match="anomaly threshold"):
        AnomalyAnswers(np.array([1.0]), np.array([True]), float("inf"))
    with pytest.raises(DataError, match="2 anomaly scores, but 1 truths"):
        AnomalyAnswers(np.array([1.0, 2.0]), np.array([True]), 0.5)
