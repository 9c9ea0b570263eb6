"""Draws up the summary of a build from its results."""

from __future__ import annotations

from collections.abc import Sequence

from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.judging import Decision
from edgewright.pipeline.predictions import Predictions, pair
from edgewright.pipeline.publishing import Published, TargetBuild
from edgewright.pipeline.stages.evaluate import load_predictions
from edgewright.pipeline.statistics import accuracy_interval, drop_interval
from edgewright.pipeline.summary import BuildSummary, MissingVariant, TargetSummary, VariantSummary
from edgewright.pipeline.verdict import Outcome

Release = tuple[TargetBuild, Decision, Published]
_CONFIDENCE = 0.95


def summarize(
    store: ArtifactStore, tracking_uri: str, releases: Sequence[Release], missing: tuple[MissingVariant, ...]
) -> BuildSummary:
    """The summary of a build.

    Args:
        store: Where predictions lie.
        tracking_uri: Where the runs are.
        releases: One per target, at least one.
        missing: Variants that could not be built.
    """
    first = releases[0][0]
    return BuildSummary(
        model=first.recipe.model,
        build=first.build,
        data_sha256=first.snapshot.sha256,
        samples=dict(first.snapshot.samples),
        tracking_uri=tracking_uri,
        targets=tuple(_target(store, *release) for release in releases),
        missing=missing,
    )


def _target(store: ArtifactStore, built: TargetBuild, decision: Decision, published: Published) -> TargetSummary:
    outcomes = {verdict.variant: verdict.outcome for verdict in decision.tested}
    reference = load_predictions(store, built.variants[built.recipe.reference.name].evaluation.test)
    return TargetSummary(
        target=built.target_name,
        platform=built.target.platform,
        measured_here=built.measured is not None,
        chosen=decision.chosen,
        outcome=decision.verdict.outcome,
        verdict=decision.verdict,
        version=published.version,
        bundle_sha256=published.bundle_sha256,
        champion=published.champion,
        note=published.note,
        variants=tuple(
            _variant(store, built, name, reference, published.run_ids[name], outcomes.get(name))
            for name in built.variants
        ),
    )


def _variant(
    store: ArtifactStore,
    built: TargetBuild,
    name: str,
    reference: Predictions,
    run_id: str,
    outcome: Outcome | None,
) -> VariantSummary:
    variant = built.variants[name]
    answers = load_predictions(store, variant.evaluation.test)
    accuracy = accuracy_interval(int(answers.correct.sum()), len(answers), _CONFIDENCE)
    drop_high, margin = None, built.recipe.gate.margin_points / 100
    if not variant.variant.is_reference:
        drop_high = 100 * drop_interval(pair(answers, reference, "reference"), _CONFIDENCE, margin).high
    return VariantSummary(
        variant=name,
        run_id=run_id,
        metrics=built.metrics(name),
        accuracy_low_pct=100 * accuracy.low,
        accuracy_high_pct=100 * accuracy.high,
        drop_high_points=drop_high,
        provider=", ".join(variant.evaluation.providers_in_use),
        outcome=outcome,
    )
