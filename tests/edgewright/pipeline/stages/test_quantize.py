"""Stage 4: fewer bits; validation chooses the range estimator, the test split has no voice, and the ranges are audited."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgewright.errors import CalibrationError, StageError
from edgewright.pipeline.calibration_audit import CalibrationAudit
from edgewright.pipeline.progress import ignore_progress
from edgewright.pipeline.stages import quantize
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.quantize import QuantizeResult, ValidationJudge
from edgewright.pipeline.task_settings import AnomalySettings, ClassificationSettings
from edgewright.pipeline.variant_settings import QuantizeSettings

TASK = ClassificationSettings(kind="classification")


def run_here(
    build: Any, settings: QuantizeSettings, types: tuple[Any, Any] = ("uint8", "int8"), samples: int = 100
) -> QuantizeResult:
    model = build.pruned.value.model
    return quantize.quantize(
        build.store.root, build.snapshot, model, settings, samples, types, TASK, "work", on_progress=ignore_progress
    )


@pytest.fixture
def audit(build: Any) -> CalibrationAudit:
    """The audit of the build's INT8 variant."""
    found = build.int8.value.audit
    assert isinstance(found, CalibrationAudit)
    return found


# --- trials -------------------------------------------------------------------------------------------------------


def test_every_estimator_is_tried_and_the_better_on_validation_is_kept(build: Any) -> None:
    result = run_here(build, QuantizeSettings(calibration=["minmax", "percentile", "entropy"]))
    assert [trial.method for trial in result.trials] == ["minmax", "percentile", "entropy"]
    best = max(trial.validation_pct for trial in result.trials)
    assert result.method == next(trial.method for trial in result.trials if trial.validation_pct == best)
    assert all(low < high for trial in result.trials for low, high in trial.ranges.values())
    assert len({str(trial.ranges) for trial in result.trials}) == 3


@pytest.mark.parametrize("order", [["percentile", "minmax"], ["minmax", "percentile"]])
def test_a_range_that_cuts_too_much_away_is_not_kept_wherever_it_stands(build: Any, order: list[Any]) -> None:
    result = run_here(build, QuantizeSettings(calibration=order, percentile=92.0))
    quality = {trial.method: trial.validation_pct for trial in result.trials}
    assert quality["minmax"] > quality["percentile"]
    assert result.method == "minmax"


def test_the_test_split_is_not_even_looked_at(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = snapshot_stage.load(build.store, build.snapshot)
    seen = SimpleNamespace(calibration=whole.calibration, validation=whole.validation)  # no train, no test
    monkeypatch.setattr(snapshot_stage, "load", lambda store, result: seen)
    assert run_here(build, QuantizeSettings()).model == build.int8.value.model


def test_the_types_of_the_target_make_another_file(build: Any) -> None:
    signed = run_here(build, QuantizeSettings(calibration=["minmax"]), ("int8", "int8"))
    assert (signed.activation_type, signed.weight_type) == ("int8", "int8")
    assert signed.model != build.int8.value.model
    assert signed.quantized_operators == build.int8.value.quantized_operators == 10
    assert signed.float_operators == 0


def test_quality_is_judged_by_the_tasks_figure(build: Any) -> None:
    validation = snapshot_stage.load(build.store, build.snapshot).validation
    content, wide = build.store.read(build.int8.value.model), TASK
    balanced = ClassificationSettings(kind="classification", metric="balanced_accuracy")
    rare = np.flatnonzero((validation.labels > 0) | (np.arange(len(validation.labels)) < 5))
    figures = [ValidationJudge(build.snapshot, task, validation, chosen=rare)(content) for task in (wide, balanced)]
    assert all(50 < figure <= 100 for figure in figures)
    assert figures[0] != figures[1]


def test_a_few_validation_samples_are_asked_unless_a_class_would_be_missing(build: Any) -> None:
    validation = snapshot_stage.load(build.store, build.snapshot).validation
    judge = ValidationJudge(build.snapshot, TASK, validation)
    assert judge.of_at_most(150).samples == 150
    assert judge.of_at_most(3).samples == judge.samples == len(validation.labels)


# --- without calibration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "operators"), [("dynamic", (1, 9)), ("float16", (10, 0))])
def test_dynamic_and_float16_need_no_calibration(build: Any, method: Any, operators: tuple[int, int]) -> None:
    result = run_here(build, QuantizeSettings(method=method), samples=10_000_000)
    assert (result.method, result.audit) == (method, None)
    assert [trial.method for trial in result.trials] == [method]
    assert result.trials[0].validation_pct > 50
    assert (result.quantized_operators, result.float_operators) == operators
    assert result.model.size_bytes < build.pruned.value.model.size_bytes


def test_dynamic_int8_has_unsigned_activations_only(build: Any) -> None:
    with pytest.raises(StageError, match="dynamic INT8 has uint8 activations, the target asks for int8"):
        run_here(build, QuantizeSettings(method="dynamic"), ("int8", "int8"))


# --- the audit ----------------------------------------------------------------------------------------------------


def test_samples_of_all_classes_are_taken_from_the_calibration_split_alone(build: Any, audit: CalibrationAudit) -> None:
    split = snapshot_stage.load(build.store, build.snapshot).calibration
    assert audit.samples == len(audit.sample_sha256) == len(set(audit.sample_sha256)) == 100
    assert set(audit.sample_sha256) <= set(split.sample_sha256)
    assert (audit.split, audit.split_samples) == ("calibration", len(split.labels))
    assert set(audit.coverage) == set(build.snapshot.class_names)
    assert all(count >= 5 for count in audit.coverage.values())
    assert sum(audit.coverage.values()) == 100
    assert "digests" in audit.chosen


def test_every_tensor_is_told_in_the_order_of_the_graph(build: Any, audit: CalibrationAudit) -> None:
    ranges = next(trial.ranges for trial in build.int8.value.trials if trial.method == audit.method)
    assert {each.tensor: (each.low, each.high) for each in audit.tensors} == ranges
    operators = [each.operator for each in audit.tensors]
    assert operators[0] == "input"
    assert operators[-1] == "Gemm"
    assert operators.count("Conv") == 9
    for each in audit.tensors:
        assert each.observed_low <= each.low < each.high <= each.observed_high
        assert 0 <= each.clipped_share < 0.01


def test_quality_over_other_calibration_sets_is_told(build: Any, audit: CalibrationAudit) -> None:
    roomy = run_here(build, QuantizeSettings(calibration=["minmax"]), samples=64).audit
    assert roomy is not None
    assert roomy.spread is not None, roomy.no_spread_because
    assert len(roomy.spread.figures_pct) == len(roomy.spread.resamples) == 5
    assert roomy.spread.lowest_pct == min(roomy.spread.figures_pct)
    assert roomy.spread.highest_pct == max(roomy.spread.figures_pct)
    assert abs(roomy.spread.kept_pct - np.mean(roomy.spread.figures_pct)) < 5
    assert 0.2 < roomy.spread.shared_share < 0.9


def test_where_other_sets_would_be_the_same_one_that_is_said_instead(build: Any) -> None:
    available = build.snapshot.samples["calibration"]
    tight = run_here(build, QuantizeSettings(calibration=["minmax"]), samples=available - 10).audit
    assert tight is not None
    assert tight.spread is None
    assert f"has {available} samples to take {available - 10} from" in tight.no_spread_because


def test_an_absurd_range_is_not_shipped_though_it_is_the_best_that_was_tried(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sample with a value of 3,000 deviations: its range leaves one INT8 step for all others."""
    apply = type(build.snapshot.preprocessing).apply

    def spoiled(self: Any, raw: Any, *more: Any) -> Any:
        inputs = apply(self, raw, *more)
        inputs[0, 0, 0, 0] = 3000.0
        return inputs

    monkeypatch.setattr(type(build.snapshot.preprocessing), "apply", spoiled)
    with pytest.raises(CalibrationError, match=r"by minmax is \[.*fall on one INT8 step.*name entropy or percentile"):
        run_here(build, QuantizeSettings(calibration=["minmax"]))


# --- as a stage ---------------------------------------------------------------------------------------------------


def test_it_is_remembered_until_something_that_it_uses_changes(build: Any) -> None:
    def again(samples: int = 100, task: Any = TASK, types: Any = ("uint8", "int8"), **changes: Any) -> Any:
        settings, model = QuantizeSettings(**changes), build.pruned.value.model
        return quantize.run(build.store, build.snapshot, model, settings, samples, types, task, "p50-i8")

    assert again().unchanged
    assert again().value == build.int8.value
    assert not again(calibration=["minmax"]).unchanged
    assert not again(task=ClassificationSettings(kind="classification", metric="balanced_accuracy")).unchanged
    assert not again(method="float16").unchanged
    assert again(method="float16", samples=99, types=("int8", "int8")).unchanged, "float16 uses neither"


def test_an_error_of_calibration_keeps_its_class(build: Any) -> None:
    model = build.pruned.value.model
    with pytest.raises(CalibrationError, match=r"needs at least 9000 \(data\.calibration_samples\)"):
        quantize.run(build.store, build.snapshot, model, QuantizeSettings(), 9000, ("uint8", "int8"), TASK, "i8")


def test_progress_reaches_the_caller(build: Any) -> None:
    notes = [progress.note for progress in build.heard["quantize"]]
    assert notes[:2] == ["calibrating by minmax", "calibrating by percentile"]
    assert notes[-1] == "calibrated"
    done = [progress.done / progress.total for progress in build.heard["quantize"]]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 1)


def test_for_anomalies_ranges_come_from_normal_samples(build: Any) -> None:
    """The choice of samples is all that is asked here: the stage serves every kind of question."""
    from edgewright.pipeline.calibration_trials import CalibrationData

    split = snapshot_stage.load(build.store, build.snapshot).calibration
    task = AnomalySettings(kind="anomaly", normal="3")
    data = CalibrationData(split, build.snapshot.preprocessing.apply, build.snapshot.class_names, task, 10)
    assert dataclasses.replace(data, samples=5).select().coverage["3"] == 5
    assert set(split.labels[list(data.select().indices)]) == {3}
