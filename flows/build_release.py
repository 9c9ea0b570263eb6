"""From a recipe to releases: every variant built side by side, judged per target, published. What the flows share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewright.errors import RecipeError
from edgewright.pipeline.answering import quality_for
from edgewright.pipeline.built import Fold, TargetBuild, build_identity, sample_facts
from edgewright.pipeline.closer_rules import check_slices, check_waivers
from edgewright.pipeline.collected import CollectedSamples
from edgewright.pipeline.framework_rules import check_schedules
from edgewright.pipeline.judging import Choice, Decision, choose
from edgewright.pipeline.model_engine import engine_of
from edgewright.pipeline.publishing import ChampionMovedError, Published, device_reports
from edgewright.pipeline.recipe import Recipe, check_recipe
from edgewright.pipeline.signing.publisher import Signing
from edgewright.pipeline.stages.measure import MeasureResult, can_measure
from edgewright.pipeline.stages.pack import Label
from edgewright.pipeline.stages.robustness import RobustnessResult
from edgewright.pipeline.stages.snapshot import SnapshotsResult
from edgewright.pipeline.summarizing import summarize
from edgewright.pipeline.summary import BuildSummary
from edgewright.pipeline.targets import Target, load_targets
from edgewright.pipeline.tracking import Tracking, TrackingServer, baseline, champion, repair
from edgewright.pipeline.waiver import Waiver
from edgewright.pipeline.workspace import Workspace
from flows.holding import PROMOTION_WAIT_S, holding
from flows.variants import build_variants, call, in_fold, submit
from tasks.build_variants import take_snapshot
from tasks.judge_variants import judge_target, measure_latency, stress_variant
from tasks.page import show_summary
from tasks.publish_release import describe_model, draw_report, log_build_report, pack_bundle, publish_target
from tasks.sign_release import attest_release, sign_release

# A promotion by someone else between verdict and promotion means judging once more; three in a row mean something is wrong.
_ATTEMPTS = 3


def build_release(
    workspace: Workspace,
    server: TrackingServer,
    recipe: Recipe,
    targets_file: str,
    *,
    waivers: Sequence[Waiver] = (),
    collection: CollectedSamples | None = None,
    promotes: bool = True,
) -> BuildSummary:
    """Builds all variants of a recipe, judges the best per target, and publishes; call it inside of a flow.

    Args:
        workspace: Where everything is kept.
        server: The registry's server, which may still be starting.
        recipe: What to build.
        targets_file: The targets that the recipe names.
        waivers: Checks that a person lets pass, with the reason.
        collection: Samples that were taken in since; None builds from the recipe's own data alone.
        promotes: Whether what passes becomes champion; otherwise it is candidate.

    Raises:
        EdgewrightError: The recipe breaks a rule, the data is unusable, the reference cannot be built, or the registry
            cannot be reached.
    """
    targets = load_targets(Path(targets_file))
    _refuse(recipe, check_recipe(recipe, targets, targets_file))
    data: SnapshotsResult = call(take_snapshot, workspace, recipe, collection)
    first = data.folds[0]
    _refuse(recipe, check_slices(recipe.gate, first.class_names, first.groups is not None, first.columns))
    _refuse(recipe, check_schedules(recipe, data.folds))
    quality = quality_for(recipe.task, first)
    _refuse(recipe, check_waivers(waivers, recipe.gate, quality, first.class_names))
    folds, missing = build_variants(workspace, recipe, targets, data.folds)
    measured = {name: measure_target(workspace, recipe, name, targets[name], folds[name][0]) for name in folds}
    tracking = server.wait()
    repair(tracking, recipe.model)
    build = build_identity(recipe, targets, folds, measured)
    releases = []
    facts = sample_facts(workspace.store, data.folds)
    for name in folds:
        made = TargetBuild(recipe, build, name, targets[name], folds[name], facts, measured[name])
        releases.append(release_target(workspace, tracking, made, waivers, promotes))
    summary = summarize(workspace.store, tracking.uri, releases, missing)
    drawn = call(draw_report, workspace, summary, releases)
    summary = replace(summary, report=str(call(log_build_report, workspace, tracking, summary, drawn)))
    show_summary(summary, call(describe_model, tracking, recipe, summary))
    return summary


def measure_target(workspace: Workspace, recipe: Recipe, name: str, target: Target, fold: Fold) -> MeasureResult | None:
    """Measures latency where this machine is of the target's kind; nothing else of the build computes meanwhile."""
    if not can_measure(target):
        return None
    models = {variant: (each.model, engine_of(target, each.variant.format)) for variant, each in fold.variants.items()}
    measured: MeasureResult = call(measure_latency, workspace, recipe, fold.snapshot, models, name)
    return measured


def release_target(
    workspace: Workspace, tracking: Tracking, made: TargetBuild, waivers: Sequence[Waiver], promotes: bool
) -> tuple[TargetBuild, Decision, Published]:
    """Judges one target against who is in office, and publishes; judges again when that changed meanwhile."""
    recipe, name = made.recipe, made.target_name
    choices = choose(recipe, made.target, made.folds, made.measured)
    stressed = stress_choices(workspace, made, choices)
    for attempt in range(1, _ATTEMPTS + 1):
        incumbent = champion(tracking, recipe.model, name)
        built = replace(made, reports=device_reports(tracking, recipe.model, name, made.build))
        decision: Decision = call(
            judge_target,
            workspace,
            tracking,
            built,
            choices,
            stressed,
            incumbent,
            baseline(tracking, recipe.model, name),
            waivers,
        )
        packed = {
            variant: call(
                pack_bundle,
                workspace,
                recipe.task,
                built.snapshot,
                built.variants[variant],
                built.target,
                Label(recipe.model, name, variant, built.build),
            )
            for variant in dict.fromkeys([*(each.choice.released for each in decision.tested), built.reference])
        }
        call(attest_release, workspace, built, decision, packed, incumbent)
        try:
            with holding(workspace, f"promotion.{recipe.model}", PROMOTION_WAIT_S):
                published: Published = call(
                    publish_target, workspace, tracking, built, decision, packed, incumbent, promotes
                )
                signing: Signing = call(sign_release, workspace, tracking, recipe.model, name)
        except ChampionMovedError:
            if attempt == _ATTEMPTS:
                raise
            continue
        if signing.note and not signing.is_obeyed:
            published = replace(published, note=f"{published.note}; {signing.note}")
        return built, decision, published
    raise AssertionError("unreachable: the last attempt returns or raises")


def stress_choices(
    workspace: Workspace, made: TargetBuild, choices: Sequence[Choice]
) -> dict[tuple[int, str], RobustnessResult]:
    """Lets what was chosen, and the reference, answer corrupted samples, where the recipe asks for it."""
    settings = made.recipe.gate.robustness
    if settings is None:
        return {}
    asked = {
        (number, variant)
        for choice in choices
        for number, name in enumerate(choice.of_fold)
        for variant in (name, made.reference)
    }
    running = {}
    for number, variant in sorted(asked):
        fold = made.folds[number]
        label = in_fold(fold.snapshot, f"{made.target_name} {variant}")
        running[number, variant] = submit(
            stress_variant, workspace, made.recipe, fold.snapshot, fold.variants[variant], made.target, label
        )
    return {key: future.result() for key, future in running.items()}


def _refuse(recipe: Recipe, problems: Sequence[Any]) -> None:
    if problems:
        raise RecipeError(recipe.model, tuple(problems))
