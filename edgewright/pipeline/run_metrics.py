"""The figures and settings that people compare variants by: one set of keys for every run, units in the names.

What was not measured is absent, never 0. The table of a build, its summary file and its runs in the registry show the very
same figures, because they all come from here; they have the digits that a measurement has, so that a column of the
registry's page holds them.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from edgewright.measurement import Measurement
from edgewright.pipeline.built import BuiltVariant, TargetBuild
from edgewright.pipeline.model_cost import ModelCost
from edgewright.pipeline.model_engine import ENGINE_OF
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.probability_calibration import expected_calibration_error
from edgewright.pipeline.stages import measure
from edgewright.pipeline.task_settings import AnomalySettings, ClassificationSettings, RegressionSettings

# The tracking server takes no other characters in the name of a metric.
_NOT_IN_A_KEY = re.compile(r"[^\w\-. ]", re.ASCII)
# More digits than any of these figures has, and as many as a column of the tracking server's page shows.
_DIGITS = 6


def metrics_of(built: TargetBuild, name: str, answers: Predictions, reference: Predictions) -> dict[str, float]:
    """The figures of one variant on one target.

    Args:
        built: The target's build.
        name: The variant.
        answers: Its answers on all test samples.
        reference: The reference's.
    """
    variant, quality = built.variants[name], built.quality
    figure, base = (quality.of(each, built.facts.groups) for each in (answers, reference))
    validation = [fold.variants[name].evaluation.validation_pct for fold in built.folds]
    # In the order in which a run's page lists them.
    metrics = {
        f"{quality.key}_pct": figure,
        f"{quality.key}_drop_points": base - figure,
        "size_kib": variant.evaluation.size_bytes / 1024,
        **_latencies(built, name),
        **_answer_metrics(built, answers, reference),
        f"validation_{quality.key}_pct": float(np.mean(validation)),
        "compressed_size_kib": variant.evaluation.compressed_size_bytes / 1024,
        "sparsity_pct": variant.compress.sparsity_pct,
        **_costs("", variant.compress.after),
        **_costs("_before", variant.compress.before),
        "export_parity": variant.compress.parity,
    }
    return _legible(metrics)


def _latencies(built: TargetBuild, name: str) -> dict[str, float]:
    """What was measured here, or by a device since; empty where nothing was."""
    report = built.reports.get(name)
    if built.measured is not None:
        measurements = built.measured.measurements
        return latency_metrics(measurements[name], measurements[built.reference])
    return {} if report is None else latency_metrics(report.measurement, report.reference)


def _legible(metrics: dict[str, float]) -> dict[str, float]:
    """Counts as they are, everything else with the digits that it has: 0.02, not 0.019999999999996."""
    return {
        key: value if float(value).is_integer() else float(f"{value:.{_DIGITS}g}") for key, value in metrics.items()
    }


def _answer_metrics(built: TargetBuild, answers: Predictions, reference: Predictions) -> dict[str, float]:
    """Figures that only some tasks have."""
    task = built.recipe.task
    if isinstance(task, RegressionSettings):
        return {"mean_absolute_error": float(np.abs(answers.predicted - answers.labels).mean())}
    metrics = {"agreement_pct": 100 * float((answers.predicted == reference.predicted).mean())}
    if isinstance(task, AnomalySettings):
        flagged = answers.predicted == 1
        metrics["detected_pct"] = 100 * float(flagged[answers.labels == 1].mean())
        metrics["false_alarm_pct"] = 100 * float(flagged[answers.labels == 0].mean())
        return metrics
    assert isinstance(task, ClassificationSettings)
    metrics["accuracy_pct"] = answers.accuracy_pct
    metrics |= {
        f"recall_pct_{key}": recall
        for key, recall in _keys(class_recall_pct(answers, built.snapshot.class_names)).items()
    }
    if answers.score is not None:
        metrics["calibration_error_points"] = expected_calibration_error(answers)
    return metrics


def class_recall_pct(answers: Predictions, class_names: tuple[str, ...]) -> dict[str, float]:
    """Share of each class's samples that were answered right, in percent; a class without a sample is absent."""
    right, labels = answers.correct, answers.labels
    return {
        name: 100 * float(right[labels == index].mean())
        for index, name in enumerate(class_names)
        if (labels == index).any()
    }


def _keys(by_name: dict[str, float]) -> dict[str, float]:
    """The same figures under names that the tracking server takes, still distinct."""
    keyed: dict[str, float] = {}
    for name, value in by_name.items():
        key = plain = _NOT_IN_A_KEY.sub("_", name)
        count = 1
        while key in keyed:
            count += 1
            key = f"{plain} {count}"
        keyed[key] = value
    return keyed


def _costs(suffix: str, cost: ModelCost) -> dict[str, float]:
    """What a float model costs, before or after pruning; sizes are those of its float32 weights."""
    return {
        f"parameters{suffix}": float(cost.parameters),
        f"macs{suffix}": float(cost.macs),
        f"weights_kib{suffix}": cost.size_bytes / 1024,
        f"compressed_weights_kib{suffix}": cost.compressed_size_bytes / 1024,
    }


def latency_metrics(own: Measurement, reference: Measurement | None) -> dict[str, float]:
    """The figures of a latency measurement, wherever it was made."""
    metrics = {
        "latency_p50_ms": own.latency_p50_ms,
        "latency_p95_ms": own.latency_p95_ms,
        # Bar charts label their bars with two decimals: in milliseconds all small models would be 0.1.
        "latency_p95_us": 1000 * own.latency_p95_ms,
        "latency_p99_ms": own.latency_p99_ms,
        "cpu_p50_ms": own.cpu_p50_ms,
        "load_ms": own.load_ms,
        "throughput_per_s": own.throughput_per_s,
        "peak_memory_mib": own.peak_memory_mib,
    }
    speedup = measure.figures(own, reference, 0.95).speedup
    if speedup is not None:
        metrics["speedup_x"] = speedup.point
    return _legible(metrics)


def settings_of(built: TargetBuild, name: str) -> dict[str, Any]:
    """What was set for one variant on one target, as flat parameters for tracking."""
    recipe, target, variant = built.recipe, built.target, built.variants[name]
    flat: dict[str, Any] = {
        "variant": name,
        "task": recipe.task.kind,
        "architecture": recipe.architecture.name,
        **recipe.architecture.described(),
        "seed": recipe.seed,
        "folds": len(built.folds),
        "epochs": recipe.training.epochs,
        "fine_tune_epochs": recipe.fine_tune_epochs,
        **({"opset": variant.compress.opset} if variant.compress.opset is not None else {}),
        "platform": target.platform,
        "framework": variant.variant.framework,
        "format": variant.variant.format,
        "engine": ENGINE_OF[variant.variant.format],
        "engine_version": variant.evaluation.engine_version,
        "providers_in_use": ",".join(variant.evaluation.providers_in_use),
        "threads": target.threads,
        "prune": _pruning(variant),
        "quantize": "none",
    }
    if variant.quantize:
        flat["quantize"] = _quantization(variant)
        if variant.quantize.audit is not None:
            flat["calibration"] = variant.quantize.method
            flat["calibration_samples"] = variant.quantize.audit.samples
    return flat


def _pruning(built: BuiltVariant) -> str:
    prune = built.variant.prune
    if prune is None:
        return "none"
    return f"{prune.method} {prune.sparsity:g}{' distilled' if prune.distill else ''}"


def _quantization(built: BuiltVariant) -> str:
    assert built.quantize is not None and built.variant.quantize is not None, "only quantized variants have types"
    settings = built.variant.quantize
    method = f"{settings.method} aware" if settings.aware else settings.method
    if settings.method == "float16":
        return method
    return f"{method} {built.quantize.activation_type}/{built.quantize.weight_type}"
