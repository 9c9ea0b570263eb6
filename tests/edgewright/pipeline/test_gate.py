"""The gate as a specification: what is asked and in which order, what is waived, and that nothing slips through."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import GateError
from edgewright.pipeline.evidence import (
    Budgets,
    Corrupted,
    Evidence,
    GateLimits,
    Pays,
    SliceLimit,
    Unavailable,
)
from edgewright.pipeline.gate import judge
from edgewright.pipeline.statistics import Interval, PairedCounts, p_drop_above, p_drop_below
from edgewright.pipeline.verdict import Check, Verdict
from edgewright.pipeline.waiver import Waiver
from gate_evidence import FAST, MEASURED, answers, evidence

BOTH: frozenset[Pays] = frozenset({"latency", "size"})
LIMITS = GateLimits(floor_pct=50.0)


def measured(**changes: Any) -> Evidence:
    return evidence(measured=dataclasses.replace(MEASURED, **changes))


def verdict_of(
    what: Evidence,
    limits: GateLimits = LIMITS,
    budgets: Budgets | None = None,
    pays: frozenset[Pays] = BOTH,
    waivers: tuple[Waiver, ...] = (),
) -> Verdict:
    return judge(
        what, limits, budgets or Budgets(), pays, model="digits", target="linux-x86", variant="i8", waivers=waivers
    )


def check_of(name: str, *arguments: Any, **named: Any) -> Check:
    return verdict_of(*arguments, **named).check(name)


COSTS = ["latency budget", "size budget", "memory budget", "pays latency", "pays size", "provider"]


class TestChecks:
    """What is asked, in an order that lets two verdicts be read side by side."""

    def test_a_plain_recipe_asks_thirteen_questions(self) -> None:
        verdict = verdict_of(evidence())
        assert verdict.outcome == "pass"
        assert [check.name for check in verdict.checks] == [
            "accuracy against reference",
            "accuracy against champion",
            "accuracy against champion, earlier test samples",
            "accuracy against baseline",
            "accuracy floor",
            "agreement with reference",
            "probability calibration",
            *COSTS,
        ]
        assert (verdict.model, verdict.target, verdict.variant) == ("digits", "linux-x86", "i8")

    @pytest.mark.parametrize("is_reference", [False, True])
    def test_slices_come_as_the_recipe_orders_them_with_values_sorted(self, is_reference: bool) -> None:
        same = answers(1000, range(0))
        what = evidence(
            candidate=same,
            reference=same,
            measured=dataclasses.replace(MEASURED, is_reference=is_reference),
            slices={
                "class": ("zero",) * 1000,
                "shift": tuple("night" if index % 2 else "day" for index in range(1000)),
            },
            corrupted={name: Corrupted(candidate=same, reference=same, groups=None) for name in ("noise", "blur")},
        )
        limits = GateLimits(floor_pct=50, slices=(SliceLimit("shift", 3), SliceLimit("class", 5)))
        assert [check.name for check in verdict_of(what, limits).checks][5:-6] == [
            "shift day",
            "shift night",
            "class zero",
            "agreement with reference",
            "probability calibration",
            "robust to noise",
            "robust to blur",
        ]

    def test_two_checks_of_one_name_are_an_error(self) -> None:
        what = evidence(slices={"latency": ("budget",) * 1000})
        with pytest.raises(GateError, match="two checks are named 'latency budget'; rename the column"):
            verdict_of(what, GateLimits(floor_pct=50, slices=(SliceLimit("latency", 3),)))

    @pytest.mark.parametrize("pays", [frozenset(), frozenset({"speed"})])
    def test_a_target_must_say_what_pays(self, pays: Any) -> None:
        with pytest.raises(GateError, match="name latency, size or both"):
            verdict_of(evidence(), pays=pays)

    def test_one_gap_keeps_the_verdict_from_passing(self) -> None:
        assert verdict_of(evidence(champion=Unavailable("its bundle is gone"))).outcome == "not_measurable"


WHY = "the customer accepts it until May"


class TestWaivers:
    """A person may answer for a check; what it found stays as it is."""

    def test_a_waived_failure_lets_the_verdict_pass_and_stays_a_failure(self) -> None:
        waiver = Waiver("accuracy against reference", "anna", WHY)
        verdict = verdict_of(evidence(1000, lost=30), waivers=(waiver,))
        check = verdict.check("accuracy against reference")
        assert (verdict.outcome, check.outcome, check.waiver) == ("pass", "fail", waiver)
        assert check.reason == check_of("accuracy against reference", evidence(1000, lost=30)).reason
        assert verdict.said == "pass (1 check waived by anna)"
        assert verdict.waivers == (waiver,)

    @pytest.mark.parametrize(
        ("name", "budgets", "changes"),
        [
            ("provider", Budgets(), {"required_provider": "CUDAExecutionProvider"}),
            ("size budget", Budgets(size_kib=10), {}),
            ("memory budget", Budgets(peak_memory_mib=100), {"peak_memory_mib": None}),
            ("pays latency", Budgets(), {"speedup": None}),
        ],
    )
    def test_costs_and_gaps_can_be_waived_too(self, name: str, budgets: Budgets, changes: dict[str, Any]) -> None:
        assert verdict_of(measured(**changes), budgets=budgets).outcome != "pass"
        assert verdict_of(measured(**changes), budgets=budgets, waivers=(Waiver(name, "anna", WHY),)).outcome == "pass"

    def test_other_failures_still_stand_in_the_way(self) -> None:
        waiver = Waiver("accuracy against reference", "anna", WHY)
        verdict = verdict_of(evidence(1000, lost=30), budgets=Budgets(size_kib=10), waivers=(waiver,))
        assert verdict.outcome == "fail"
        assert verdict.said == "fail (1 check waived by anna)"

    @pytest.mark.parametrize(
        ("waived", "message"),
        [
            ("accuracy floor", "'accuracy floor' passed: there is nothing to waive"),
            ("accuracy ceiling", "'accuracy ceiling' does not exist"),
        ],
    )
    def test_what_does_not_stand_in_the_way_cannot_be_waived(self, waived: str, message: str) -> None:
        with pytest.raises(GateError, match=message) as caught:
            verdict_of(evidence(1000, lost=30), waivers=(Waiver(waived, "anna", WHY),))
        assert str(caught.value).endswith("Checks that did not pass: accuracy against reference")

    def test_one_check_is_waived_once(self) -> None:
        waiver = Waiver("accuracy against reference", "anna", WHY)
        with pytest.raises(GateError, match="waived twice"):
            verdict_of(evidence(1000, lost=30), waivers=(waiver, dataclasses.replace(waiver, person="ben")))


class TestRisk:
    """One release in twenty may pass falsely, however many variants knock at the gate."""

    def test_is_divided_among_the_candidates_of_which_any_may_ship(self) -> None:
        assert GateLimits(floor_pct=50).confidence_of_each == pytest.approx(0.95)
        assert GateLimits(floor_pct=50, candidates=5).confidence_of_each == pytest.approx(0.99)

    def test_one_of_three_needs_a_better_figure_than_one_alone(self) -> None:
        three = GateLimits(floor_pct=50, candidates=3)
        assert check_of("accuracy against reference", evidence(1000, lost=4)).outcome == "pass"
        check = check_of("accuracy against reference", evidence(1000, lost=4), three)
        assert check.outcome == "not_measurable"
        assert check.confidence == pytest.approx(1 - 0.05 / 3)


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
        limits = GateLimits(floor_pct=0, margin_points=margin, candidates=candidates)
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
        limits = GateLimits(floor_pct=60, margin_points=margin)
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
        wide_verdict = verdict_of(evidence(*counts), GateLimits(floor_pct=0, margin_points=wide))
        tight_verdict = verdict_of(evidence(*counts), GateLimits(floor_pct=0, margin_points=tight))
        assert not (wide_verdict.outcome == "fail" and tight_verdict.outcome == "pass")

    @given(COUNTS, MARGINS)
    @settings(deadline=None, max_examples=30)
    def test_of_two_models_each_cannot_be_beyond_the_margin_of_the_other(
        self, counts: tuple[int, int, int], margin: float
    ) -> None:
        n, lost, gained = counts
        limits = GateLimits(floor_pct=0, margin_points=margin)
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
        verdict = verdict_of(evidence(*counts), GateLimits(floor_pct=90, margin_points=margin))
        assert all(bool(check.remedy) == (check.outcome != "pass") for check in verdict.checks)
