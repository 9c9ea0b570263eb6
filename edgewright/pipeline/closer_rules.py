"""Rules of a recipe's closer questions: which ways to fewer bits suit which network, and what a gate can ask of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgewright.errors import Problem
from edgewright.pipeline.broken_rule import did_you_mean, show_value
from edgewright.pipeline.data_rules import kind_of
from edgewright.pipeline.robustness_settings import check_robustness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgewright.pipeline.architecture import ArchitectureSettings
    from edgewright.pipeline.data_settings import DataSettings
    from edgewright.pipeline.quality import Quality
    from edgewright.pipeline.recipe import GateSettings
    from edgewright.pipeline.task_settings import TaskSettings
    from edgewright.pipeline.variant_settings import ModelFormat, QuantizeSettings
    from edgewright.pipeline.waiver import Waiver

# Networks whose work is convolutions: of their matrix products nothing is left but the last layer.
_CONVOLUTIONAL = ("resnet8", "mobilenet_v1", "ds_cnn")
# What only makes sense where ranges are calibrated.
_OF_CALIBRATION = ("calibration", "percentile")


def check_quantization(
    index: int, quantize: QuantizeSettings, model_format: ModelFormat, architecture: ArchitectureSettings | None
) -> list[Problem]:
    """Whether the settings of one variant's quantization go together, and with the network."""
    key, problems = f"variants[{index}].quantize", []

    def changed(name: str) -> bool:
        return bool(getattr(quantize, name) != type(quantize).model_fields[name].get_default())

    if quantize.method != "static":
        unused = (*_OF_CALIBRATION, *(("per_channel",) if quantize.method == "float16" else ()))
        problems += [
            Problem(f"{key}.{name}", f"is not used by method: {quantize.method}. Remove it, or set method: static.")
            for name in unused
            if changed(name)
        ]
    elif quantize.aware:
        message = "is not used with aware: training with rounding learns the ranges. Remove it, or remove aware."
        return [Problem(f"{key}.{name}", message) for name in _OF_CALIBRATION if changed(name)]
    if quantize.method == "dynamic" and model_format == "tflite" and changed("per_channel"):
        message = (
            "false: TFLite's converter gives dynamic INT8 one scale per channel. Remove it, or set method: static."
        )
        problems.append(Problem(f"{key}.per_channel", message))
    methods = quantize.calibration
    if len(set(methods)) != len(methods):
        message = f"[{', '.join(methods)}] names a method twice. Name each once."
        problems.append(Problem(f"{key}.calibration", message))
    if quantize.method == "static" and "percentile" not in methods and changed("percentile"):
        message = "is only used with calibration: percentile. Remove it, or add that method."
        problems.append(Problem(f"{key}.percentile", message))
    if model_format == "tflite" and changed("calibration") and methods != ["minmax"]:
        message = f"[{', '.join(methods)}]: TFLite's converter knows minmax alone. Name that, or leave it out."
        problems.append(Problem(f"{key}.calibration", message))
    dynamic_onnx = quantize.method == "dynamic" and model_format == "onnx"
    if dynamic_onnx and architecture and architecture.name in _CONVOLUTIONAL:
        message = (
            f"dynamic INT8 works on matrix products, and the work of {architecture.name} is convolutions: all but its last "
            "layer would stay in float. Set method: static, or choose another architecture."
        )
        problems.append(Problem(f"{key}.method", message))
    return problems


def check_closer_gate(gate: GateSettings, task: TaskSettings | None, data: DataSettings | None) -> list[Problem]:
    """Whether the gate asks only what the task and the data can answer."""
    problems = []
    for index, part in enumerate(gate.slices):
        if any(part.by == other.by for other in gate.slices[:index]):
            problems.append(Problem(f"gate.slices[{index}].by", f"{show_value(part.by)} is named twice. Keep one."))
        if part.by == "class" and task and task.kind == "regression":
            message = "class: a regression has no classes. Name group or a column, or remove it."
            problems.append(Problem(f"gate.slices[{index}].by", message))
    if gate.agreement_pct is not None and task and task.kind == "regression":
        message = "a regression makes no decisions that could agree. Remove it."
        problems.append(Problem("gate.agreement_pct", message))
    if gate.calibration_error_points is not None and task and task.kind != "classification":
        message = f"task.kind {task.kind} gives no probabilities. Remove it."
        problems.append(Problem("gate.calibration_error_points", message))
    if gate.robustness and data:
        problems += [
            Problem(f"gate.robustness.{problem.key}", problem.message)
            for problem in check_robustness(gate.robustness, kind_of(data))
        ]
    return problems


def check_waivers(
    waivers: Sequence[Waiver], gate: GateSettings, quality: Quality, class_names: tuple[str, ...]
) -> list[Problem]:
    """Whether every waiver is for a check that this gate asks, as far as that is known before anything runs."""
    asked = [
        *(f"{quality.word} against {other}" for other in ("reference", "champion", "baseline")),
        f"{quality.word} against champion, earlier test samples",
        f"{quality.word} floor",
        *(f"class {name}" for part in gate.slices if part.by == "class" for name in class_names),
        "agreement with reference",
        "probability calibration",
        *(f"robust to {name}" for name in (gate.robustness.corruptions if gate.robustness else ())),
        *("latency budget", "size budget", "memory budget", "pays latency", "pays size", "provider"),
    ]
    # What values a group or a column has, only the test samples say.
    open_ended = tuple(f"{part.by} " for part in gate.slices if part.by != "class")
    return [
        Problem("--waive", f"the gate asks no {show_value(each.check)}. {did_you_mean(each.check, asked)}")
        for each in waivers
        if each.check not in asked and not each.check.startswith(open_ended)
    ]


def check_slices(
    gate: GateSettings, class_names: tuple[str, ...], has_groups: bool, columns: tuple[str, ...]
) -> list[Problem]:
    """Whether the data carries what the gate is to slice by."""
    known = [*(["class"] if class_names else []), *(["group"] if has_groups else []), *columns]
    return [
        Problem(
            f"gate.slices[{index}].by",
            f"{show_value(part.by)} is nothing that these samples carry. {did_you_mean(part.by, known)}",
        )
        for index, part in enumerate(gate.slices)
        if part.by not in known
    ]
