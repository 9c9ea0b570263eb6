"""Measure the bundle on the device that shall run it: the only place where its latency can be known."""

from __future__ import annotations

from collections.abc import Callable

from edgewright.bench_report import BenchReport
from edgewright.benchmark import DEFAULT_PROCESSES, Effort, Progress, Subject, measure_interleaved
from edgewright.bundle import Bundle
from edgewright.errors import BundleError
from edgewright.machine import read_cpu_model, this_platform
from edgewright.predictor import open_predictor, replay_golden


def bench_bundle(
    bundle: Bundle,
    reference: Bundle | None = None,
    processes: int = DEFAULT_PROCESSES,
    on_progress: Callable[[Progress], None] | None = None,
    effort: Effort | None = None,
) -> BenchReport:
    """Prove a bundle by its golden samples, then measure it; beside its reference, when there is one.

    Args:
        bundle: The bundle.
        reference: The uncompressed one of the same build, measured in the same rounds.
        processes: Fresh processes per model.
        on_progress: Called after each process.
        effort: How long each process measures.

    Raises:
        BundleError: The reference is another model's.
        GoldenReplayError: The bundle does not reproduce its answers here: its latency would be that of another model.
        EngineError: It cannot be run or measured.
    """
    if reference is not None and reference.manifest.build != bundle.manifest.build:
        raise BundleError(
            f"the reference is of the build {reference.manifest.build}, the bundle of {bundle.manifest.build}: "
            f"a speed-up compares models of one build. Pull it with --reference."
        )
    with open_predictor(bundle) as predictor:
        golden = replay_golden(bundle, predictor.engine)
    subjects = {"bundle": _subject(bundle)} | ({} if reference is None else {"reference": _subject(reference)})
    measured = measure_interleaved(subjects, processes, on_progress, effort)
    manifest = bundle.manifest
    return BenchReport(
        bundle_sha256=bundle.sha256,
        model=manifest.model,
        target=manifest.target,
        variant=manifest.variant,
        build=manifest.build,
        platform=this_platform(),
        cpu_model=read_cpu_model(),
        golden=golden,
        measurement=measured["bundle"],
        reference_sha256=None if reference is None else reference.sha256,
        reference=measured.get("reference"),
    )


def _subject(bundle: Bundle) -> Subject:
    manifest = bundle.manifest
    sample = manifest.preprocessing.apply(bundle.golden.samples[:1])
    return Subject(bundle.model, manifest.engine, manifest.settings, sample)
