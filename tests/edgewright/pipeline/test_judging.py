"""From built variants to a verdict: chosen on validation, judged on test, every figure made once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from edgewright.bench_report import BenchReport
from edgewright.golden import GoldenReplay
from edgewright.pipeline.evidence import NoneYet, Unavailable
from edgewright.pipeline.judging import build_identity, latency_metrics, metrics_of


def report_of(hand_made: Any, variant: str, latency_ms: float, reference_ms: float | None = 2.0) -> BenchReport:
    """What a device says of one variant."""
    return BenchReport(
        bundle_sha256="0" * 64,
        model="digits",
        target="t",
        variant=variant,
        build="b1",
        platform="linux/arm64",
        cpu_model="Cortex-A76",
        golden=GoldenReplay(16, 16, 0.0, 0.1, 0),
        measurement=hand_made.measurement(latency_ms),
        reference_sha256=None if reference_ms is None else "1" * 64,
        reference=None if reference_ms is None else hand_made.measurement(reference_ms),
    )


def test_the_figures_of_a_variant_and_no_figure_that_nobody_measured(hand_made: Any) -> None:
    made = hand_made.build(wrong={"fp32": 20, "p50": 30})
    metrics = metrics_of(made.variants["p50"], made.variants["fp32"], None)
    assert metrics["accuracy_pct"] == 98.5
    assert metrics["accuracy_drop_points"] == pytest.approx(0.5)
    assert (metrics["size_kib"], metrics["compressed_size_kib"]) == (2.0, 1.0)
    assert metrics["sparsity_pct"] == 50.0
    assert not [key for key in metrics if "latency" in key or "memory" in key or "speedup" in key]
    here = hand_made.build(latencies_ms={"fp32": 2.0, "p50": 0.5})
    metrics = here.metrics("p50")
    assert (metrics["latency_p50_ms"], metrics["speedup_x"], metrics["peak_memory_mib"]) == (0.5, 4.0, 60.0)
    assert here.metrics("fp32")["speedup_x"] == 1.0


def test_without_a_reference_there_is_no_speed_up(hand_made: Any) -> None:
    metrics = latency_metrics(hand_made.measurement(1.0), None)
    assert metrics["latency_p95_ms"] == 1.2
    assert "speedup_x" not in metrics


def test_what_a_device_reported_counts_where_this_machine_cannot_measure(hand_made: Any) -> None:
    made = hand_made.build()
    assert hand_made.decide(made).verdict.outcome == "not_measurable"
    told = dataclasses.replace(made, reports={"p50": report_of(hand_made, "p50", 1.0)})
    assert hand_made.decide(told).verdict.outcome == "pass"
    assert told.metrics("p50")["speedup_x"] == 2.0
    slow = dataclasses.replace(made, reports={"p50": report_of(hand_made, "p50", 100.0)})
    assert hand_made.decide(slow).verdict.check("latency budget").outcome == "fail"


def test_the_fastest_variant_is_put_to_the_gate(hand_made: Any) -> None:
    made = hand_made.build(
        wrong={"fp32": 20, "a": 20, "b": 20},
        latencies_ms={"fp32": 3.0, "a": 1.0, "b": 2.0},
        target={"pays": ["latency"]},
    )
    decision = hand_made.decide(made)
    assert (decision.chosen, decision.verdict.outcome) == ("a", "pass")
    assert [verdict.variant for verdict in decision.tested] == ["a"], "one candidate is tested once"


def test_of_several_candidates_the_first_that_passes_is_released_each_at_its_share_of_the_risk(hand_made: Any) -> None:
    made = hand_made.build(
        wrong={"fp32": 20, "a": 120, "b": 20},
        latencies_ms={"fp32": 3.0, "a": 1.0, "b": 2.0},
        gate={"candidates": 2},
    )
    made = dataclasses.replace(
        made,
        recipe=made.recipe.model_copy(
            update={"objective": made.recipe.objective.model_copy(update={"max_validation_drop_points": 50.0})}
        ),
    )
    decision = hand_made.decide(made)
    assert [(verdict.variant, verdict.outcome) for verdict in decision.tested] == [("a", "fail"), ("b", "pass")]
    assert decision.chosen == "b"
    assert decision.verdict.check("accuracy against reference").confidence == pytest.approx(0.975)


@pytest.mark.parametrize(
    ("wrong", "outcome"), [(20, "pass"), (100, "fail")], ids=["as good as the champion", "worse than the champion"]
)
def test_the_champion_is_compared_sample_by_sample(hand_made: Any, wrong: int, outcome: str) -> None:
    made = hand_made.build(wrong={"fp32": wrong, "p50": wrong}, latencies_ms={"fp32": 2.0, "p50": 1.0})
    decision = hand_made.decide(made, champion=hand_made.predictions(20))
    assert decision.verdict.check("accuracy against champion").outcome == outcome
    assert decision.verdict.check("accuracy against champion").samples == 2000


def test_a_champion_whose_answers_cannot_be_had_is_no_reason_to_pass(hand_made: Any) -> None:
    made = hand_made.build(latencies_ms={"fp32": 2.0, "p50": 1.0})
    assert hand_made.decide(made).verdict.outcome == "pass"
    decision = hand_made.decide(made, champion=Unavailable("its bundle is damaged"), baseline=NoneYet())
    assert decision.verdict.outcome == "not_measurable"
    assert "its bundle is damaged" in decision.verdict.check("accuracy against champion").reason


def test_a_build_is_what_it_was_made_of_and_what_came_out(hand_made: Any) -> None:
    def identity(latency_ms: float = 1.0, **changes: Any) -> str:
        made = hand_made.build(latencies_ms={"fp32": 2.0, "p50": latency_ms}, **changes)
        return build_identity(made.recipe, {"t": made.target}, {"t": made.variants}, {"t": made.measured})

    same = identity()
    assert len(same) == 12
    assert identity() == same
    others = {
        identity(latency_ms=1.5),  # measured anew: its runs must show these figures, not those
        identity(wrong={"fp32": 20, "p50": 23}),
        identity(gate={"margin_points": 2.0}),
        identity(target={"threads": 2}),
    }
    assert len(others | {same}) == 5
