"""What cannot work is refused before anything runs, with the key, the rule and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.pipeline.architecture import AutoencoderSettings, DsCnnSettings, MlpSettings
from edgewright.pipeline.closer_rules import check_closer_gate, check_quantization, check_slices, check_waivers
from edgewright.pipeline.data_settings import DigitsSettings, ShuttleSettings
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.recipe import GateSettings
from edgewright.pipeline.task_settings import AnomalySettings, ClassificationSettings, RegressionSettings
from edgewright.pipeline.variant_settings import QuantizeSettings
from edgewright.pipeline.waiver import Waiver

CONVOLUTIONS, DENSE = DsCnnSettings(name="ds_cnn"), MlpSettings(name="mlp")
CLASSES = ClassificationSettings(kind="classification")
ANOMALY, VALUES = AnomalySettings(kind="anomaly", normal="normal"), RegressionSettings(kind="regression")


def told(problems: list[Any]) -> list[str]:
    return [f"{problem.key}: {problem.message}" for problem in problems]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"method": "dynamic", "calibration": ["entropy"]}, "variants[1].quantize.calibration: is not used by method:"),
        ({"method": "float16", "percentile": 99.0}, "variants[1].quantize.percentile: is not used by method: float16"),
        ({"method": "float16", "per_channel": False}, "variants[1].quantize.per_channel: is not used by method: float16"),
        ({"calibration": ["minmax", "minmax"]}, "variants[1].quantize.calibration: [minmax, minmax] names a method twice"),
        ({"calibration": ["entropy"], "percentile": 99.0}, "variants[1].quantize.percentile: is only used with"),
    ],
)  # fmt: skip
def test_a_setting_that_nothing_would_read_is_refused(settings: dict[str, Any], problem: str) -> None:
    (line,) = told(check_quantization(1, QuantizeSettings.model_validate(settings), "onnx", DENSE))
    assert line.startswith(problem)


@pytest.mark.parametrize("settings", [{}, {"method": "dynamic"}, {"method": "float16"}, {"calibration": ["entropy"]}])
def test_every_method_goes_by_itself(settings: dict[str, Any]) -> None:
    assert check_quantization(0, QuantizeSettings.model_validate(settings), "onnx", DENSE) == []


def test_dynamic_int8_needs_matrix_products() -> None:
    dynamic = QuantizeSettings(method="dynamic")
    (line,) = told(check_quantization(2, dynamic, "onnx", CONVOLUTIONS))
    assert line.startswith("variants[2].quantize.method: dynamic INT8 works on matrix products, and the work of ds_cnn")
    assert check_quantization(2, dynamic, "onnx", AutoencoderSettings(name="autoencoder")) == []


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        (
            {"method": "dynamic", "per_channel": False},
            [
                "variants[1].quantize.per_channel: false: TFLite's converter gives dynamic INT8 one scale per channel. "
                "Remove it, or set method: static."
            ],
        ),
        (
            {"aware": {"epochs": 1}, "calibration": ["minmax"], "percentile": 99.0},
            [
                f"variants[1].quantize.{name}: is not used with aware: training with rounding learns the ranges. Remove "
                "it, or remove aware."
                for name in ("calibration", "percentile")
            ],
        ),
        ({"method": "static", "per_channel": False}, []),
        ({"aware": {"epochs": 1}}, []),
    ],
)
def test_what_no_tflite_file_would_show_is_refused(settings: dict[str, Any], problems: list[str]) -> None:
    assert told(check_quantization(1, QuantizeSettings.model_validate(settings), "tflite", DENSE)) == problems


def test_dynamic_int8_of_onnx_files_takes_one_scale_for_all_channels() -> None:
    settings = QuantizeSettings(method="dynamic", per_channel=False)
    assert check_quantization(1, settings, "onnx", DENSE) == []


def gate(**settings: Any) -> GateSettings:
    return GateSettings.model_validate({"floor_pct": 50.0, **settings})


@pytest.mark.parametrize(
    ("settings", "task", "problem"),
    [
        ({"slices": [{"by": "class", "margin_points": 3.0}]}, VALUES, "gate.slices[0].by: class: a regression"),
        ({"slices": [{"by": "side", "margin_points": 3.0}] * 2}, CLASSES, 'gate.slices[1].by: "side" is named twice'),
        ({"agreement_pct": 98.0}, VALUES, "gate.agreement_pct: a regression makes no decisions"),
        ({"calibration_error_points": 1.0}, ANOMALY, "gate.calibration_error_points: task.kind anomaly gives no"),
        ({"robustness": {"corruptions": ["drift"]}}, CLASSES, 'gate.robustness.corruptions[0]: "drift" does not apply'),
    ],
)  # fmt: skip
def test_the_gate_asks_only_what_can_be_answered(settings: dict[str, Any], task: Any, problem: str) -> None:
    (line,) = told(check_closer_gate(gate(**settings), task, DigitsSettings(dataset="digits")))
    assert line.startswith(problem)


def test_what_can_be_answered_is_no_problem() -> None:
    asked = gate(
        slices=[{"by": "class", "margin_points": 3.0}],
        agreement_pct=97.0,
        calibration_error_points=2.0,
        robustness={"corruptions": ["noise", "occlusion"]},
    )
    assert check_closer_gate(asked, CLASSES, DigitsSettings(dataset="digits")) == []
    rows = gate(agreement_pct=97.0, robustness={"corruptions": ["missing_channel"]})
    assert check_closer_gate(rows, ANOMALY, ShuttleSettings(dataset="shuttle")) == []


def test_slices_go_by_what_the_data_carries() -> None:
    asked = gate(slices=[{"by": "sied", "margin_points": 3.0}, {"by": "group", "margin_points": 3.0}])
    assert told(check_slices(asked, ("a", "b"), True, ("side",))) == [
        'gate.slices[0].by: "sied" is nothing that these samples carry. Did you mean "side"?'
    ]
    without = told(check_slices(asked, (), False, ()))
    assert len(without) == 2


@pytest.mark.parametrize(
    ("check", "fits"),
    [
        ("accuracy floor", True),
        ("class b", True),
        ("side left", True),
        ("pays latency", True),
        ("robust to noise", True),
        ("acuracy floor", False),
        ("class c", False),
        ("robust to blur", False),
        ("AUROC floor", False),
    ],
)
def test_a_misspelt_waiver_is_refused_before_anything_is_built(check: str, fits: bool) -> None:
    asked = gate(
        slices=[{"by": "class", "margin_points": 3.0}, {"by": "side", "margin_points": 3.0}],
        robustness={"corruptions": ["noise"]},
    )
    waiver = Waiver(check, "anna", "the line stands still until March")
    problems = check_waivers([waiver], asked, Quality("accuracy"), ("a", "b"))
    assert bool(problems) is not fits
    if check == "acuracy floor":
        assert told(problems) == ['--waive: the gate asks no "acuracy floor". Did you mean "accuracy floor"?']
