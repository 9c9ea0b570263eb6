"""Stage 6: latency of a target's models, where this machine is of its kind; intervals for the gate."""

from __future__ import annotations

from typing import Any

from edgewright.machine import this_platform
from edgewright.measurement import Measurement, ProcessFigures
from edgewright.pipeline.model_engine import engine_of
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.stages import measure
from edgewright.pipeline.stages.measure import NOT_MEASURED, can_measure, figures
from edgewright.pipeline.targets import Target


def test_only_a_target_of_this_machines_kind_is_measured_here(target: Target) -> None:
    here = target.model_copy(update={"platform": this_platform()})
    elsewhere = "linux/arm64" if this_platform() != "linux/arm64" else "linux/amd64"
    assert can_measure(here)
    assert not can_measure(target.model_copy(update={"platform": elsewhere}))


def test_all_models_are_measured_together_and_remembered(build: Any, target: Target) -> None:
    heard: list[Progress] = []
    engine = engine_of(target, "onnx")
    models = {"p50": (build.pruned.value.model, engine), "p50-i8": (build.int8.value.model, engine)}
    outcome = measure.run(build.store, build.snapshot, models, 2, "here", heard.append)
    assert {name: len(found.processes) for name, found in outcome.value.measurements.items()} == {"p50": 2, "p50-i8": 2}
    assert all(found.latency_p50_ms > 0 for found in outcome.value.measurements.values())
    assert heard[-1].done == heard[-1].total == 4
    again = measure.run(build.store, build.snapshot, models, 2, "here")
    assert again.unchanged and again.value == outcome.value


def measured(*latencies_ms: float) -> Measurement:
    """A measurement with one process per latency."""
    processes = tuple(
        ProcessFigures(
            latency_p50_ms=latency,
            latency_p95_ms=2 * latency,
            latency_p99_ms=3 * latency,
            cpu_p50_ms=latency,
            load_ms=1.0,
            peak_memory_mib=60.0 + latency,
            throughput_per_s=1000 / latency,
            runs=100,
        )
        for latency in latencies_ms
    )
    return Measurement("onnxruntime", "1.0", ("CPUExecutionProvider",), 1, processes)


def test_seven_processes_bound_each_figure() -> None:
    own, reference = measured(1, 2, 3, 4, 5, 6, 7), measured(10, 20, 30, 40, 50, 60, 70)
    found = figures(own, reference, 0.95)
    assert found.latency_p95_ms is not None and found.speedup is not None and found.peak_memory_mib is not None
    assert (found.latency_p95_ms.point, found.latency_p95_ms.high) == (8, 14)
    assert found.latency_p95_ms.low < 8
    assert (found.speedup.point, found.speedup.low, found.speedup.high) == (10, 10, 10)
    assert found.peak_memory_mib.point == 64


def test_too_few_processes_give_the_widest_interval_there_is_and_its_true_confidence() -> None:
    found = figures(measured(1, 2, 3), measured(3, 3, 3), 0.95)
    assert found.speedup is not None
    assert (found.speedup.low, found.speedup.high) == (1, 3)
    assert found.speedup.confidence_of_each_bound < 0.95


def test_without_a_reference_there_is_no_speed_up() -> None:
    assert figures(measured(1, 2, 3), None, 0.95).speedup is None
    assert (NOT_MEASURED.latency_p95_ms, NOT_MEASURED.speedup, NOT_MEASURED.peak_memory_mib) == (None, None, None)
