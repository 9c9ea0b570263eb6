"""Builds every variant of a recipe, for every target and fold, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect.futures import PrefectFuture

from edgewright.errors import DiskFullError, EdgewrightError
from edgewright.pipeline.built import BuiltVariant, Fold
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.summary import MissingVariant
from edgewright.pipeline.targets import IntegerType, Target
from edgewright.pipeline.variant_settings import PruneSettings, Variant
from edgewright.pipeline.workspace import Workspace
from tasks.build_variants import compress_variant, quantize_variant, train_base
from tasks.judge_variants import evaluate_variant

# Variant, activation type, weight type.
_QuantizedKey = tuple[str, IntegerType, IntegerType]


@dataclass(frozen=True)
class _FoldWork:
    """What was submitted for one fold.

    Attributes:
        data: Its data.
        base: The base model's training.
        floats: Float models, by the way they are pruned.
        quantized: Quantized models.
        evaluated: Evaluations, by target and variant.
    """

    data: SnapshotResult
    base: PrefectFuture[Any]
    floats: dict[str, PrefectFuture[Any]]
    quantized: dict[_QuantizedKey, PrefectFuture[Any]]
    evaluated: dict[tuple[str, str], PrefectFuture[Any]]


def build_variants(
    workspace: Workspace, recipe: Recipe, targets: Mapping[str, Target], folds: Sequence[SnapshotResult]
) -> tuple[dict[str, tuple[Fold, ...]], tuple[MissingVariant, ...]]:
    """Builds and evaluates every variant for every target and fold.

    Variants that prune alike share one float model; targets that ask for the same integer types share one INT8 file.

    Returns:
        The folds of each target, and the variants that could not be built.

    Raises:
        EdgewrightError: The reference cannot be built, or nothing but the reference.
    """
    work = [_submit_fold(workspace, recipe, targets, data) for data in folds]
    built: dict[str, list[dict[str, BuiltVariant]]] = {name: [{} for _ in work] for name in recipe.targets}
    failures: dict[str, str] = {}
    for number, each in enumerate(work):
        for target_name, name in each.evaluated:
            variant = next(variant for variant in recipe.variants if variant.name == name)
            made = _collect(each, variant, target_name, targets[target_name])
            if isinstance(made, BuiltVariant):
                built[target_name][number][name] = made
            elif variant.is_reference or isinstance(made, DiskFullError) or not isinstance(made, EdgewrightError):
                raise made
            else:
                failures.setdefault(name, str(made))
    if failures and len(failures) == len(recipe.variants) - 1:
        raise EdgewrightError(f"no variant but the reference could be built: {'; '.join(failures.values())}")
    bases = [each.base.result() for each in work]
    return {
        target_name: tuple(
            # A variant that is missing somewhere is not compared anywhere.
            Fold(data, base, {name: made for name, made in of_fold.items() if name not in failures})
            for data, base, of_fold in zip(folds, bases, of_target, strict=True)
        )
        for target_name, of_target in built.items()
    }, tuple(MissingVariant(name, error) for name, error in failures.items())


def submit(task: Any, *arguments: Any) -> PrefectFuture[Any]:
    """Submits a task whose arguments may be other tasks' futures, which its signature does not say."""
    future: PrefectFuture[Any] = task.submit(*arguments)
    return future


def call(task: Any, *arguments: Any) -> Any:
    """Runs a task and waits for its value: called directly, a task that ends as ``Unchanged`` gives its state instead."""
    return submit(task, *arguments).result()


def in_fold(data: SnapshotResult, work: str) -> str:
    """What people see a piece of work called: with the number of its fold, where there are folds."""
    return work if data.fold is None else f"fold {data.fold + 1} {work}"


def _submit_fold(
    workspace: Workspace, recipe: Recipe, targets: Mapping[str, Target], data: SnapshotResult
) -> _FoldWork:
    base = submit(train_base, workspace, recipe, data, in_fold(data, "base"))
    work = _FoldWork(data, base, {}, {}, {})
    for variant in sorted(recipe.variants, key=lambda each: each.quantize is not None):
        if _float_key(variant.prune) not in work.floats:
            work.floats[_float_key(variant.prune)] = submit(
                compress_variant, workspace, recipe, data, base, variant.prune, in_fold(data, variant.name)
            )
    for target_name in recipe.targets:
        for variant in recipe.variants:
            made = _submit_model(workspace, recipe, work, variant, targets[target_name])
            label = in_fold(data, f"{target_name} {variant.name}")
            work.evaluated[target_name, variant.name] = submit(
                evaluate_variant, workspace, recipe.task, data, made, targets[target_name], label
            )
    return work


def _submit_model(
    workspace: Workspace, recipe: Recipe, work: _FoldWork, variant: Variant, target: Target
) -> PrefectFuture[Any]:
    made = work.floats[_float_key(variant.prune)]
    key = _quantized_key(variant, target)
    if key is None:
        return made
    if key not in work.quantized:
        assert variant.quantize is not None, "only variants with fewer bits have a key"
        types = "" if variant.quantize.method == "float16" else f" {target.activation_type}"
        label = in_fold(work.data, f"{variant.name}{types}")
        work.quantized[key] = submit(
            quantize_variant, workspace, recipe, work.data, made, variant.quantize, key[1:], label
        )
    return work.quantized[key]


def _collect(work: _FoldWork, variant: Variant, target_name: str, target: Target) -> BuiltVariant | Exception:
    key = _quantized_key(variant, target)
    quantized = [work.quantized[key]] if key else []
    steps = [work.base, work.floats[_float_key(variant.prune)], *quantized, work.evaluated[target_name, variant.name]]
    results: list[Any] = []
    for step in steps:
        # Those after one that failed never ran and have no result to ask for.
        result = step.result(raise_on_failure=False)
        if isinstance(result, Exception):
            return result
        results.append(result)
    return BuiltVariant(variant, results[-2].model, results[1], results[2] if key else None, results[-1])


def _float_key(prune: PruneSettings | None) -> str:
    return json.dumps(prune.model_dump(mode="json") if prune else None)


def _quantized_key(variant: Variant, target: Target) -> _QuantizedKey | None:
    return (variant.name, target.activation_type, target.weight_type) if variant.quantize else None
