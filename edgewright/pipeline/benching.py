"""The benchmark of edgewright itself: what its variants gain, beside ONNX Runtime's own defaults, and what a build costs.

All ratios come from models that took turns in fresh processes of one measurement; absolute times belong to the machine.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgewright.benchmark import Subject, measure_interleaved
from edgewright.measurement import Measurement, speedup
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.progress import Progress, ProgressListener
from edgewright.pipeline.recipe import QuantizeSettings, Recipe
from edgewright.pipeline.stages import compress, quantize, train
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.evaluate import engine_settings
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.statistics import median_interval
from edgewright.pipeline.targets import Target

# What `quantize_static` of ONNX Runtime does when nothing is said: int8 activations and weights, per tensor, MinMax.
ENGINE_DEFAULT = "ort-default"
_THREADS = (1, 2)
_PROCESSES = 7
_DEADLINE_S = 600.0


@dataclass(frozen=True)
class Row:
    """One model at one number of threads.

    Attributes:
        recipe: Name of the recipe's model.
        variant: Name of the variant, or ``ort-default``.
        threads: Threads of one inference.
        latency_p50_ms: Median over processes, batch 1.
        throughput_per_s: Samples per second in batches of 8, median over processes.
        speedup_x: Float's median latency over this one's, median over rounds.
        speedup_low_x: Lower bound (order statistics of the rounds).
        speedup_high_x: Upper bound.
        size_kib: Size of the file.
        peak_memory_mib: Highest over the processes.
    """

    recipe: str
    variant: str
    threads: int
    latency_p50_ms: float
    throughput_per_s: float
    speedup_x: float
    speedup_low_x: float
    speedup_high_x: float
    size_kib: float
    peak_memory_mib: float


@dataclass(frozen=True)
class BuildCost:
    """What building costs beside the work itself.

    Attributes:
        recipe: Name of the recipe's model.
        first_s: Wall time of a build from nothing, servers' start included.
        stages_s: Sum of its stages' own compute times.
        again_s: Wall time of the same build again, nothing changed.
        wall_over_compute: ``first_s / stages_s``; below 1 when stages ran side by side.
        again_over_first: ``again_s / first_s``.
    """

    recipe: str
    first_s: float
    stages_s: float
    again_s: float
    wall_over_compute: float
    again_over_first: float


def compute_seconds(store: ArtifactStore) -> float:
    """Sum of the compute times that the store's stage records hold."""
    records = (json.loads(path.read_bytes()) for path in (store.root / "stages").rglob("*.json"))
    return sum(float(record["content"]["compute_s"]) for record in records)


def bench_models(
    store: ArtifactStore, recipe: Recipe, target: Target, on_done: Callable[[str], None]
) -> tuple[Row, ...]:
    """Measures every variant of a built recipe for one target, and ONNX Runtime's defaults, at 1 and 2 threads.

    Args:
        store: Where the recipe's build left its artifacts: nothing is trained here.
        recipe: The recipe.
        target: The target whose integer types and engine are used.
        on_done: Hears of each finished measurement.
    """
    snapshot = snapshot_stage.run(store, recipe.data).value
    models = _models(store, recipe, target, snapshot)
    sample = snapshot.preprocessing.apply(snapshot_stage.load(store, snapshot).validation.images[:1])
    rows: list[Row] = []
    for threads in _THREADS:
        settings = replace(engine_settings(target), threads=threads)
        subjects = {name: Subject(store.read(model), target.engine, settings, sample) for name, model in models.items()}
        measured = measure_interleaved(subjects, _PROCESSES)
        reference = measured[recipe.reference.name]
        rows += [
            _row(recipe.model, name, threads, each, reference, models[name].size_bytes)
            for name, each in measured.items()
        ]
        on_done(f"{recipe.model}, {threads} thread{'s' if threads > 1 else ''}")
    return tuple(rows)


def _models(store: ArtifactStore, recipe: Recipe, target: Target, snapshot: SnapshotResult) -> dict[str, Artifact]:
    base = train.run(store, recipe, snapshot).value
    models = {}
    for variant in recipe.variants:
        made = compress.run(store, recipe, snapshot, base, variant.prune, variant.name).value
        models[variant.name] = made.model
        if variant.quantize:
            types = (target.activation_type, target.weight_type)
            models[variant.name] = quantize.run(
                store, snapshot, made.model, variant.quantize, recipe.data.calibration_samples, types, variant.name
            ).value.model
    reference = models[recipe.reference.name]
    models[ENGINE_DEFAULT] = run_isolated(
        quantize_by_default, store.root, snapshot, reference, recipe.data.calibration_samples,
        work=ENGINE_DEFAULT, deadline_s=_DEADLINE_S,
    )  # fmt: skip
    return models


def quantize_by_default(
    root: Path, snapshot: SnapshotResult, model: Artifact, samples: int, *, on_progress: ProgressListener
) -> Artifact:
    """Quantizes as ONNX Runtime does when nothing is said; runs in a process of its own."""
    settings = QuantizeSettings(calibration=["minmax"], per_channel=False)
    on_progress(Progress(ENGINE_DEFAULT, 0, 1, "quantizing"))
    return quantize.quantize(
        root, snapshot, model, settings, samples, ("int8", "int8"), ENGINE_DEFAULT, on_progress=on_progress
    ).model


def _row(recipe: str, name: str, threads: int, own: Measurement, reference: Measurement, size_bytes: int) -> Row:
    ratios = median_interval(speedup(reference, own))
    assert ratios is not None, "seven rounds give an interval"
    return Row(
        recipe,
        name,
        threads,
        own.latency_p50_ms,
        own.throughput_per_s,
        ratios.point,
        ratios.low,
        ratios.high,
        size_bytes / 1024,
        own.peak_memory_mib,
    )


def build_cost(recipe: str, first_s: float, stages_s: float, again_s: float) -> BuildCost:
    """Ratios of a build's times."""
    return BuildCost(recipe, first_s, stages_s, again_s, first_s / stages_s, again_s / first_s)


def to_json(rows: tuple[Row, ...], costs: tuple[BuildCost, ...], machine: dict[str, str]) -> str:
    """The benchmark's result as JSON, with its medians of ratios per variant on top."""
    by_variant: dict[str, list[float]] = {}
    for row in rows:
        by_variant.setdefault(row.variant, []).append(row.speedup_x)
    content = {
        "machine": machine,
        "median_speedup_x": {name: statistics.median(values) for name, values in by_variant.items()},
        "models": [asdict(row) for row in rows],
        "builds": [asdict(cost) for cost in costs],
    }
    return json.dumps(content, indent=2) + "\n"
