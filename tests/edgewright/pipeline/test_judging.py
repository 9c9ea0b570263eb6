"""From built variants to a verdict: chosen on validation, judged on test, every figure made once."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgewright.bench_report import BenchReport
from edgewright.errors import GateError
from edgewright.golden import GoldenReplay
from edgewright.pipeline.built import build_identity
from edgewright.pipeline.evidence import Answered, NoneYet, Unavailable
from edgewright.pipeline.judging import choose
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.run_metrics import latency_metrics
from edgewright.pipeline.stages.evaluate import keep_predictions
from edgewright.pipeline.waiver import Waiver


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
    metrics = hand_made.metrics(made, "p50")
    assert metrics["accuracy_pct"] == 98.5
    assert metrics["accuracy_drop_points"] == pytest.approx(0.5)
    assert (metrics["size_kib"], metrics["compressed_size_kib"]) == (2.0, 1.0)
    assert metrics["sparsity_pct"] == 50.0
    assert not [key for key in metrics if "latency" in key or "memory" in key or "speedup" in key]
    here = hand_made.build(latencies_ms={"fp32": 2.0, "p50": 0.5})
    metrics = hand_made.metrics(here, "p50")
    assert (metrics["latency_p50_ms"], metrics["speedup_x"], metrics["peak_memory_mib"]) == (0.5, 4.0, 60.0)
    assert hand_made.metrics(here, "fp32")["speedup_x"] == 1.0


def test_without_a_reference_there_is_no_speed_up(hand_made: Any) -> None:
    metrics = latency_metrics(hand_made.measurement(1.0), None)
    assert metrics["latency_p95_ms"] == 1.2
    assert "speedup_x" not in metrics


def test_what_a_device_reported_counts_where_this_machine_cannot_measure(hand_made: Any) -> None:
    made = hand_made.build()
    assert hand_made.decide(made).verdict.outcome == "not_measurable"
    told = dataclasses.replace(made, reports={"p50": report_of(hand_made, "p50", 1.0)})
    assert hand_made.decide(told).verdict.outcome == "pass"
    assert hand_made.metrics(told, "p50")["speedup_x"] == 2.0
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
    assert [each.choice.released for each in decision.tested] == ["a"], "one candidate is tested once"


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
    assert [(each.choice.released, each.verdict.outcome) for each in decision.tested] == [("a", "fail"), ("b", "pass")]
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


def test_what_the_candidate_lost_on_the_samples_that_the_champion_was_judged_on_is_asked_by_itself(
    hand_made: Any,
) -> None:
    """On 1,500 new samples the candidate is better, on the 500 old ones it lost: together that is no drop."""
    made = hand_made.build(wrong={"fp32": 20, "p50": 20}, latencies_ms={"fp32": 2.0, "p50": 1.0})
    champion = hand_made.predictions(25, first=1000)
    name = "accuracy against champion, earlier test samples"
    verdict = hand_made.decide(
        made, champion=Answered(champion, frozenset(champion.sample_sha256[:500]), "b" * 64)
    ).verdict
    assert verdict.check("accuracy against champion").outcome == "pass"
    assert (verdict.check(name).outcome, verdict.check(name).samples) == ("fail", 500)
    assert verdict.check(name).figure == pytest.approx(4.0)
    assert verdict.outcome == "fail"
    same = hand_made.decide(made, champion=champion).verdict
    assert same.outcome == "pass" and "nothing more to compare" in same.check(name).reason
    assert [check.name for check in same.checks] == [check.name for check in verdict.checks]


def test_a_champion_whose_answers_cannot_be_had_is_no_reason_to_pass(hand_made: Any) -> None:
    made = hand_made.build(latencies_ms={"fp32": 2.0, "p50": 1.0})
    assert hand_made.decide(made).verdict.outcome == "pass"
    decision = hand_made.decide(made, champion=Unavailable("its bundle is damaged"), baseline=NoneYet())
    assert decision.verdict.outcome == "not_measurable"
    assert "its bundle is damaged" in decision.verdict.check("accuracy against champion").reason


@pytest.mark.parametrize(("provider", "outcome"), [("CUDAExecutionProvider", "fail"), ("XNNPACK", "pass")])
def test_a_demanded_provider_counts_where_its_engine_runs_the_file(hand_made: Any, provider: str, outcome: str) -> None:
    both = {"engines": ["onnxruntime", "litert"], "required_provider": provider}
    made = hand_made.build(latencies_ms={"fp32": 2.0, "p50": 1.0}, target=both)
    verdict = hand_made.decide(made).verdict
    assert (verdict.check("provider").outcome, verdict.outcome) == (outcome, outcome)


def test_a_build_is_what_it_was_made_of_and_what_came_out(hand_made: Any) -> None:
    def identity(latency_ms: float = 1.0, **changes: Any) -> str:
        made = hand_made.build(latencies_ms={"fp32": 2.0, "p50": latency_ms}, **changes)
        return build_identity(made.recipe, {"t": made.target}, {"t": made.folds}, {"t": made.measured})

    same = identity()
    assert len(same) == 12
    nightly = {"cron": "30 4 * * *", "promotion": "never", "limits": {"psi": 1.0}}
    plain = hand_made.build(latencies_ms={"fp32": 2.0, "p50": 1.0})
    other = Recipe.model_validate({**plain.recipe.model_dump(), "nightly": nightly})
    assert build_identity(other, {"t": plain.target}, {"t": plain.folds}, {"t": plain.measured}) == same
    assert identity() == same
    others = {
        identity(latency_ms=1.5),  # measured anew: its runs must show these figures, not those
        identity(wrong={"fp32": 20, "p50": 23}),
        identity(gate={"margin_points": 2.0}),
        identity(target={"threads": 2}),
    }
    assert len(others | {same}) == 5


def folded(hand_made: Any, wrong: dict[str, int], other: dict[str, int]) -> Any:
    """Two folds: the second one's variants answer differently on its validation samples."""
    first, second = hand_made.build(wrong=wrong), hand_made.build(wrong=other)
    return dataclasses.replace(first, folds=(*first.folds, *second.folds))


def test_every_fold_chooses_by_its_own_validation_samples_and_the_first_ones_choice_is_released(hand_made: Any) -> None:
    made = folded(hand_made, {"fp32": 20, "a": 20, "b": 20}, {"fp32": 20, "a": 200, "b": 20})
    (choice,) = choose(made.recipe, made.target, made.folds, None)
    assert choice.of_fold == ("b", "b"), "the smallest"
    made = folded(hand_made, {"fp32": 20, "a": 20, "b": 20}, {"fp32": 20, "a": 20, "b": 200})
    (choice,) = choose(made.recipe, made.target, made.folds, None)
    assert (choice.of_fold, choice.released) == (("b", "a"), "b")


def test_a_waived_check_does_not_stand_in_the_way_and_stays_what_it_is(hand_made: Any) -> None:
    made = hand_made.build(latencies_ms={"fp32": 2.0, "p50": 1.0}, gate={"floor_pct": 99.5})
    assert hand_made.decide(made).verdict.outcome == "fail"
    waiver = Waiver("accuracy floor", "anna", "the line stands still until March")
    verdict = hand_made.decide(made, waivers=[waiver]).verdict
    assert (verdict.outcome, verdict.said) == ("pass", "pass (1 check waived by anna)")
    assert verdict.check("accuracy floor").outcome == "fail"


def test_a_waiver_that_is_not_needed_changes_nothing_and_one_for_no_check_is_an_error(hand_made: Any) -> None:
    made = hand_made.build(latencies_ms={"fp32": 2.0, "p50": 1.0})
    idle = Waiver("accuracy floor", "anna", "the line stands still until March")
    assert hand_made.decide(made, waivers=[idle]).verdict == hand_made.decide(made).verdict
    with pytest.raises(GateError, match="the gate asks no 'acuracy floor'"):
        hand_made.decide(made, waivers=[dataclasses.replace(idle, check="acuracy floor")])


def test_a_class_that_only_compression_loses_is_found_by_its_slice(hand_made: Any) -> None:
    """60 of 200 samples of class 0: 3 points of the mean, 30 of the class."""
    sliced = {"margin_points": 5.0, "slices": [{"by": "class", "margin_points": 5.0}]}
    made = hand_made.build(latencies_ms={"fp32": 2.0, "p50": 1.0}, gate=sliced)
    answers = hand_made.predictions(20)
    predicted = answers.predicted.copy()
    zeros = np.flatnonzero(answers.labels == 0)[:60]
    predicted[zeros] = 1
    kept = keep_predictions(hand_made.store, dataclasses.replace(answers, predicted=predicted))
    p50 = made.variants["p50"]
    evaluation = dataclasses.replace(p50.evaluation, test=kept)
    variants = {**made.variants, "p50": dataclasses.replace(p50, evaluation=evaluation)}
    made = dataclasses.replace(made, folds=(dataclasses.replace(made.folds[0], variants=variants),))
    verdict = hand_made.decide(made).verdict
    assert verdict.check("accuracy against reference").outcome == "pass"
    assert verdict.check("class 0").outcome == "fail"
    assert [check.name for check in verdict.checks if check.outcome == "fail"] == ["class 0"]
