"""Builds every variant of a recipe, for every target and fold, side by side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect import allow_failure
from prefect.futures import PrefectFuture

from edgewright.durable import replace_file
from edgewright.errors import DiskFullError, EdgewrightError, SharedStoreError
from edgewright.pipeline.built import BuiltVariant, Fold
from edgewright.pipeline.model_engine import engine_of
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages.keras_variant import KerasVariant
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.summary import MissingVariant
from edgewright.pipeline.targets import IntegerType, Target
from edgewright.pipeline.variant_settings import Framework, ModelFormat, Variant
from edgewright.pipeline.workspace import Workspace
from tasks.build_variants import build_keras_variant, compress_variant, quantize_variant, train_base
from tasks.judge_variants import evaluate_variant


@dataclass(frozen=True)
class _FloatKey:
    """What a model file depends on that is made from a base: the same key is the same file, and made once.

    Attributes:
        framework: Which framework made it.
        tuning: How it was pruned and trained on, as text.
        format: Which file it became.
        bits: How TFLite files lost bits, as text; ONNX files do so later.
    """

    framework: Framework
    tuning: str
    format: ModelFormat
    bits: str = ""


# What ends the build, since it says nothing about the variant that met it.
_OF_NO_VARIANT = (DiskFullError, SharedStoreError)
# Why a variant could not be built, by target and variant.
_Failures = dict[tuple[str, str], EdgewrightError]
# Variant, activation type, weight type.
_QuantizedKey = tuple[str, IntegerType, IntegerType]


@dataclass(frozen=True)
class _FoldWork:
    """What was submitted for one fold.

    Attributes:
        data: Its data.
        bases: The base models' training, by framework.
        floats: Float models; of TFLite files, whole variants.
        quantized: Models with fewer bits that were made from an ONNX file.
        evaluated: Evaluations, by target and variant.
    """

    data: SnapshotResult
    bases: dict[Framework, PrefectFuture[Any]]
    floats: dict[_FloatKey, PrefectFuture[Any]]
    quantized: dict[_QuantizedKey, PrefectFuture[Any]]
    evaluated: dict[tuple[str, str], PrefectFuture[Any]]


def build_variants(
    workspace: Workspace, recipe: Recipe, targets: Mapping[str, Target], folds: Sequence[SnapshotResult]
) -> tuple[dict[str, tuple[Fold, ...]], tuple[MissingVariant, ...]]:
    """Builds and evaluates every variant for every target that runs it, and every fold.

    Variants that prune alike share one float model; targets that ask for the same integer types share one INT8 file. A target
    whose reference cannot be built, or nothing but it, is left out: the others go on.

    Returns:
        The folds of each target that is left, and the variants that could not be built.

    Raises:
        EdgewrightError: No target is left.
    """
    work = [_submit_fold(workspace, recipe, targets, data) for data in folds]
    built: dict[str, list[dict[str, BuiltVariant]]] = {name: [{} for _ in work] for name in recipe.targets}
    failures: _Failures = {}
    for number, each in enumerate(work):
        for target_name, name in each.evaluated:
            variant = next(variant for variant in recipe.variants if variant.name == name)
            made = _collect(recipe, each, variant, target_name, targets[target_name])
            if isinstance(made, BuiltVariant):
                built[target_name][number][name] = made
            elif isinstance(made, _OF_NO_VARIANT) or not isinstance(made, EdgewrightError):
                raise made
            else:
                failures.setdefault((target_name, name), made)
    lost = {name: _why_lost(recipe, name, targets[name], failures) for name in recipe.targets}
    reasons = [reason for reason in lost.values() if reason is not None]
    missing = _missing(workspace, recipe, failures, {name for name, reason in lost.items() if reason is not None})
    if len(reasons) == len(recipe.targets):
        for log in dict.fromkeys(each.log for each in missing if each.log):
            reasons[0].add_note(f"Its log: {log}")
        raise reasons[0]
    return {
        target_name: tuple(
            # A variant that is missing in one fold is not compared in another.
            Fold(data, {name: made for name, made in of_fold.items() if (target_name, name) not in failures})
            for data, of_fold in zip(folds, built[target_name], strict=True)
        )
        for target_name, reason in lost.items()
        if reason is None
    }, missing


def _why_lost(recipe: Recipe, name: str, target: Target, failures: _Failures) -> EdgewrightError | None:
    """Why there is nothing to judge for a target; None where there is."""
    reference = recipe.reference_for(target).name
    if (name, reference) in failures:
        return failures[name, reference]
    others = [variant.name for variant in recipe.variants_for(target) if variant.name != reference]
    if not others or any((name, other) not in failures for other in others):
        return None
    told = "; ".join(f"{other}: {failures[name, other]}" for other in others)
    return EdgewrightError(f"no variant but the reference could be built for {name}: {told}")


def _missing(workspace: Workspace, recipe: Recipe, failures: _Failures, lost: set[str]) -> tuple[MissingVariant, ...]:
    """What could not be built, each cause told once."""
    places: dict[tuple[str, str], list[str]] = {}
    for (target_name, name), error in failures.items():
        places.setdefault((name, str(error)), []).append(target_name)
    missing = []
    for (name, told), of_targets in places.items():
        log = _keep_log(workspace, recipe, failures[of_targets[0], name])
        without = [each for each in of_targets if each in lost]
        ending = f" So there is no release for {', '.join(without)}." if without else ""
        everywhere = len(of_targets) == len(recipe.targets)
        missing.append(MissingVariant(name, told + ending, log, () if everywhere else tuple(of_targets)))
    return tuple(missing)


def submit(task: Any, *arguments: Any, after: Sequence[PrefectFuture[Any]] = ()) -> PrefectFuture[Any]:
    """Submits a task whose arguments may be other tasks' futures, which its signature does not say.

    Args:
        task: The task.
        arguments: Its arguments; it does not run where one of them failed.
        after: Tasks that end first, well or not.
    """
    future: PrefectFuture[Any] = task.submit(*arguments, wait_for=[allow_failure(each) for each in after])
    return future


def call(task: Any, *arguments: Any) -> Any:
    """Runs a task in the flow's own process, whatever runs the others, and returns its value.

    It is asked for its state: a task that ends as ``Unchanged`` would give that in the place of its value.
    """
    return task(*arguments, return_state=True).result()


def in_fold(data: SnapshotResult, work: str) -> str:
    """What people see a piece of work called: with the number of its fold, where there are folds."""
    return work if data.fold is None else f"fold {data.fold + 1} {work}"


def _submit_fold(
    workspace: Workspace, recipe: Recipe, targets: Mapping[str, Target], data: SnapshotResult
) -> _FoldWork:
    bases = {
        framework: submit(train_base, workspace, recipe, framework, data, in_fold(data, _base_name(recipe, framework)))
        for framework in recipe.frameworks
    }
    work = _FoldWork(data, bases, {}, {}, {})
    # Float variants first, so that a float model that several share is called after the variant that is it.
    for variant in sorted(recipe.variants, key=lambda each: each.quantize is not None):
        for target_name in recipe.targets:
            if variant in recipe.variants_for(targets[target_name]):
                _submit_float(workspace, recipe, work, variant, targets[target_name])
    for target_name in recipe.targets:
        target = targets[target_name]
        for variant in recipe.variants_for(target):
            made = _submit_model(workspace, recipe, work, variant, target)
            label = in_fold(data, f"{target_name} {variant.name}")
            work.evaluated[target_name, variant.name] = submit(
                evaluate_variant, workspace, recipe.task, data, made, engine_of(target, variant.format), label
            )
    return work


def _submit_float(workspace: Workspace, recipe: Recipe, work: _FoldWork, variant: Variant, target: Target) -> None:
    key = _float_key(recipe, variant, target)
    if key in work.floats:
        return
    base, label = work.bases[variant.framework], in_fold(work.data, variant.name)
    if variant.framework == "pytorch":
        work.floats[key] = submit(compress_variant, workspace, recipe, work.data, base, variant.prune, label)
        return
    # Variants that prune alike train once: the first one's process does, and the others need not wait beside it.
    alike = [
        future
        for other, future in work.floats.items()
        if (other.framework, other.tuning) == (key.framework, key.tuning)
    ]
    asked = variant if variant.format == "tflite" else variant.model_copy(update={"quantize": None})
    work.floats[key] = submit(
        build_keras_variant, workspace, recipe, work.data, base, asked, target.activation_type, label, after=alike[:1]
    )


def _submit_model(
    workspace: Workspace, recipe: Recipe, work: _FoldWork, variant: Variant, target: Target
) -> PrefectFuture[Any]:
    made = work.floats[_float_key(recipe, variant, target)]
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


def _collect(
    recipe: Recipe, work: _FoldWork, variant: Variant, target_name: str, target: Target
) -> BuiltVariant | Exception:
    key = _quantized_key(variant, target)
    steps = [
        work.bases[variant.framework],
        work.floats[_float_key(recipe, variant, target)],
        *([work.quantized[key]] if key else []),
        work.evaluated[target_name, variant.name],
    ]
    results: list[Any] = []
    for step in steps:
        # Those after one that failed never ran and have no result to ask for.
        result = step.result(raise_on_failure=False)
        if isinstance(result, Exception):
            return result
        results.append(result)
    base, made, evaluation = results[0], results[1], results[-1]
    compress, quantize = (made.compress, made.quantize) if isinstance(made, KerasVariant) else (made, None)
    quantize = results[2] if key else quantize
    return BuiltVariant(variant, (quantize or compress).model, base, compress, quantize, evaluation)


def _float_key(recipe: Recipe, variant: Variant, target: Target) -> _FloatKey:
    prune = variant.prune.model_dump(mode="json") if variant.prune else None
    tuning = json.dumps([prune, recipe.float_epochs(variant)])
    if variant.format == "onnx" or variant.quantize is None:
        return _FloatKey(variant.framework, tuning, variant.format)
    types = [target.activation_type] if variant.quantize.method == "static" else []
    bits = json.dumps([variant.quantize.model_dump(mode="json"), *types])
    return _FloatKey(variant.framework, tuning, variant.format, bits)


def _quantized_key(variant: Variant, target: Target) -> _QuantizedKey | None:
    if variant.format != "onnx" or variant.quantize is None:
        return None
    return variant.name, target.activation_type, target.weight_type


def _base_name(recipe: Recipe, framework: Framework) -> str:
    return "base" if len(recipe.frameworks) == 1 else f"base {framework}"


def _keep_log(workspace: Workspace, recipe: Recipe, error: EdgewrightError) -> str:
    """Puts what a failed process had printed where people can read it; returns where."""
    if not error.log:
        return ""
    content = error.log.encode()
    place = workspace.home / "logs" / f"{recipe.model}-{hashlib.sha256(content).hexdigest()[:12]}.log"
    place.parent.mkdir(parents=True, exist_ok=True)
    replace_file(place, content)
    return str(place)
