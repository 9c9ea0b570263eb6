"""What the gate asks of the answers as a whole: against the reference, the champion, the baseline, and the floor."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgewright.errors import GateError
from edgewright.pipeline.evidence import Evidence, GateLimits, NoneYet, Unavailable
from edgewright.pipeline.gate_quality import quality_checks
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.verdict import Check
from gate_evidence import MEASURED, answers, digests, evidence

LIMITS = GateLimits(floor_pct=50.0)


def of(name: str, value: object) -> dict[str, Any]:
    """One named change to the evidence."""
    return {name: value}


def check_of(name: str, what: Evidence, limits: GateLimits = LIMITS) -> Check:
    return next(check for check in quality_checks(what, limits) if check.name == name)


class TestAgainstReference:
    """What compression cost."""

    def test_pass_when_the_bound_is_within_the_margin(self) -> None:
        check = check_of("accuracy against reference", evidence(1000, lost=4))
        assert check.outcome == "pass"
        assert check.figure == pytest.approx(0.4)
        assert check.high is not None and 0.85 < check.high <= 1.0
        assert check.reason == "drop 0.40 points, at most 0.91 with 95 % confidence; the margin is 1.00"
        assert (check.limit, check.unit, check.samples, check.samples_needed) == (1.0, "points", 1000, None)

    def test_not_measurable_when_the_interval_straddles_the_margin(self) -> None:
        check = check_of("accuracy against reference", evidence(1000, lost=8, gained=4))
        assert check.outcome == "not_measurable"
        assert check.samples_needed is not None and check.samples_needed > 1000
        assert check.reason.startswith("drop 0.40 points, between -0.20 and 1.07, each bound with 95 % confidence")
        assert check.remedy.startswith(f"evaluate on about {check.samples_needed:,} samples")

    def test_fail_when_the_drop_is_beyond_the_margin_with_the_same_confidence(self) -> None:
        check = check_of("accuracy against reference", evidence(1000, lost=30, gained=6))
        assert check.outcome == "fail"
        assert check.low is not None and check.low >= 1.0
        assert check.reason.startswith("drop 2.40 points, at least 1.4")
        assert check.remedy

    def test_nothing_lost_on_too_few_samples_does_not_pass(self) -> None:
        check = check_of("accuracy against reference", evidence(100))
        assert check.outcome == "not_measurable"
        assert check.samples_needed in range(299, 310)

    def test_at_the_margin_itself_more_samples_do_not_decide(self) -> None:
        check = check_of("accuracy against reference", evidence(1000, lost=10))
        assert (check.outcome, check.samples_needed) == ("not_measurable", None)
        assert "more samples hardly decide" in check.remedy

    def test_the_reference_itself_is_not_compared_with_itself(self) -> None:
        own = answers(50, range(3))
        what = evidence(candidate=own, reference=own, measured=dataclasses.replace(MEASURED, is_reference=True))
        check = check_of("accuracy against reference", what)
        assert (check.outcome, check.figure) == ("pass", None)
        assert check.reason == "is the reference itself: nothing to compare with"

    def test_a_reference_that_differs_from_itself_is_an_error(self) -> None:
        what = evidence(lost=2, gained=1, measured=dataclasses.replace(MEASURED, is_reference=True))
        with pytest.raises(GateError, match="they answer 3 of 1000 differently"):
            quality_checks(what, LIMITS)

    def test_a_reference_of_other_samples_is_an_error(self) -> None:
        itself = dataclasses.replace(MEASURED, is_reference=True)
        what = evidence(reference=answers(999, range(0)), measured=itself)
        with pytest.raises(GateError, match="they are of different samples"):
            quality_checks(what, LIMITS)


@pytest.mark.parametrize("name", ["champion", "baseline"])
class TestAgainstReleases:
    """What production would lose, tonight and since the first night."""

    def test_a_worse_candidate_fails_though_compression_cost_nothing(self, name: str) -> None:
        worse = answers(1000, range(30))
        what = evidence(candidate=worse, reference=worse, **of(name, answers(1000, range(0))))
        failed = [check for check in quality_checks(what, LIMITS) if check.outcome == "fail"]
        assert [check.name for check in failed] == [f"accuracy against {name}"]
        assert name in failed[0].remedy

    def test_none_yet_passes_and_says_so(self, name: str) -> None:
        check = check_of(f"accuracy against {name}", evidence())
        assert (check.outcome, check.reason) == ("pass", f"no {name} yet: nothing to compare with")

    def test_one_whose_predictions_could_not_be_had_is_not_measurable(self, name: str) -> None:
        check = check_of(f"accuracy against {name}", evidence(**of(name, Unavailable("its bundle is gone"))))
        assert check.outcome == "not_measurable"
        assert "its bundle is gone" in check.reason and check.remedy

    def test_other_samples_are_an_error(self, name: str) -> None:
        with pytest.raises(GateError, match=f"candidate has 1000 samples, {name} has 999"):
            quality_checks(evidence(**of(name, answers(999, range(0)))), LIMITS)


EARLIER = "accuracy against champion, earlier test samples"


class TestEarlierSamples:
    """Nothing that the champion could do may be forgotten, however good the candidate is on new samples."""

    def asked(self, lost_of_old: int, gained_of_new: int, old: int = 500, **changes: Any) -> Check:
        """A candidate that lost some of the first samples, and a champion that was wrong on some of the last."""
        champion = answers(1000, range(1000 - gained_of_new, 1000))
        what = evidence(
            candidate=answers(1000, range(lost_of_old)), champion=champion, judged_on=frozenset(digests(1000)[:old])
        )
        return check_of(EARLIER, dataclasses.replace(what, **changes))

    def test_what_new_samples_hide_is_found_on_the_old_ones(self) -> None:
        check = self.asked(lost_of_old=20, gained_of_new=40)
        whole = evidence(candidate=answers(1000, range(20)), champion=answers(1000, range(960, 1000)))
        assert check_of("accuracy against champion", whole).outcome == "pass"
        assert (check.outcome, check.samples, check.figure) == ("fail", 500, pytest.approx(4.0))
        assert "on the 500 samples that the champion was judged on" in check.reason and "earlier" in check.remedy

    def test_the_margin_and_the_confidence_are_those_of_the_whole(self) -> None:
        check = self.asked(lost_of_old=0, gained_of_new=40)
        assert (check.outcome, check.limit, check.confidence) == ("pass", LIMITS.margin_points, LIMITS.confidence)
        undecided = self.asked(lost_of_old=4, gained_of_new=0, old=200)
        assert undecided.outcome == "not_measurable" and undecided.samples_needed

    def test_old_samples_that_are_no_more_are_counted(self) -> None:
        gone = frozenset(digests(1000)[:500]) | {f"{index:064x}" for index in range(5000, 5010)}
        check = self.asked(0, 0, judged_on=gone)
        assert "on 500 of the 510 samples" in check.reason

    def test_where_none_is_left_it_is_not_measurable(self) -> None:
        check = self.asked(0, 0, judged_on=frozenset({f"{5000:064x}"}))
        assert (check.outcome, check.samples) == ("not_measurable", 0)
        assert "none of the 1 samples that the champion was judged on" in check.reason and check.remedy

    @pytest.mark.parametrize(
        ("champion", "reason"),
        [
            (NoneYet(), "no champion yet"),
            (Unavailable("its bundle is gone"), "asked together with the check before it"),
            (answers(1000, range(0)), "nothing more to compare"),
        ],
    )
    def test_with_nothing_to_ask_by_itself_it_passes_and_says_why(self, champion: Any, reason: str) -> None:
        check = check_of(EARLIER, evidence(champion=champion))
        assert check.outcome == "pass" and reason in check.reason

    def test_groups_count_here_too(self) -> None:
        people = tuple(f"person {index // 50}" for index in range(1000))
        check = self.asked(0, 40, groups=people)
        assert (check.outcome, check.groups) == ("pass", 10)
        few = self.asked(0, 40, old=150, groups=people)
        assert (few.outcome, few.groups) == ("not_measurable", 3)

    def test_other_figures_are_asked_by_their_own_bounds(self) -> None:
        true = np.random.default_rng(5).normal(20, 4, 1000)
        quality = Quality("skill", float(np.abs(true - np.median(true)).mean()))

        def answered(error: float, of_first: float) -> Predictions:
            errors = np.random.default_rng(6).normal(0, 1, 1000) * np.where(np.arange(1000) < 500, of_first, error)
            return Predictions(digests(1000), true, true + errors)

        what = evidence(
            quality=quality,
            candidate=answered(0.2, 2.0),
            reference=answered(0.2, 2.0),
            champion=answered(2.0, 0.5),
            judged_on=frozenset(digests(1000)[:500]),
        )
        limits = GateLimits(floor_pct=10.0, margin_points=5)
        assert check_of("skill against champion", what, limits).outcome == "pass"
        assert check_of("skill against champion, earlier test samples", what, limits).outcome == "fail"


class TestFloor:
    """The accuracy below which nothing ships."""

    @pytest.mark.parametrize(("wrong", "outcome"), [(10, "pass"), (28, "not_measurable"), (60, "fail")])
    def test_is_held_against_the_bound(self, wrong: int, outcome: str) -> None:
        same = answers(1000, range(wrong))
        check = check_of("accuracy floor", evidence(candidate=same, reference=same), GateLimits(floor_pct=97))
        assert check.outcome == outcome
        assert check.figure == pytest.approx(100 - wrong / 10)
        assert (check.samples_needed is not None) == (outcome == "not_measurable")

    def test_says_which_bound_decided(self) -> None:
        same = answers(1000, range(10))
        reason = check_of("accuracy floor", evidence(candidate=same, reference=same)).reason
        assert reason == "accuracy 99.00 %, at least 98.31 with 95 % confidence; the floor is 50.00"


PEOPLE = tuple(f"person {index % 10}" for index in range(1000))


class TestOtherFigures:
    """The same four questions, whatever figure answers are judged by."""

    def test_checks_are_named_by_the_figure(self) -> None:
        what = evidence(quality=Quality("balanced_accuracy"))
        assert [check.name for check in quality_checks(what, LIMITS)] == [
            "balanced accuracy against reference",
            "balanced accuracy against champion",
            "balanced accuracy against champion, earlier test samples",
            "balanced accuracy against baseline",
            "balanced accuracy floor",
        ]

    def test_a_regression_is_judged_by_its_skill(self) -> None:
        true = np.random.default_rng(5).normal(20, 4, 1000)
        naive_error = float(np.abs(true - np.median(true)).mean())

        def answered(error: float) -> Predictions:
            return Predictions(digests(1000), true, true + np.random.default_rng(6).normal(0, error, 1000))

        quality = Quality("skill", naive_error)
        limits = GateLimits(floor_pct=50.0, margin_points=5)
        for error, outcome in ((0.5, "pass"), (2.0, "fail")):
            what = evidence(quality=quality, candidate=answered(error), reference=answered(0.5))
            assert check_of("skill against reference", what, limits).outcome == outcome


class TestGroups:
    """People count, windows do not."""

    def test_a_loss_that_one_person_bears_is_less_sure_than_one_that_all_share(self) -> None:
        limits = GateLimits(floor_pct=50.0, margin_points=3)
        one = np.flatnonzero(np.array(PEOPLE) == "person 3")[:20]
        everyone = np.arange(20)
        outcomes = []
        for wrong in (one, everyone):
            predicted = np.zeros(1000, np.int64)
            predicted[wrong] = 1
            candidate = Predictions(digests(1000), np.zeros(1000, np.int64), predicted)
            check = check_of("accuracy against reference", evidence(candidate=candidate, groups=PEOPLE), limits)
            assert (check.figure, check.groups, check.samples) == (pytest.approx(2.0), 10, 1000)
            outcomes.append(check.outcome)
        assert outcomes == ["not_measurable", "pass"]

    def test_what_would_decide_is_counted_in_groups(self) -> None:
        predicted = np.zeros(1000, np.int64)
        predicted[np.flatnonzero(np.array(PEOPLE) == "person 3")[:20]] = 1
        candidate = Predictions(digests(1000), np.zeros(1000, np.int64), predicted)
        limits = GateLimits(floor_pct=50.0, margin_points=3)
        check = check_of("accuracy against reference", evidence(candidate=candidate, groups=PEOPLE), limits)
        assert check.samples_needed is None
        assert check.groups_needed is not None and check.groups_needed > 10
        assert f"about {check.groups_needed} groups" in check.remedy and "over 10 groups" in check.reason

    def test_four_people_decide_nothing(self) -> None:
        four = tuple(f"person {index % 4}" for index in range(1000))
        check = check_of("accuracy against reference", evidence(groups=four))
        assert (check.outcome, check.groups) == ("not_measurable", 4)
        assert check.reason and check.remedy


class TestAReleaseOfEarlierFolds:
    """People have joined since: both releases are compared on those whom either answered without having met them."""

    people = tuple(f"person {index // 100}" for index in range(1000))

    def test_is_compared_on_the_people_that_it_answered(self) -> None:
        champion = answers(1000, range(0, 0)).take(np.arange(300, 1000))
        # Everything that the candidate lost, it lost on people whom the champion has never seen.
        check = check_of("accuracy against champion", evidence(lost=200, champion=champion, groups=self.people))
        assert (check.outcome, check.figure, check.samples, check.groups) == ("pass", 0.0, 700, 7)

    def test_decides_nothing_where_they_share_too_few(self) -> None:
        champion = answers(1000, range(0, 0)).take(np.arange(700, 1000))
        check = check_of("accuracy against champion", evidence(champion=champion, groups=self.people))
        assert (check.outcome, check.groups) == ("not_measurable", 3)

    def test_samples_that_stand_alone_must_all_be_answered(self) -> None:
        with pytest.raises(GateError, match="candidate has 1000 samples, champion has 700"):
            quality_checks(evidence(champion=answers(1000, range(0, 0)).take(np.arange(300, 1000))), LIMITS)
