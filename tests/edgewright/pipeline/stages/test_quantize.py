"""Stage 4: INT8 by calibration; the better range estimator is kept by validation, and the test split has no voice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgewright.errors import CalibrationError
from edgewright.pipeline.progress import ignore_progress
from edgewright.pipeline.recipe import QuantizeSettings
from edgewright.pipeline.stages import quantize
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.quantize import QuantizeResult


def run_here(
    build: Any, settings: QuantizeSettings, types: tuple[Any, Any] = ("uint8", "int8"), samples: int = 100
) -> QuantizeResult:
    model = build.pruned.value.model
    return quantize.quantize(
        build.store.root, build.data.value, model, settings, samples, types, "work", on_progress=ignore_progress
    )


def test_samples_of_all_classes_are_taken_from_the_calibration_split_alone(build: Any) -> None:
    result = build.int8.value
    split = snapshot_stage.load(build.store, build.data.value).calibration
    assert len(result.calibration_sha256) == len(set(result.calibration_sha256)) == 100
    assert set(result.calibration_sha256) <= set(split.sample_sha256)
    assert set(result.calibration_per_class) == set(build.data.value.class_names)
    assert all(count >= 5 for count in result.calibration_per_class.values())
    assert sum(result.calibration_per_class.values()) == 100


def test_every_estimator_is_tried_and_the_better_on_validation_is_kept(build: Any) -> None:
    result = build.int8.value
    assert [trial.method for trial in result.trials] == ["minmax", "percentile"]
    best = max(trial.validation_accuracy_pct for trial in result.trials)
    assert result.method == next(trial.method for trial in result.trials if trial.validation_accuracy_pct == best)
    assert all(low < high for trial in result.trials for low, high in trial.ranges.values())


@pytest.mark.parametrize("order", [["percentile", "minmax"], ["minmax", "percentile"]])
def test_a_range_that_cuts_too_much_away_is_not_kept_wherever_it_stands(build: Any, order: list[Any]) -> None:
    result = run_here(build, QuantizeSettings(calibration=order, percentile=92.0))
    accuracy = {trial.method: trial.validation_accuracy_pct for trial in result.trials}
    assert accuracy["minmax"] > accuracy["percentile"]
    assert result.method == "minmax"


def test_the_test_split_is_not_even_looked_at(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = snapshot_stage.load(build.store, build.data.value)
    seen = SimpleNamespace(calibration=whole.calibration, validation=whole.validation)  # no train, no test
    monkeypatch.setattr(snapshot_stage, "load", lambda store, result: seen)
    assert run_here(build, QuantizeSettings()).model == build.int8.value.model


def test_the_types_of_the_target_make_another_file(build: Any) -> None:
    signed = run_here(build, QuantizeSettings(calibration=["minmax"]), ("int8", "int8"))
    assert (signed.activation_type, signed.weight_type) == ("int8", "int8")
    assert signed.model != build.int8.value.model
    assert signed.quantized_operators == build.int8.value.quantized_operators == 10
    assert signed.float_operators == 0


def test_it_is_remembered_until_a_setting_changes(build: Any) -> None:
    def again(**changes: Any) -> Any:
        settings = QuantizeSettings(**changes)
        model = build.pruned.value.model
        return quantize.run(build.store, build.data.value, model, settings, 100, ("uint8", "int8"), "p50-i8")

    assert again().unchanged
    assert not again(calibration=["minmax"]).unchanged


def test_an_error_of_calibration_keeps_its_class(build: Any) -> None:
    with pytest.raises(CalibrationError, match=r"needs at least 9000 \(data\.calibration_samples\)"):
        quantize.run(
            build.store, build.data.value, build.pruned.value.model, QuantizeSettings(), 9000, ("uint8", "int8"), "i8"
        )


def test_progress_reaches_the_caller(build: Any) -> None:
    assert [progress.note for progress in build.heard["quantize"]] == [
        "calibrating by minmax",
        "calibrating by percentile",
        "calibrated",
    ]
