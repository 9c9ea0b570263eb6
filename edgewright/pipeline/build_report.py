"""Draws up the report of a build: collects from its results what the figures and the page show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.built import Fold, TargetBuild, pooled_answers
from edgewright.pipeline.judging import Decision
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.recipe_tools import tools_of
from edgewright.pipeline.reporting.answers import AnomalyAnswers, Answers, ClassAnswers, ValueAnswers
from edgewright.pipeline.reporting.content import (
    BuildReport,
    Curve,
    DataFacts,
    EpochPoint,
    Fact,
    SplitFacts,
    TargetReport,
    VariantReport,
)
from edgewright.pipeline.run_metrics import class_recall_pct
from edgewright.pipeline.statistics import median_interval
from edgewright.pipeline.summarizing import Release
from edgewright.pipeline.summary import BuildSummary, TargetSummary, VariantSummary
from edgewright.pipeline.task_settings import AnomalySettings, RegressionSettings
from edgewright.pipeline.training.plan import Epoch


def draw_up(store: ArtifactStore, summary: BuildSummary, releases: Sequence[Release]) -> BuildReport:
    """The report of a build.

    Args:
        store: Where predictions and data cards lie.
        summary: The build's summary, whose figures it repeats.
        releases: One per target, in the summary's order.
    """
    first = releases[0][0]
    return BuildReport(
        model=summary.model,
        description=first.recipe.description,
        build=summary.build,
        data_sha256=summary.data_sha256,
        data=_data_facts(store, first.folds),
        task_word=first.recipe.task.kind,
        quality_word=summary.quality,
        targets=tuple(
            _target(store, target, built, decision)
            for target, (built, decision, _) in zip(summary.targets, releases, strict=True)
        ),
        curves=_curves(first),
        missing=summary.missing,
        settings=_settings(first.recipe),
        registry_url=_lasting(summary.tracking_uri),
    )


def _lasting(uri: str) -> str | None:
    """The registry's address, if it will still be there when somebody reads the report: an embedded one's is not."""
    host = urlsplit(uri).hostname
    return uri if uri.startswith("http") and host not in {"127.0.0.1", "localhost", "::1"} else None


def _target(store: ArtifactStore, summary: TargetSummary, built: TargetBuild, decision: Decision) -> TargetReport:
    reference = pooled_answers(store, built.folds, built.of_every_fold(built.reference))
    chosen = pooled_answers(store, built.folds, decision.best.choice.of_fold)
    margins = [each.margin_points for each in built.recipe.gate.slices if each.by == "class"]
    return TargetReport(
        target=summary.target,
        platform=summary.platform,
        measured_here=summary.measured_here,
        chosen=summary.chosen,
        verdict=summary.verdict,
        note=summary.note + _mixture(summary),
        variants=tuple(_variant(store, each, summary, built, decision) for each in summary.variants),
        class_margin_points=margins[0] if margins else None,
        reference_answers=_answers(built, reference, built.reference),
        chosen_answers=_answers(built, chosen, summary.chosen),
    )


def _mixture(summary: TargetSummary) -> str:
    """What the folds chose, where they differ: the verdict is about that mixture."""
    if len(set(summary.of_fold)) < 2:
        return ""
    return f". Judged together: what each fold chose ({', '.join(summary.of_fold)})"


def _variant(
    store: ArtifactStore, variant: VariantSummary, target: TargetSummary, built: TargetBuild, decision: Decision
) -> VariantReport:
    name, metrics = variant.variant, variant.metrics
    is_reference, quantize = name == built.reference, built.variants[name].quantize
    key = built.quality.key
    choices = {each.choice.released: each.choice.of_fold for each in decision.tested}
    classes: Mapping[str, float] = {}
    if built.recipe.task.kind == "classification":
        answers = pooled_answers(store, built.folds, choices.get(name, built.of_every_fold(name)))
        classes = class_recall_pct(answers, built.snapshot.class_names)
    low, high = _latency_bounds(built, name)
    return VariantReport(
        name=name,
        is_reference=is_reference,
        quality_pct=metrics[f"{key}_pct"],
        quality_low_pct=variant.quality_low_pct,
        quality_high_pct=variant.quality_high_pct,
        drop_points=None if is_reference else metrics[f"{key}_drop_points"],
        drop_high_points=variant.drop_high_points,
        latency_p50_ms=metrics.get("latency_p50_ms"),
        latency_p50_low_ms=low,
        latency_p50_high_ms=high,
        latency_p95_ms=metrics.get("latency_p95_ms"),
        speedup=metrics.get("speedup_x"),
        size_kib=metrics["size_kib"],
        compressed_size_kib=metrics["compressed_size_kib"],
        peak_memory_mib=metrics.get("peak_memory_mib"),
        sparsity_pct=metrics["sparsity_pct"],
        provider=variant.provider,
        outcome=variant.outcome,
        calibration=quantize.audit if quantize else None,
        class_pct=classes,
        class_drop_bounds=_class_bounds(target) if name == target.chosen else {},
    )


def _latency_bounds(built: TargetBuild, name: str) -> tuple[float | None, float | None]:
    """Bounds of the median latency over fresh processes."""
    report = built.reports.get(name)
    measurement = built.measured.measurements[name] if built.measured else report.measurement if report else None
    interval = median_interval([each.latency_p50_ms for each in measurement.processes]) if measurement else None
    return (interval.low, interval.high) if interval else (None, None)


def _class_bounds(target: TargetSummary) -> dict[str, tuple[float, float]]:
    """What the gate found of each class, where it asked."""
    prefix = "class "
    return {
        check.name.removeprefix(prefix): (check.low, check.high)
        for check in target.verdict.checks
        if check.name.startswith(prefix) and check.low is not None and check.high is not None
    }


def _answers(built: TargetBuild, answers: Predictions, name: str) -> Answers:
    task = built.recipe.task
    if isinstance(task, RegressionSettings):
        labels, predicted = answers.labels.astype(np.float64), answers.predicted.astype(np.float64)
        return ValueAnswers(labels, predicted, task.quantity, task.unit)
    if isinstance(task, AnomalySettings):
        # With folds every fold has its own threshold; the one that would be released is drawn.
        threshold = built.variants[name].evaluation.threshold
        assert answers.score is not None and threshold is not None, "anomaly evaluations carry scores and a threshold"
        return AnomalyAnswers(answers.score.astype(np.float64), answers.labels == 1, threshold)
    return ClassAnswers.count(built.snapshot.class_names, answers.labels, answers.predicted)


def _curves(built: TargetBuild) -> tuple[Curve, ...]:
    """The base's training, then each fine-tuning once: variants that prune alike share theirs."""
    curves: dict[str, Curve] = {}
    bases = {variant.base.weights.sha256: variant for variant in built.variants.values()}
    for name, variant in built.variants.items():
        base = variant.base
        base_name = "base" if len(bases) == 1 else f"base {variant.variant.framework}"
        curves.setdefault(base.weights.sha256, Curve(base_name, _points(base.history, 0), base.best_epoch))
        tuned = variant.compress.fine_tuning
        if tuned is not None and tuned.weights.sha256 not in curves:
            before = len(base.history)
            curves[tuned.weights.sha256] = Curve(name, _points(tuned.history, before), tuned.best_epoch + before)
    return tuple(curves.values())


def _points(epochs: Sequence[Epoch], before: int) -> tuple[EpochPoint, ...]:
    return tuple(
        EpochPoint(before + each.epoch, each.train_loss, each.validation_loss, each.validation_accuracy_pct)
        for each in epochs
    )


def _data_facts(store: ArtifactStore, folds: Sequence[Fold]) -> DataFacts:
    snapshot = folds[0].snapshot
    card = json.loads(store.read(snapshot.card))
    facts = [
        Fact("source", str(card["source"])),
        Fact("kind of sample", snapshot.kind),
        Fact("shape (channels, height, width)", " x ".join(str(side) for side in snapshot.input_shape)),
    ]
    if snapshot.channel_names:
        facts.append(Fact("channels", ", ".join(snapshot.channel_names)))
    if snapshot.columns:
        facts.append(Fact("columns", ", ".join(snapshot.columns)))
    if len(folds) > 1:
        facts.append(Fact("folds", f"{len(folds)}; the splits shown are the first one's, which is what is released"))
    splits = tuple(
        SplitFacts(
            name,
            split["samples"],
            len(split["per_group"]) if "per_group" in split else None,
            split.get("per_class", {}),
        )
        for name, split in card["splits"].items()
    )
    return DataFacts(card["name"], splits, snapshot.class_names, tuple(facts))


def _settings(recipe: Recipe) -> tuple[Fact, ...]:
    """The whole recipe, flat, and the versions of what built it."""
    facts = [Fact(key, _text(value)) for key, value in _flat("", recipe.model_dump(mode="json"))]
    return (*facts, *(Fact(tool, metadata.version(tool)) for tool in tools_of(recipe)))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for index, inner in enumerate(value):
            yield from _flat(f"{prefix}[{index}]", inner)
    elif value is not None:
        yield prefix, value


def _text(value: Any) -> str:
    return ", ".join(str(inner) for inner in value) if isinstance(value, list) else str(value)
