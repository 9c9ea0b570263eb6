"""What the gate asks of cost: budgets, whether compression pays, and what really ran the model."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from edgewright.errors import GateError
from edgewright.pipeline.evidence import Budgets, Measured, Pays
from edgewright.pipeline.gate_costs import budget_checks, pays_checks, provider_check
from edgewright.pipeline.statistics import Interval
from edgewright.pipeline.verdict import Check

BOTH: frozenset[Pays] = frozenset({"latency", "size"})
MEASURED = Measured(
    size_kib=90.0,
    reference_size_kib=300.0,
    latency_p95_ms=Interval(0.2, 0.19, 0.23, 0.984),
    speedup=Interval(4.0, 3.5, 4.6, 0.984),
    peak_memory_mib=Interval(40.0, 39.0, 41.0, 0.984),
    providers_in_use=("CPUExecutionProvider",),
    required_provider=None,
    is_reference=False,
)


def measured(**changes: Any) -> Measured:
    return dataclasses.replace(MEASURED, **changes)


def check_of(
    name: str, what: Measured = MEASURED, budgets: Budgets | None = None, pays: frozenset[Pays] = BOTH
) -> Check:
    checks = (*budget_checks(what, budgets or Budgets(), 0.95), *pays_checks(what, pays, 0.95), provider_check(what))
    return next(check for check in checks if check.name == name)


class TestBudgets:
    """What the target can afford."""

    @pytest.mark.parametrize(("budget", "outcome"), [(0.23, "pass"), (0.21, "not_measurable"), (0.18, "fail")])
    def test_latency_is_decided_by_its_interval(self, budget: float, outcome: str) -> None:
        check = check_of("latency budget", MEASURED, budgets=Budgets(latency_p95_ms=budget))
        assert (check.outcome, check.figure, check.limit, check.unit) == (outcome, 0.2, budget, "ms")

    @pytest.mark.parametrize(("budget", "outcome"), [(41.0, "pass"), (40.0, "not_measurable"), (38.0, "fail")])
    def test_memory_is_decided_by_its_interval(self, budget: float, outcome: str) -> None:
        assert check_of("memory budget", MEASURED, budgets=Budgets(peak_memory_mib=budget)).outcome == outcome

    @pytest.mark.parametrize(("budget", "outcome"), [(90.0, "pass"), (89.9, "fail")])
    def test_size_is_known_exactly(self, budget: float, outcome: str) -> None:
        check = check_of("size budget", MEASURED, budgets=Budgets(size_kib=budget))
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
        for name in ("pays latency", "pays size"):
            check = check_of(name, what)
            assert (check.outcome, check.reason) == ("pass", "is the reference itself: nothing has to pay")


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
