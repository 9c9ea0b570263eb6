"""The measuring process: a job as JSON on stdin, one model's figures as JSON on stdout.

It imports as little as possible: its peak memory is the figure that a memory budget is compared with.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.engines.engine import Engine, EngineSettings, open_engine
from edgewright.errors import EdgewrightError, EngineError

_THROUGHPUT_BATCH = 8
_THROUGHPUT_S = 0.1  # a side figure: some ten batches of a small model


@dataclass(frozen=True)
class Effort:
    """How long one process measures.

    Attributes:
        warmup_runs: Untimed inferences before the timed ones: the first ones allocate.
        min_runs: Timed inferences at least, however slow the model is.
        max_runs: Timed inferences at most.
        budget_s: Time after which no further inference begins, once there were enough.
        deadline_s: Time after which the process is killed.
    """

    warmup_runs: int = 20
    min_runs: int = 50
    max_runs: int = 2000
    budget_s: float = 0.5
    deadline_s: float = 120.0


def measure_here(
    model: bytes, engine_name: str, settings: EngineSettings, samples: NDArray[np.float32], effort: Effort
) -> tuple[Engine, dict[str, Any]]:
    """Measure one model in this process.

    Args:
        model: The model file's bytes.
        engine_name: Name of the engine.
        settings: How it is run.
        samples: float32 ``[N, ...]``, what each inference is given.
        effort: How long to measure.

    Returns:
        The engine, still open, and the figures named as in `edgewright.measurement.ProcessFigures`.

    Raises:
        EngineError: The model cannot be loaded or run.
    """
    # Once on the side, so that the engine library's import does not count as loading the model.
    open_engine(engine_name, model, settings).close()
    start = time.perf_counter()
    engine = open_engine(engine_name, model, settings)
    load_ms = (time.perf_counter() - start) * 1e3
    for _ in range(effort.warmup_runs):
        engine.run(samples)
    gc.collect()
    gc.disable()  # a collection in the middle would be charged to one inference
    try:
        wall_ns, cpu_ns = _time_runs(engine, samples, effort)
    finally:
        gc.enable()
    # Memory is read before the batches of the throughput: the budget is for what one inference is given.
    peak_memory_mib = read_peak_memory_mib()
    p50, p95, p99 = (float(value) / 1e6 for value in np.percentile(wall_ns, (50, 95, 99)))
    return engine, {
        "latency_p50_ms": p50,
        "latency_p95_ms": p95,
        "latency_p99_ms": p99,
        "cpu_p50_ms": float(np.median(cpu_ns)) / 1e6,
        "load_ms": load_ms,
        "peak_memory_mib": peak_memory_mib,
        "throughput_per_s": _throughput(engine, samples),
        "runs": len(wall_ns),
    }


def _time_runs(engine: Engine, samples: NDArray[np.float32], effort: Effort) -> tuple[list[int], list[int]]:
    wall_ns: list[int] = []
    cpu_ns: list[int] = []
    stop_at = time.perf_counter() + effort.budget_s
    while len(wall_ns) < effort.max_runs and (len(wall_ns) < effort.min_runs or time.perf_counter() < stop_at):
        # The processor clock is read outside of the wall clock: reading it is a system call on some machines.
        cpu_start = time.process_time_ns()
        start = time.perf_counter_ns()
        engine.run(samples)
        end = time.perf_counter_ns()
        cpu_ns.append(time.process_time_ns() - cpu_start)
        wall_ns.append(end - start)
    return wall_ns, cpu_ns


def _throughput(engine: Engine, samples: NDArray[np.float32]) -> float:
    batch = np.resize(samples, (_THROUGHPUT_BATCH, *samples.shape[1:]))  # repeats them as often as it takes
    engine.run(batch)
    batches, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < _THROUGHPUT_S or not batches:
        engine.run(batch)
        batches += 1
    return batches * _THROUGHPUT_BATCH / elapsed


def read_peak_memory_mib() -> float:
    """Give this process's highest resident memory.

    From VmHWM, not from getrusage: ru_maxrss survives exec, so a small process started by a large one reports the large
    one's.

    Raises:
        EngineError: The system does not tell.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii", errors="replace").splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise EngineError(f"peak memory cannot be read: {status} has no VmHWM line. Measure on Linux.")


def pin_to_processors(count: int, turn: int) -> None:
    """Keep this process on a few processors, others in each round: one may have a busy neighbour.

    A machine with fewer processors than threads, or without pinning, is left as it is.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = sorted(os.sched_getaffinity(0))
    if count < len(allowed):
        os.sched_setaffinity(0, {allowed[(turn * count + i) % len(allowed)] for i in range(count)})


def main() -> int:
    """Run the job on stdin; an error is one line on stderr."""
    job = json.load(sys.stdin)
    effort = Effort(**job["effort"])
    # If the parent was killed, nobody is left to end a model that hangs; the default action of this signal does.
    signal.setitimer(signal.ITIMER_REAL, effort.deadline_s + 5.0)
    try:
        settings = EngineSettings.from_json(job["settings"])
        pin_to_processors(settings.threads, job["round"])
        samples = np.load(job["samples"], allow_pickle=False)
        engine, figures = measure_here(Path(job["model"]).read_bytes(), job["engine"], settings, samples, effort)
    except EdgewrightError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    answer = {
        "engine_version": engine.version,
        "providers_in_use": list(engine.providers_in_use),
        "figures": figures,
    }
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
