"""The gate as a specification: what passes, what fails, what is not measurable, and that nothing slips through."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import GateError
from edgewright.pipeline.gate import (
    Budgets,
    Evidence,
    GateLimits,
    Interval,
    Measured,
    NoneYet,
    Pays,
    Unavailable,
    judge,
)
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.statistics import PairedCounts, p_drop_above, p_drop_below
from edgewright.pipeline.verdict import Check, Verdict

BOTH: frozenset[Pays] = frozenset({"latency", "size"})
LIMITS = GateLimits(accuracy_floor_pct=50.0)
FAST = Interval(4.0, 3.5, 4.6, 0.984)
MEASURED = Measured(
    size_kib=90.0,
    reference_size_kib=300.0,
    latency_p95_ms=Interval(0.2, 0.19, 0.23, 0.984),
    speedup=FAST,
    peak_memory_mib=Interval(40.0, 39.0, 41.0, 0.984),
    providers_in_use=("CPUExecutionProvider",),
    required_provider=None,
    is_reference=False,
)


@lru_cache
def digests(samples: int) -> tuple[str, ...]:
    return tuple(f"{index:064x}" for index in range(samples))


def answers(samples: int, wrong: range) -> Predictions:
    """Predictions that are right except on the samples in ``wrong``."""
    predicted = np.zeros(samples, np.int64)
    predicted[wrong] = 1
    return Predictions(digests(samples), np.zeros(samples, np.int64), predicted)


def evidence(samples: int = 1000, lost: int = 0, gained: int = 0, **changes: Any) -> Evidence:
    """A candidate that lost and gained so many samples on its reference; no champion, no baseline."""
    values: dict[str, Any] = {
        "candidate": answers(samples, range(0, lost)),
        "reference": answers(samples, range(lost, lost + gained)),
        "champion": NoneYet(),
        "baseline": NoneYet(),
        "measured": MEASURED,
    }
    return Evidence(**{**values, **changes})


def of(name: str, value: object) -> dict[str, Any]:
    """One named change to the evidence."""
    return {name: value}


def measured(**changes: Any) -> Evidence:
    return evidence(measured=dataclasses.replace(MEASURED, **changes))


def verdict_of(
    what: Evidence, limits: GateLimits = LIMITS, budgets: Budgets | None = None, pays: frozenset[Pays] = BOTH
) -> Verdict:
    return judge(what, limits, budgets or Budgets(), pays, model="digits", target="linux-x86", variant="i8")


def check_of(name: str, *arguments: Any, **named: Any) -> Check:
    return verdict_of(*arguments, **named).check(name)


def test_a_verdict_has_the_same_ten_checks_in_the_same_order() -> None:
    verdict = verdict_of(evidence())
    assert verdict.outcome == "pass"
    assert [check.name for check in verdict.checks] == [
        "accuracy against reference",
        "accuracy against champion",
        "accuracy against baseline",
        "accuracy floor",
        "latency budget",
        "size budget",
        "memory budget",
        "pays latency",
        "pays size",
        "provider",
    ]
    assert (verdict.model, verdict.target, verdict.variant) == ("digits", "linux-x86", "i8")


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
        with pytest.raises(GateError, match="they answer 3 of 1000 samples differently"):
            verdict_of(what)


@pytest.mark.parametrize("name", ["champion", "baseline"])
class TestAgainstReleases:
    """What production would lose, tonight and since the first night."""

    def test_a_worse_candidate_fails_though_compression_cost_nothing(self, name: str) -> None:
        worse = answers(1000, range(30))
        what = evidence(candidate=worse, reference=worse, **of(name, answers(1000, range(0))))
        verdict = verdict_of(what)
        assert verdict.outcome == "fail"
        assert [check.name for check in verdict.checks if check.outcome == "fail"] == [f"accuracy against {name}"]
        assert name in verdict.check(f"accuracy against {name}").remedy

    def test_none_yet_passes_and_says_so(self, name: str) -> None:
        check = check_of(f"accuracy against {name}", evidence())
        assert (check.outcome, check.reason) == ("pass", f"no {name} yet: nothing to compare with")

    def test_one_whose_predictions_could_not_be_had_is_not_measurable(self, name: str) -> None:
        verdict = verdict_of(evidence(**of(name, Unavailable("its bundle is gone"))))
        check = verdict.check(f"accuracy against {name}")
        assert verdict.outcome == check.outcome == "not_measurable"
        assert "its bundle is gone" in check.reason and check.remedy

    def test_other_samples_are_an_error(self, name: str) -> None:
        with pytest.raises(GateError, match=f"candidate has 1000 samples, {name} has 999"):
            verdict_of(evidence(**of(name, answers(999, range(0)))))


class TestFloor:
    """The accuracy below which nothing ships."""

    @pytest.mark.parametrize(("wrong", "outcome"), [(10, "pass"), (28, "not_measurable"), (60, "fail")])
    def test_is_held_against_the_bound(self, wrong: int, outcome: str) -> None:
        same = answers(1000, range(wrong))
        check = check_of("accuracy floor", evidence(candidate=same, reference=same), GateLimits(accuracy_floor_pct=97))
        assert check.outcome == outcome
        assert check.figure == pytest.approx(100 - wrong / 10)
        assert (check.samples_needed is not None) == (outcome == "not_measurable")

    def test_says_which_bound_decided(self) -> None:
        same = answers(1000, range(10))
        reason = check_of("accuracy floor", evidence(candidate=same, reference=same)).reason
        assert reason == "accuracy 99.00 %, at least 98.31 with 95 % confidence; the floor is 50.00"


class TestBudgets:
    """What the target can afford."""

    @pytest.mark.parametrize(("budget", "outcome"), [(0.23, "pass"), (0.21, "not_measurable"), (0.18, "fail")])
    def test_latency_is_decided_by_its_interval(self, budget: float, outcome: str) -> None:
        check = check_of("latency budget", evidence(), budgets=Budgets(latency_p95_ms=budget))
        assert (check.outcome, check.figure, check.limit, check.unit) == (outcome, 0.2, budget, "ms")

    @pytest.mark.parametrize(("budget", "outcome"), [(41.0, "pass"), (40.0, "not_measurable"), (38.0, "fail")])
    def test_memory_is_decided_by_its_interval(self, budget: float, outcome: str) -> None:
        assert check_of("memory budget", evidence(), budgets=Budgets(peak_memory_mib=budget)).outcome == outcome

    @pytest.mark.parametrize(("budget", "outcome"), [(90.0, "pass"), (89.9, "fail")])
    def test_size_is_known_exactly(self, budget: float, outcome: str) -> None:
        check = check_of("size budget", evidence(), budgets=Budgets(size_kib=budget))
        assert (check.outcome, check.figure, check.limit) == (outcome, 90.0, budget)

    @pytest.mark.parametrize(
        ("field", "budgets", "name"),
        [
            ("latency_p95_ms", Budgets(latency_p95_ms=5.0), "latency budget"),
            ("peak_memory_mib", Budgets(peak_memory_mib=500.0), "memory budget"),
        ],
    )
    def test_a_budget_without_a_measurement_is_not_measurable(self, field: str, budgets: Budgets, name: str) -> None:
        check = check_of(name, measured(**{field: None}), budgets=budgets)
        assert check.outcome == "not_measurable"
        assert "edgewright-agent bench" in check.remedy

    def test_without_a_budget_nothing_is_asked(self) -> None:
        assert check_of("latency budget", measured(latency_p95_ms=None)).reason == "the target sets no budget"

    def test_an_interval_less_sure_than_asked_decides_nothing(self) -> None:
        weak = measured(latency_p95_ms=Interval(0.2, 0.19, 0.23, 0.75))
        check = check_of("latency budget", weak, budgets=Budgets(latency_p95_ms=1.0))
        assert (check.outcome, check.samples_needed) == ("not_measurable", 5)
        assert "87.5 % confidence" in check.reason and "95 % is asked for" in check.reason

    @pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_budget_that_nothing_or_everything_meets_is_refused(self, bad: float) -> None:
        with pytest.raises(GateError, match="budget size_kib"):
            Budgets(size_kib=bad)


class TestPays:
    """What compression must gain."""

    @pytest.mark.parametrize(
        ("speedup", "outcome"),
        [
            (Interval(1.2, 1.0, 1.4, 0.984), "pass"),
            (Interval(1.0, 0.9, 1.1, 0.984), "not_measurable"),
            (Interval(0.9, 0.8, 0.99, 0.984), "fail"),
            (None, "not_measurable"),
        ],
    )
    def test_slower_than_the_reference_beyond_noise_fails(self, speedup: Interval | None, outcome: str) -> None:
        check = check_of("pays latency", measured(speedup=speedup), pays=frozenset({"latency"}))
        assert (check.outcome, check.limit) == (outcome, 1.0)
        assert bool(check.remedy) == (outcome != "pass")

    @pytest.mark.parametrize("speedup", [None, Interval(0.5, 0.4, 0.6, 0.984)])
    def test_speed_is_not_asked_where_only_size_must_pay(self, speedup: Interval | None) -> None:
        check = check_of("pays latency", measured(speedup=speedup), pays=frozenset({"size"}))
        assert check.outcome == "pass"
        assert check.reason.startswith("only size must pay on this target")
        assert check.figure == (speedup.point if speedup else None)

    @pytest.mark.parametrize(("size", "outcome"), [(299.9, "pass"), (300.0, "fail"), (310.0, "fail")])
    def test_size_pays_only_when_smaller(self, size: float, outcome: str) -> None:
        assert check_of("pays size", measured(size_kib=size)).outcome == outcome

    def test_size_is_not_asked_where_only_latency_must_pay(self) -> None:
        check = check_of("pays size", measured(size_kib=400.0), pays=frozenset({"latency"}))
        assert check.outcome == "pass" and check.reason.startswith("only latency must pay")

    def test_the_reference_itself_has_nothing_to_pay(self) -> None:
        what = measured(is_reference=True, speedup=None, size_kib=300.0)
        verdict = verdict_of(what)
        assert verdict.outcome == "pass"
        for name in ("pays latency", "pays size"):
            assert verdict.check(name).reason == "is the reference itself: nothing has to pay"

    @pytest.mark.parametrize("pays", [frozenset(), frozenset({"speed"})])
    def test_a_target_must_say_what_pays(self, pays: Any) -> None:
        with pytest.raises(GateError, match="name latency, size or both"):
            verdict_of(evidence(), pays=pays)


class TestProvider:
    """What really ran the model."""

    def test_is_always_in_the_verdict(self) -> None:
        check = check_of("provider", measured(providers_in_use=("CUDAExecutionProvider", "CPUExecutionProvider")))
        assert (check.outcome, check.reason) == ("pass", "ran on CUDAExecutionProvider, CPUExecutionProvider")

    def test_a_silent_fall_back_fails_a_target_that_demands_another(self) -> None:
        check = check_of("provider", measured(required_provider="CUDAExecutionProvider"))
        assert check.outcome == "fail"
        assert check.reason == "ran on CPUExecutionProvider; the target demands CUDAExecutionProvider"

    def test_none_recorded_is_not_measurable(self) -> None:
        assert check_of("provider", measured(providers_in_use=())).outcome == "not_measurable"


class TestRisk:
    """One release in twenty may pass falsely, however many variants knock at the gate."""

    def test_is_divided_among_the_candidates_of_which_any_may_ship(self) -> None:
        assert GateLimits(accuracy_floor_pct=50).confidence_of_each == pytest.approx(0.95)
        assert GateLimits(accuracy_floor_pct=50, candidates=5).confidence_of_each == pytest.approx(0.99)

    def test_one_of_three_needs_a_better_figure_than_one_alone(self) -> None:
        three = GateLimits(accuracy_floor_pct=50, candidates=3)
        assert check_of("accuracy against reference", evidence(1000, lost=4)).outcome == "pass"
        check = check_of("accuracy against reference", evidence(1000, lost=4), three)
        assert check.outcome == "not_measurable"
        assert check.confidence == pytest.approx(1 - 0.05 / 3)

    @pytest.mark.parametrize(
        "limits",
        [
            {"accuracy_floor_pct": 101},
            {"accuracy_floor_pct": float("nan")},
            {"accuracy_floor_pct": 90, "margin_points": 0},
            {"accuracy_floor_pct": 90, "margin_points": float("nan")},
            {"accuracy_floor_pct": 90, "confidence": 1.0},
            {"accuracy_floor_pct": 90, "confidence": 0.5},
            {"accuracy_floor_pct": 90, "candidates": 0},
        ],
    )
    def test_limits_out_of_range_are_refused(self, limits: dict[str, Any]) -> None:
        with pytest.raises(GateError, match="gate limit"):
            GateLimits(**limits)


class TestFiguresThatAreNone:
    """No number that is not one gets as far as a verdict."""

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0])
    @pytest.mark.parametrize("field", ["size_kib", "reference_size_kib"])
    def test_sizes(self, field: str, bad: float) -> None:
        with pytest.raises(GateError, match=field):
            measured(**{field: bad})

    @pytest.mark.parametrize("field", ["latency_p95_ms", "speedup", "peak_memory_mib"])
    def test_intervals(self, field: str) -> None:
        with pytest.raises(GateError, match="not finite"):
            Interval(float("nan"), float("nan"), float("nan"), 0.95)
        with pytest.raises(GateError, match=f"lower bound of {field} is -1.0"):
            measured(**{field: Interval(1.0, -1.0, 2.0, 0.95)})


COUNTS = st.integers(1, 400).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda lost: st.tuples(st.just(n), st.just(lost), st.integers(0, n - lost)))
)
MARGINS = st.sampled_from([0.5, 0.7, 1.0, 2.0, 3.0, 10.0])


class TestProperties:
    """What holds for every input."""

    @given(COUNTS, MARGINS, st.integers(1, 4))
    @settings(deadline=None, max_examples=40)
    def test_the_decision_is_coherent_with_bounds_and_test(
        self, counts: tuple[int, int, int], margin: float, candidates: int
    ) -> None:
        n, lost, gained = counts
        limits = GateLimits(accuracy_floor_pct=0, margin_points=margin, candidates=candidates)
        check = check_of("accuracy against reference", evidence(n, lost, gained), limits)
        assert check.low is not None and check.high is not None and check.figure is not None
        assert (check.outcome == "pass") == (check.high <= margin)
        assert (check.outcome == "fail") == (check.low >= margin)
        pairs = PairedCounts(n, lost, gained)
        alpha = 1 - limits.confidence_of_each
        assert (check.outcome == "pass") == (p_drop_below(pairs, margin / 100) <= alpha)
        assert (check.outcome == "fail") == (p_drop_above(pairs, margin / 100) <= alpha)

    @given(COUNTS, MARGINS)
    @settings(deadline=None, max_examples=20)
    def test_one_more_lost_sample_never_turns_into_a_pass(self, counts: tuple[int, int, int], margin: float) -> None:
        n, lost, gained = counts
        limits = GateLimits(accuracy_floor_pct=60, margin_points=margin)
        before = verdict_of(evidence(n, lost, gained), limits).outcome
        for worse in ((lost + 1, gained), (lost, gained - 1), (lost + 1, gained - 1)):
            if worse[1] >= 0 and sum(worse) <= n:
                after = verdict_of(evidence(n, *worse), limits).outcome
                assert after != "pass" or before == "pass"
                assert before != "fail" or after == "fail"

    @given(COUNTS, MARGINS, MARGINS)
    @settings(deadline=None, max_examples=40)
    def test_a_tighter_margin_never_turns_fail_into_pass(
        self, counts: tuple[int, int, int], one: float, other: float
    ) -> None:
        tight, wide = sorted((one, other))
        wide_verdict = verdict_of(evidence(*counts), GateLimits(accuracy_floor_pct=0, margin_points=wide))
        tight_verdict = verdict_of(evidence(*counts), GateLimits(accuracy_floor_pct=0, margin_points=tight))
        assert not (wide_verdict.outcome == "fail" and tight_verdict.outcome == "pass")

    @given(COUNTS, MARGINS)
    @settings(deadline=None, max_examples=30)
    def test_of_two_models_each_cannot_be_beyond_the_margin_of_the_other(
        self, counts: tuple[int, int, int], margin: float
    ) -> None:
        n, lost, gained = counts
        limits = GateLimits(accuracy_floor_pct=0, margin_points=margin)
        here = check_of("accuracy against reference", evidence(n, lost, gained), limits)
        there = check_of("accuracy against reference", evidence(n, gained, lost), limits)
        assert here.figure == pytest.approx(-(there.figure or 0.0))
        assert "fail" not in {here.outcome, there.outcome} or here.outcome != there.outcome

    @given(
        latency=st.none() | st.just(MEASURED.latency_p95_ms),
        speedup=st.none() | st.just(FAST),
        memory=st.none() | st.just(MEASURED.peak_memory_mib),
        budget_ms=st.none() | st.just(1.0),
        budget_mib=st.none() | st.just(100.0),
        pays=st.sampled_from([frozenset({"latency"}), frozenset({"size"}), BOTH]),
    )
    @settings(deadline=None, max_examples=60)
    def test_nothing_passes_with_a_needed_figure_unmeasured(
        self,
        latency: Interval | None,
        speedup: Interval | None,
        memory: Interval | None,
        budget_ms: float | None,
        budget_mib: float | None,
        pays: frozenset[Pays],
    ) -> None:
        what = measured(latency_p95_ms=latency, speedup=speedup, peak_memory_mib=memory)
        verdict = verdict_of(what, budgets=Budgets(latency_p95_ms=budget_ms, peak_memory_mib=budget_mib), pays=pays)
        missing = (
            (budget_ms is not None and latency is None)
            or (budget_mib is not None and memory is None)
            or ("latency" in pays and speedup is None)
        )
        assert verdict.outcome == ("not_measurable" if missing else "pass")

    @given(COUNTS)
    @settings(deadline=None, max_examples=20)
    def test_equal_evidence_gives_equal_bytes_and_they_round_trip(self, counts: tuple[int, int, int]) -> None:
        text = verdict_of(evidence(*counts)).to_json()
        assert text == verdict_of(evidence(*counts)).to_json()
        assert Verdict.from_json(text) == verdict_of(evidence(*counts))

    @given(COUNTS, MARGINS)
    @settings(deadline=None, max_examples=30)
    def test_whoever_does_not_pass_is_told_what_to_do(self, counts: tuple[int, int, int], margin: float) -> None:
        verdict = verdict_of(evidence(*counts), GateLimits(accuracy_floor_pct=90, margin_points=margin))
        assert all(bool(check.remedy) == (check.outcome != "pass") for check in verdict.checks)
