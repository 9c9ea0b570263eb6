"""From a recipe to releases: every variant built side by side, judged per target, published."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from edgewright.errors import EdgewrightError, RecipeError
from edgewright.pipeline.judging import BuiltVariant, Decision, build_identity
from edgewright.pipeline.publishing import ChampionMovedError, Published, TargetBuild, device_reports
from edgewright.pipeline.recipe import PruneSettings, Recipe, check_recipe
from edgewright.pipeline.stages.measure import MeasureResult, can_measure
from edgewright.pipeline.stages.pack import Label
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.stages.train import TrainResult
from edgewright.pipeline.summarizing import summarize
from edgewright.pipeline.summary import BuildSummary, MissingVariant
from edgewright.pipeline.targets import IntegerType, Target, load_targets
from edgewright.pipeline.tracking import Tracking, TrackingServer, baseline, champion, repair
from edgewright.pipeline.workspace import Workspace, open_workspace
from tasks.build_variants import compress_variant, quantize_variant, take_snapshot, train_base
from tasks.judge_variants import evaluate_variant, judge_target, measure_latency
from tasks.page import show_summary
from tasks.publish_release import pack_bundle, publish_target

TARGETS_FILE = "deployments/targets.yaml"
# A promotion by someone else between verdict and promotion means judging once more; three in a row mean something is wrong.
_ATTEMPTS = 3
# Tasks mostly wait for each other; how many compute at once is settled in tasks.stage.
_TASK_RUNNER: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=64)


@flow(
    name="release-model",
    flow_run_name="release-{recipe.model}",
    task_runner=_TASK_RUNNER,
    persist_result=False,
)
def release_model(recipe: Recipe, targets_file: str = TARGETS_FILE) -> BuildSummary:
    """Builds all variants of a recipe, judges the best per target, and releases what passes.

    Args:
        recipe: What to build.
        targets_file: The targets that the recipe names.

    Raises:
        EdgewrightError: The recipe breaks a rule, the data is unusable, the reference cannot be built, or the registry
            cannot be reached.
    """
    targets = load_targets(Path(targets_file))
    problems = check_recipe(recipe, targets, targets_file)
    if problems:
        raise RecipeError(recipe.model, tuple(problems))
    workspace = open_workspace()
    with TrackingServer(workspace.home) as server:
        data: SnapshotResult = _call(take_snapshot, workspace, recipe)
        base: TrainResult = _call(train_base, workspace, recipe, data)
        built, missing = build_variants(workspace, recipe, targets, data, base)
        measured = {
            name: measure_target(workspace, recipe, data, name, targets[name], built[name]) for name in recipe.targets
        }
        tracking = server.wait()
        repair(tracking, recipe.model)
        build = build_identity(recipe, targets, built, measured)
        releases = []
        for name in recipe.targets:
            target_build = TargetBuild(recipe, build, data, base, name, targets[name], built[name], measured[name])
            releases.append(release_target(workspace, tracking, target_build))
        summary = summarize(workspace.store, tracking.uri, releases, missing)
        show_summary(summary)
        return summary


def build_variants(
    workspace: Workspace, recipe: Recipe, targets: Mapping[str, Target], data: SnapshotResult, base: TrainResult
) -> tuple[dict[str, dict[str, BuiltVariant]], tuple[MissingVariant, ...]]:
    """Builds and evaluates every variant for every target, side by side.

    Variants that prune alike share one float model; targets that ask for the same integer types share one INT8 file.

    Returns:
        Built variants by target and name, and those that could not be built.

    Raises:
        EdgewrightError: The reference cannot be built, or nothing but the reference.
    """
    floats: dict[str, PrefectFuture[Any]] = {}
    for variant in sorted(recipe.variants, key=lambda each: each.quantize is not None):
        if _float_key(variant.prune) not in floats:
            floats[_float_key(variant.prune)] = _submit(
                compress_variant, workspace, recipe, data, base, variant.prune, variant.name
            )
    quantized: dict[tuple[str, IntegerType, IntegerType], PrefectFuture[Any]] = {}
    evaluated: dict[tuple[str, str], PrefectFuture[Any]] = {}
    for target_name in recipe.targets:
        target = targets[target_name]
        for variant in recipe.variants:
            made = floats[_float_key(variant.prune)]
            if variant.quantize:
                key = (variant.name, target.activation_type, target.weight_type)
                if key not in quantized:
                    quantized[key] = _submit(
                        quantize_variant,
                        workspace,
                        data,
                        made,
                        variant.quantize,
                        recipe.data.calibration_samples,
                        key[1:],
                        f"{variant.name} {target.activation_type}",
                    )
                made = quantized[key]
            evaluated[target_name, variant.name] = _submit(
                evaluate_variant, workspace, data, made, target, f"{target_name} {variant.name}"
            )
    built: dict[str, dict[str, BuiltVariant]] = {name: {} for name in recipe.targets}
    failures: dict[str, str] = {}
    for (target_name, name), future in evaluated.items():
        variant = next(each for each in recipe.variants if each.name == name)
        target = targets[target_name]
        int8 = quantized.get((name, target.activation_type, target.weight_type)) if variant.quantize else None
        steps = [floats[_float_key(variant.prune)], *([int8] if int8 else []), future]
        results, error = _results(steps)
        if error is None:
            model = results[-2].model
            built[target_name][name] = BuiltVariant(
                variant, model, results[0], results[1] if int8 else None, results[-1]
            )
        elif variant.is_reference or not isinstance(error, EdgewrightError):
            raise error
        else:
            failures.setdefault(name, str(error))
    for variants in built.values():
        for name in failures:
            variants.pop(name, None)  # a variant that is missing on one target is not compared on another
    if failures and len(failures) == len(recipe.variants) - 1:
        raise EdgewrightError(f"no variant but the reference could be built: {'; '.join(failures.values())}")
    return built, tuple(MissingVariant(name, error) for name, error in failures.items())


def measure_target(
    workspace: Workspace,
    recipe: Recipe,
    data: SnapshotResult,
    name: str,
    target: Target,
    built: Mapping[str, BuiltVariant],
) -> MeasureResult | None:
    """Measures latency where this machine is of the target's kind; nothing else of the build computes meanwhile."""
    if not can_measure(target):
        return None
    models = {variant: each.model for variant, each in built.items()}
    measured: MeasureResult = _call(measure_latency, workspace, recipe, data, models, target, name)
    return measured


def release_target(
    workspace: Workspace, tracking: Tracking, made: TargetBuild
) -> tuple[TargetBuild, Decision, Published]:
    """Judges one target against who is in office, and publishes; judges again when that changed meanwhile."""
    recipe, name, target = made.recipe, made.target_name, made.target
    for attempt in range(1, _ATTEMPTS + 1):
        incumbent = champion(tracking, recipe.model, name)
        built = replace(made, reports=device_reports(tracking, recipe.model, name, made.build))
        decision: Decision = _call(
            judge_target,
            workspace,
            tracking,
            recipe,
            built.snapshot,
            name,
            target,
            built.variants,
            built.measured,
            built.reports,
            incumbent,
            baseline(tracking, recipe.model, name),
        )
        packed = {
            variant: _call(
                pack_bundle,
                workspace,
                built.snapshot,
                built.variants[variant].model,
                target,
                Label(recipe.model, name, variant, built.build),
            )
            for variant in dict.fromkeys([*(verdict.variant for verdict in decision.tested), recipe.reference.name])
        }
        try:
            published: Published = _call(publish_target, workspace, tracking, built, decision, packed, incumbent)
        except ChampionMovedError:
            if attempt == _ATTEMPTS:
                raise
            continue
        return built, decision, published
    raise AssertionError("unreachable: the last attempt returns or raises")


def _submit(task: Any, *arguments: Any) -> PrefectFuture[Any]:
    """Submits a task whose arguments may be other tasks' futures, which its signature does not say."""
    future: PrefectFuture[Any] = task.submit(*arguments)
    return future


def _call(task: Any, *arguments: Any) -> Any:
    """Runs a task and waits for its value: called directly, a task that ends as ``Unchanged`` gives its state instead."""
    return _submit(task, *arguments).result()


def _results(steps: Sequence[PrefectFuture[Any]]) -> tuple[list[Any], Exception | None]:
    """What a chain of tasks made, up to the first that failed: those after it never ran and have no result to ask for."""
    results: list[Any] = []
    for step in steps:
        result = step.result(raise_on_failure=False)
        if isinstance(result, Exception):
            return results, result
        results.append(result)
    return results, None


def _float_key(prune: PruneSettings | None) -> str:
    return json.dumps(prune.model_dump(mode="json") if prune else None)
