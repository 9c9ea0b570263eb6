"""Draws up the summary of a build from its results."""

from __future__ import annotations

from collections.abc import Sequence

from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.built import TargetBuild, pooled_answers, samples_of
from edgewright.pipeline.judging import Decision
from edgewright.pipeline.paired_quality import Drop, Level, drop_bounds, level_bounds
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.publishing import Published
from edgewright.pipeline.run_metrics import metrics_of
from edgewright.pipeline.summary import BuildSummary, MissingVariant, TargetSummary, VariantSummary
from edgewright.pipeline.verdict import Outcome

Release = tuple[TargetBuild, Decision, Published]
_CONFIDENCE = 0.95
# Both bounds of an interval that holds with 95 %.
_EACH_OF_TWO = 0.975


def summarize(
    store: ArtifactStore,
    tracking_uri: str,
    releases: Sequence[Release],
    missing: tuple[MissingVariant, ...],
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
        quality=first.quality.word,
        quality_key=first.quality.key,
        data_sha256=first.data_sha256,
        samples=samples_of([fold.snapshot for fold in first.folds]),
        tracking_uri=tracking_uri,
        targets=tuple(_target(store, *release) for release in releases),
        missing=missing,
    )


def _target(store: ArtifactStore, built: TargetBuild, decision: Decision, published: Published) -> TargetSummary:
    tested = {each.choice.released: each for each in decision.tested}
    reference = pooled_answers(store, built.folds, built.of_every_fold(built.reference))
    variants = []
    for name in built.variants:
        judged = tested.get(name)
        answers = pooled_answers(store, built.folds, judged.choice.of_fold if judged else built.of_every_fold(name))
        outcome = judged.verdict.outcome if judged else None
        variants.append(_variant(built, name, answers, reference, published.run_ids[name], outcome))
    return TargetSummary(
        target=built.target_name,
        platform=built.target.platform,
        measured_here=built.measured is not None,
        reference=built.reference,
        chosen=decision.chosen,
        of_fold=decision.best.choice.of_fold,
        outcome=decision.verdict.outcome,
        verdict=decision.verdict,
        version=published.version,
        bundle_sha256=published.bundle_sha256,
        champion=published.champion,
        note=published.note,
        variants=tuple(variants),
    )


def _variant(
    built: TargetBuild,
    name: str,
    answers: Predictions,
    reference: Predictions,
    run_id: str,
    outcome: Outcome | None,
) -> VariantSummary:
    gate = built.recipe.gate
    level = level_bounds(built.quality, answers, built.facts.groups, gate.floor_pct, _EACH_OF_TWO)
    drop = None
    if name != built.reference:
        drop = drop_bounds(built.quality, answers, reference, built.facts.groups, gate.margin_points, _CONFIDENCE)
    return VariantSummary(
        variant=name,
        run_id=run_id,
        metrics=metrics_of(built, name, answers, reference),
        quality_low_pct=level.low if isinstance(level, Level) else None,
        quality_high_pct=level.high if isinstance(level, Level) else None,
        drop_high_points=drop.high if isinstance(drop, Drop) else None,
        provider=", ".join(built.variants[name].evaluation.providers_in_use),
        outcome=outcome,
    )
