"""The benchmark of edgewright itself: what its variants gain over float, and over ONNX Runtime's own defaults.

All ratios come from models that took turns in fresh processes of one measurement: one for each number of threads and size of
batch. Nothing is trained here: models are those that a build left in the store.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from edgewright.benchmark import Effort, Measurement, Subject, measure_interleaved, speedup
from edgewright.benchmark import Progress as BenchmarkProgress
from edgewright.errors import EdgewrightError, UsageError
from edgewright.pipeline.answering import quality_for
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, ResultT, Stage
from edgewright.pipeline.bench_result import ModelsBench, NotMeasured, Ratio, Row
from edgewright.pipeline.engine_defaults import STATIC, DefaultModel, methods_for, quantize_with_defaults
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.model_engine import ModelEngine, engine_of
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.recipe_tools import tools_of
from edgewright.pipeline.stages import compress, keras_base, keras_variant, quantize, train
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.quantize import ValidationJudge
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.statistics import median_interval
from edgewright.pipeline.targets import Target
from edgewright.pipeline.variant_settings import Variant

THREADS = (1, 2)
BATCHES = (1, 8)
_PROCESSES = 7  # the fewest whose smallest and largest ratio bound the median at 95 % is 6
# Half of a release's measurement: thousands of inferences of a small model still, and the rounds differ by more than this.
_EFFORT = Effort(budget_s=0.25)
_QUANTIZE_DEADLINE_S = 600.0


@dataclass(frozen=True)
class _Model:
    """A model to be measured, and what runs it."""

    artifact: Artifact
    engine: ModelEngine
    quality_pct: float


# By name: a model, or why there is none.
_Models = Mapping[str, _Model | str]


class BuiltStore(ArtifactStore):
    """A store in which every stage that is asked for was run before: what is missing is an error, not an hour's training."""

    def run_stage(
        self,
        stage: Stage,
        inputs: Mapping[str, Any],
        result_type: type[ResultT],
        compute: Callable[[], ResultT],
    ) -> Outcome[ResultT]:
        """The remembered result of a stage.

        Raises:
            UsageError: It was not run with these inputs, this code and these versions.
        """

        def refuse() -> ResultT:
            raise UsageError(
                f"the workspace {self.root.parent} holds no result of stage {stage.name} for this recipe with this code. "
                "Build it there first: edgewright build RECIPE"
            )

        return super().run_stage(stage, inputs, result_type, refuse)


def compute_seconds(store: ArtifactStore) -> float:
    """Sum of the compute times that the store's stage records hold."""
    records = (json.loads(path.read_bytes()) for path in (store.root / "stages").rglob("*.json"))
    return sum(float(record["content"]["compute_s"]) for record in records)


def versions(recipes: Iterable[Recipe]) -> dict[str, str]:
    """Versions of what makes the figures of these recipes."""
    tools = sorted({tool for recipe in recipes for tool in tools_of(recipe)})
    return {"python": platform.python_version(), **{tool: importlib.metadata.version(tool) for tool in tools}}


def bench_models(
    store: BuiltStore,
    recipe: Recipe,
    target_name: str,
    target: Target,
    on_progress: ProgressListener = ignore_progress,
    *,
    processes: int = _PROCESSES,
    effort: Effort = _EFFORT,
) -> ModelsBench:
    """Measures every variant of a built recipe for one target beside ONNX Runtime's defaults.

    Where the recipe has folds, the first one's models are measured: those that a release would ship.

    Args:
        store: Where the recipe's build left its artifacts.
        recipe: The recipe.
        target_name: Name of the target.
        target: The target whose integer types and engine are used.
        on_progress: Hears how far it is.
        processes: Rounds of each measurement.
        effort: How long each process measures.

    Raises:
        UsageError: The recipe was not built in this workspace.
        EngineError: A model cannot be run, or its process died.
    """
    data = snapshot_stage.run(store, recipe.data, recipe.task).value.folds[0]
    reference = recipe.reference_for(target).name
    models = _models(store, recipe, data, target, on_progress)
    settings = [(threads, batch) for threads, batch in product(THREADS, BATCHES)]
    raw = snapshot_stage.load(store, data).validation.images
    rows: list[Row | NotMeasured] = []
    for number, (threads, batch) in enumerate(settings):

        def report(
            progress: BenchmarkProgress, number: int = number, words: str = setting_in_words(threads, batch)
        ) -> None:
            total = progress.total * len(settings)
            on_progress(Progress(recipe.model, number * progress.total + progress.done, total, words))

        samples = data.preprocessing.apply(raw[:batch])
        subjects = {
            name: Subject(
                store.read(model.artifact), model.engine.name, replace(model.engine.settings, threads=threads), samples
            )
            for name, model in models.items()
            if isinstance(model, _Model)
        }
        measured = measure_interleaved(subjects, processes, report, effort)
        rows += _rows(recipe, reference, models, measured, threads, batch)
    word = quality_for(recipe.task, data).word
    return ModelsBench(recipe.model, target_name, reference, word, tuple(rows))


def setting_in_words(threads: int, batch: int) -> str:
    """How people read it, e.g. ``2 threads, batch 8``."""
    return f"{threads} thread{'' if threads == 1 else 's'}, batch {batch}"


def _models(
    store: BuiltStore, recipe: Recipe, data: SnapshotResult, target: Target, on_progress: ProgressListener
) -> _Models:
    """The float model first; then the other variants; then what ONNX Runtime makes of the float ONNX file by itself.

    That file is the reference where it is one; else the first uncompressed variant that is one; where the target runs none,
    there is nothing that ONNX Runtime could be given.
    """
    validation, reference = snapshot_stage.load(store, data).validation, recipe.reference_for(target)
    variants = sorted(recipe.variants_for(target), key=lambda variant: variant != reference)
    models: dict[str, _Model | str] = {}
    for variant in variants:
        on_progress(Progress(recipe.model, 0, 1, f"answering validation samples: {variant.name}"))
        try:
            built, engine = _built(store, recipe, data, target, variant), engine_of(target, variant.format)
            judge = ValidationJudge(data, recipe.task, validation, variant.format)
            models[variant.name] = _Model(built, engine, judge(store.read(built)))
        except EdgewrightError as error:
            if variant == reference:  # nothing to hold the others against
                raise
            models[variant.name] = str(error)
    plain = next((each.name for each in variants if each.is_uncompressed and each.format == "onnx"), None)
    float_model = models[plain] if plain else None
    if not isinstance(float_model, _Model):  # there is none, or its own row says why it could not be measured
        return models
    for method in methods_for(store.read(float_model.artifact)):
        on_progress(Progress(recipe.model, 0, 1, f"quantizing: {method}"))
        made = _by_default(store, recipe, data, float_model.artifact, method)
        models[method] = (
            made if isinstance(made, str) else _Model(made.model, engine_of(target, "onnx"), made.quality_pct)
        )
    return models


def _built(store: BuiltStore, recipe: Recipe, data: SnapshotResult, target: Target, variant: Variant) -> Artifact:
    samples, types = recipe.data.calibration_samples, (target.activation_type, target.weight_type)
    if variant.framework == "keras":
        base = keras_base.run(store, recipe, data).value
        asked = variant if variant.format == "tflite" else variant.model_copy(update={"quantize": None})
        model = keras_variant.run(store, recipe, data, base, asked, types[0], variant.name).value.model
    else:
        base = train.run(store, recipe, data).value
        model = compress.run(store, recipe, data, base, variant.prune, variant.name).value.model
    if variant.quantize is None or variant.format == "tflite":
        return model
    return quantize.run(
        store, data, model, variant.quantize, samples, types, recipe.task, variant.name
    ).value.model  # fmt: skip


def _by_default(
    store: BuiltStore, recipe: Recipe, data: SnapshotResult, reference: Artifact, method: str
) -> DefaultModel | str:
    """In a process of its own: what fails or crashes there is one row's answer, and no end of the benchmark."""
    try:
        return run_isolated(
            quantize_with_defaults,
            store.root,
            data,
            reference,
            method,
            recipe.data.calibration_samples,
            recipe.task,
            work=method,
            deadline_s=_QUANTIZE_DEADLINE_S,
        )
    except EdgewrightError as error:
        return str(error)


def _rows(
    recipe: Recipe, reference: str, models: _Models, measured: Mapping[str, Measurement], threads: int, batch: int
) -> list[Row | NotMeasured]:
    return [
        NotMeasured(recipe.model, name, threads, batch, model)
        if isinstance(model, str)
        else _row(recipe, reference, name, model, measured, threads, batch)
        for name, model in models.items()
    ]


def _row(
    recipe: Recipe,
    reference_name: str,
    name: str,
    model: _Model,
    measured: Mapping[str, Measurement],
    threads: int,
    batch: int,
) -> Row:
    own, reference = measured[name], measured[reference_name]
    cpu = [slow.cpu_p50_ms / fast.cpu_p50_ms for slow, fast in zip(reference.processes, own.processes, strict=True)]
    return Row(
        recipe=recipe.model,
        variant=name,
        threads=threads,
        batch=batch,
        latency_p50_ms=own.latency_p50_ms,
        latency_p95_ms=own.latency_p95_ms,
        cpu_p50_ms=own.cpu_p50_ms,
        samples_per_s=1000 * batch / own.latency_p50_ms,
        over_float=_ratio(reference, own),
        cpu_over_float_x=statistics.median(cpu),
        over_default=_ratio(measured[STATIC], own) if STATIC in measured else None,
        size_kib=model.artifact.size_bytes / 1024,
        peak_memory_mib=own.peak_memory_mib,
        quality_pct=model.quality_pct,
        rounds_p50_ms=tuple(figures.latency_p50_ms for figures in own.processes),
    )


def _ratio(slow: Measurement, fast: Measurement) -> Ratio:
    rounds = speedup(slow, fast)
    # With fewer rounds than a confidence of 95 % needs, the widest interval there is; the row says its true coverage.
    bounds = median_interval(rounds) or median_interval(rounds, 0.5)
    assert bounds is not None, "two rounds at least"
    return Ratio(bounds.point, bounds.low, bounds.high, bounds.confidence, rounds)
