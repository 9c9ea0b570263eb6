"""From built variants to a verdict: which variant of a target is chosen, and what the gate says about it.

The figures that people see (tables, tracking, summary file) and the evidence that the gate looks at are made here, once,
from the same results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgewright.bench_report import BenchReport
from edgewright.measurement import Measurement
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore
from edgewright.pipeline.evidence import Budgets, Evidence, GateLimits, Measured, NoneYet, Unavailable
from edgewright.pipeline.gate import judge
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.recipe import GateSettings, Recipe, Variant
from edgewright.pipeline.selection import Contender, rank
from edgewright.pipeline.stages import measure
from edgewright.pipeline.stages.compress import CompressResult, Cost
from edgewright.pipeline.stages.evaluate import EvaluationResult, load_predictions
from edgewright.pipeline.stages.measure import MeasureResult
from edgewright.pipeline.stages.quantize import QuantizeResult
from edgewright.pipeline.targets import Target
from edgewright.pipeline.verdict import Verdict

Incumbent = Predictions | NoneYet | Unavailable


@dataclass(frozen=True)
class BuiltVariant:
    """One variant, built and evaluated for one target.

    Attributes:
        variant: What was asked for.
        model: The model file.
        compress: The float model behind it.
        quantize: The INT8 step; None where there was none.
        evaluation: What it answers on the target's engine.
    """

    variant: Variant
    model: Artifact
    compress: CompressResult
    quantize: QuantizeResult | None
    evaluation: EvaluationResult


@dataclass(frozen=True)
class Decision:
    """What was decided for one target.

    Attributes:
        chosen: Name of the variant that is released.
        verdict: The gate's verdict on it.
        tested: Verdicts on all variants that were put to the gate, in order of preference.
    """

    chosen: str
    verdict: Verdict
    tested: tuple[Verdict, ...]


def build_identity(
    recipe: Recipe,
    targets: Mapping[str, Target],
    built: Mapping[str, Mapping[str, BuiltVariant]],
    measured: Mapping[str, MeasureResult | None],
) -> str:
    """The identity of a build: 12 hexadecimal digits over its recipe, its targets and all that came out.

    Figures count as much as models: the runs of a build are logged once, so what was measured anew (on another machine,
    with another version of the engine) is another build, or its runs would show figures that its verdict never saw.

    Args:
        recipe: What was built.
        targets: The targets it was built for.
        built: By target and name, the variants.
        measured: By target, its latency measurements; None where there are none.
    """
    content = {
        "recipe": recipe.model_dump(mode="json"),
        "targets": {name: targets[name].model_dump(mode="json") for name in recipe.targets},
        "variants": {
            name: {variant: [each.model.sha256, each.evaluation.test.sha256] for variant, each in variants.items()}
            for name, variants in built.items()
        },
        "measured": {
            name: {variant: each.to_json() for variant, each in result.measurements.items()}
            for name, result in measured.items()
            if result is not None
        },
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def metrics_of(
    built: BuiltVariant, reference: BuiltVariant, measured: MeasureResult | None, report: BenchReport | None = None
) -> dict[str, float]:
    """The figures of one variant on one target; what was measured neither here nor on a device is absent."""
    evaluation = built.evaluation
    metrics = {
        "accuracy_pct": evaluation.accuracy_pct,
        "accuracy_drop_points": reference.evaluation.accuracy_pct - evaluation.accuracy_pct,
        "validation_accuracy_pct": evaluation.validation_accuracy_pct,
        "size_kib": evaluation.size_bytes / 1024,
        "compressed_size_kib": evaluation.compressed_size_bytes / 1024,
        "sparsity_pct": built.compress.sparsity_pct,
        **_costs("", built.compress.after),
        **_costs("_before", built.compress.before),
        "export_parity": built.compress.parity,
        **{f"recall_pct_{name}": recall for name, recall in evaluation.recall_pct.items()},
    }
    if measured is not None:
        own, base = measured.measurements[built.variant.name], measured.measurements[reference.variant.name]
        metrics |= latency_metrics(own, base)
    elif report is not None:
        metrics |= latency_metrics(report.measurement, report.reference)
    return metrics


def _costs(suffix: str, cost: Cost) -> dict[str, float]:
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
        "latency_p99_ms": own.latency_p99_ms,
        "cpu_p50_ms": own.cpu_p50_ms,
        "load_ms": own.load_ms,
        "throughput_per_s": own.throughput_per_s,
        "peak_memory_mib": own.peak_memory_mib,
    }
    speedup = measure.figures(own, reference, 0.95).speedup
    if speedup is not None:
        metrics["speedup_x"] = speedup.point
    return metrics


def gate_limits(settings: GateSettings) -> GateLimits:
    """The recipe's limits as the gate takes them."""
    return GateLimits(
        accuracy_floor_pct=settings.accuracy_floor_pct,
        margin_points=settings.margin_points,
        confidence=settings.confidence,
        candidates=settings.candidates,
    )


def gate_budgets(target: Target) -> Budgets:
    """The target's budgets as the gate takes them."""
    budgets = target.budgets
    return Budgets(
        latency_p95_ms=budgets.latency_p95_ms, size_kib=budgets.size_kib, peak_memory_mib=budgets.peak_memory_mib
    )


def decide(
    store: ArtifactStore,
    recipe: Recipe,
    target_name: str,
    target: Target,
    variants: Mapping[str, BuiltVariant],
    measured: MeasureResult | None,
    reports: Mapping[str, BenchReport],
    champion: Incumbent,
    baseline: Incumbent,
) -> Decision:
    """Chooses on validation figures, then lets the gate judge the choice on test samples.

    Args:
        store: Where predictions lie.
        recipe: What was built.
        target_name: Name of the target.
        target: The target.
        variants: What was built for it, the reference among them.
        measured: Latency measurements; None where the target is not this machine.
        reports: What devices measured of this build's variants, by variant; counts where ``measured`` is None.
        champion: The champion's answers on the same test samples.
        baseline: The pinned baseline's.
    """
    reference = variants[recipe.reference.name]
    ranked = rank(
        [_contender(built, reference, measured) for built in variants.values()],
        recipe.objective.minimize,
        recipe.objective.max_validation_drop_points,
    )
    limits = gate_limits(recipe.gate)
    reference_predictions = load_predictions(store, reference.evaluation.test)
    tested = []
    for name in ranked[: recipe.gate.candidates]:
        evidence = Evidence(
            candidate=load_predictions(store, variants[name].evaluation.test),
            reference=reference_predictions,
            champion=champion,
            baseline=baseline,
            measured=_measured(
                variants[name], reference, measured, reports.get(name), target, limits.confidence_of_each
            ),
        )
        tested.append(
            judge(
                evidence,
                limits,
                gate_budgets(target),
                frozenset(target.pays),
                model=recipe.model,
                target=target_name,
                variant=name,
            )
        )
    best = min(tested, key=lambda verdict: ("pass", "not_measurable", "fail").index(verdict.outcome))
    return Decision(best.variant, best, tuple(tested))


def _contender(built: BuiltVariant, reference: BuiltVariant, measured: MeasureResult | None) -> Contender:
    name = built.variant.name
    return Contender(
        variant=name,
        is_reference=built.variant.is_reference,
        validation_drop_points=reference.evaluation.validation_accuracy_pct - built.evaluation.validation_accuracy_pct,
        size_bytes=built.evaluation.size_bytes,
        latency_p50_ms=measured.measurements[name].latency_p50_ms if measured else None,
    )


def _measured(
    built: BuiltVariant,
    reference: BuiltVariant,
    measured: MeasureResult | None,
    report: BenchReport | None,
    target: Target,
    confidence: float,
) -> Measured:
    figures, providers = measure.NOT_MEASURED, built.evaluation.providers_in_use
    if measured is not None:
        own = measured.measurements[built.variant.name]
        figures = measure.figures(own, measured.measurements[reference.variant.name], confidence)
        providers = own.providers_in_use
    elif report is not None:
        figures = measure.figures(report.measurement, report.reference, confidence)
        providers = report.measurement.providers_in_use
    return Measured(
        size_kib=built.evaluation.size_bytes / 1024,
        reference_size_kib=reference.evaluation.size_bytes / 1024,
        latency_p95_ms=figures.latency_p95_ms,
        speedup=figures.speedup,
        peak_memory_mib=figures.peak_memory_mib,
        providers_in_use=providers,
        required_provider=target.required_provider,
        is_reference=built.variant.is_reference,
    )


def settings_of(recipe: Recipe, built: BuiltVariant, target: Target) -> dict[str, Any]:
    """What was set for one variant on one target, as flat parameters for tracking."""
    flat: dict[str, Any] = {
        "variant": built.variant.name,
        "architecture": recipe.architecture.name,
        **recipe.architecture.described(),
        "seed": recipe.seed,
        "epochs": recipe.training.epochs,
        "fine_tune_epochs": recipe.fine_tune_epochs,
        "opset": built.compress.opset,
        "platform": target.platform,
        "engine": target.engine,
        "engine_version": built.evaluation.engine_version,
        "providers_in_use": ",".join(built.evaluation.providers_in_use),
        "threads": target.threads,
        "prune": f"channels {built.variant.prune.sparsity:g}" if built.variant.prune else "none",
        "quantize": "none",
    }
    if built.quantize:
        flat["quantize"] = f"{built.quantize.activation_type}/{built.quantize.weight_type}"
        flat["calibration"] = built.quantize.method
        flat["calibration_samples"] = len(built.quantize.calibration_sha256)
    return flat
