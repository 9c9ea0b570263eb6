"""Stage 6: latency and memory of a target's models on this machine, all of them in one interleaved measurement.

Only a target whose platform is this machine's is measured here; for another one latency stays unmeasured until a device
sends its report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgewright.benchmark import Measurement, Subject, measure_interleaved, speedup
from edgewright.benchmark import Progress as BenchmarkProgress
from edgewright.machine import this_platform
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome, Stage
from edgewright.pipeline.model_engine import ModelEngine
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.machine import this_machine
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.statistics import Interval, median_interval
from edgewright.pipeline.targets import Target

STAGE = Stage("measure", "edgewright.pipeline.stages.measure", ("numpy",))


@dataclass(frozen=True)
class MeasureResult:
    """What was measured of each variant.

    Attributes:
        measurements: By variant name, each process's figures.
        sample_sha256: The sample that was run.
    """

    measurements: dict[str, Measurement]
    sample_sha256: str


def can_measure(target: Target) -> bool:
    """Whether this machine is of the target's kind."""
    return target.platform == this_platform()


def run(
    store: ArtifactStore,
    snapshot: SnapshotResult,
    models: Mapping[str, tuple[Artifact, ModelEngine]],
    processes: int,
    work: str,
    on_progress: ProgressListener = ignore_progress,
) -> Outcome[MeasureResult]:
    """Measures all models of a target, the reference among them, in interleaved fresh processes.

    Args:
        store: Where artifacts lie.
        snapshot: The data.
        models: By variant, the model file and what runs it.
        processes: Fresh processes per model.
        work: Name for progress: the target's.
        on_progress: Hears how far it is.

    Raises:
        EngineError: A model cannot be run, or its process died.
    """
    inputs = {
        "models": {name: model.sha256 for name, (model, _) in models.items()},
        "snapshot": snapshot.sha256,
        "preprocessing": snapshot.preprocessing.to_json(),
        "engines": {name: engine.identity() for name, (_, engine) in models.items()},
        "processes": processes,
        "machine": this_machine(),
    }

    def compute() -> MeasureResult:
        data = snapshot_stage.load(store, snapshot)
        sample = snapshot.preprocessing.apply(data.validation.images[:1])
        subjects = {
            name: Subject(store.read(model), engine.name, engine.settings, sample)
            for name, (model, engine) in models.items()
        }

        def report(progress: BenchmarkProgress) -> None:
            on_progress(Progress(work, progress.done, progress.total, "measuring latency in fresh processes"))

        measurements = measure_interleaved(subjects, processes, report)
        return MeasureResult(measurements, data.validation.sample_sha256[0])

    return store.run_stage(STAGE, inputs, MeasureResult, compute)


@dataclass(frozen=True)
class Figures:
    """Intervals over fresh processes that the gate looks at; None where not measured."""

    latency_p95_ms: Interval | None
    peak_memory_mib: Interval | None
    speedup: Interval | None


NOT_MEASURED = Figures(None, None, None)


def figures(measurement: Measurement, reference: Measurement | None, confidence: float) -> Figures:
    """Turns a measurement into intervals.

    Args:
        measurement: The variant's.
        reference: The reference's, of the same rounds; None where it was not measured.
        confidence: Confidence of each bound.
    """

    def interval(values: list[float]) -> Interval | None:
        # With too few processes for the confidence, the widest interval there is: the gate says how many it takes.
        return median_interval(values, 2 * confidence - 1) or median_interval(values, 0.5)

    def over_processes(figure: str) -> list[float]:
        return [getattr(process, figure) for process in measurement.processes]

    ratios = list(speedup(reference, measurement)) if reference else []
    return Figures(
        latency_p95_ms=interval(over_processes("latency_p95_ms")),
        peak_memory_mib=interval(over_processes("peak_memory_mib")),
        speedup=interval(ratios) if ratios else None,
    )
