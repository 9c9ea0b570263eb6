"""Latency, processor time and memory of models, measured so that two of them can be compared.

Every figure comes from a fresh process per model and round, pinned to as many processors as it has threads. The models
take turns, and their order rotates from round to round, so that a slow minute of the machine strikes all of them. One
lock per user and machine keeps a second measurement from running beside the first, whoever asks.

The measuring process is `edgewright.benchmark_worker`: a job as JSON on stdin, figures as JSON on stdout.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgewright.benchmark_worker import Effort
from edgewright.engines.engine import EngineSettings
from edgewright.errors import EngineError
from edgewright.machine_lock import exclusive_lock
from edgewright.measurement import Measurement, ProcessFigures, figures_from_json, speedup
from edgewright.strict_json import Fields, load_json

__all__ = ["DEFAULT_PROCESSES", "Effort", "Measurement", "Progress", "Subject", "measure_interleaved", "speedup"]

DEFAULT_PROCESSES = 7  # medians of fewer fresh processes moved by more than 10 % between measurements
_LOCK_DEADLINE_S = 3600.0  # as long as a large build's measurements may take
_STDERR_TAIL = 400


@dataclass(frozen=True, eq=False)
class Subject:
    """A model to be measured.

    Attributes:
        model: The model file's bytes.
        engine: Name of the engine.
        settings: How it is run.
        samples: float32 ``[N, ...]``, what each inference is given, after preprocessing: one sample, or a batch. Real ones,
            since some kernels skip zeros.
    """

    model: bytes
    engine: str
    settings: EngineSettings
    samples: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.samples.dtype != np.float32 or self.samples.ndim < 2 or not len(self.samples):
            raise EngineError(
                f"a model is measured on float32 samples [N, ...], one at least, "
                f"found {self.samples.dtype} {list(self.samples.shape)}."
            )


@dataclass(frozen=True)
class Progress:
    """How far a measurement is: reported after each process.

    Attributes:
        done: Processes that have ended.
        total: Processes that there will be.
        subject: Name of the model that was measured last.
    """

    done: int
    total: int
    subject: str


@dataclass
class _Found:
    """What the processes of one subject answered so far."""

    engine_version: str = ""
    providers_in_use: tuple[str, ...] = ()
    figures: list[ProcessFigures] = field(default_factory=list)


def measure_interleaved(
    subjects: Mapping[str, Subject],
    processes: int = DEFAULT_PROCESSES,
    on_progress: Callable[[Progress], None] | None = None,
    effort: Effort | None = None,
) -> dict[str, Measurement]:
    """Measure models side by side: each round runs one fresh process per model.

    Args:
        subjects: The models by name; reference and variants together, so that their rounds can be compared.
        processes: Rounds.
        on_progress: Called after each process.
        effort: How long each process measures.

    Raises:
        EngineError: A process died, hung or answered nonsense; or another measurement kept the machine for too long.
    """
    if not subjects or processes < 1:
        raise EngineError(f"a measurement needs models and rounds, found {len(subjects)} models, {processes} rounds.")
    effort = effort or Effort()
    names = list(subjects)
    found = {name: _Found() for name in names}
    with tempfile.TemporaryDirectory(prefix="edgewright-bench-") as folder, _one_at_a_time():
        jobs = {
            name: _write_job(subject, Path(folder), i, effort) for i, (name, subject) in enumerate(subjects.items())
        }
        for round_number in range(processes):
            turn = round_number % len(names)
            for place, name in enumerate(names[turn:] + names[:turn]):
                job = {**jobs[name], "round": round_number}
                _add(found[name], _run_worker(name, job, effort.deadline_s), name)
                if on_progress is not None:
                    on_progress(Progress(round_number * len(names) + place + 1, processes * len(names), name))
    return {name: _measurement(subjects[name], found[name]) for name in names}


def _one_at_a_time() -> AbstractContextManager[None]:
    path = Path(tempfile.gettempdir()) / f"edgewright-measure-{os.getuid()}.lock"
    return exclusive_lock(
        path,
        _LOCK_DEADLINE_S,
        lambda holder: EngineError(
            f"process {holder} has been measuring for {_LOCK_DEADLINE_S:.0f} s ({path}): wait for it, or end it."
        ),
    )


def _write_job(subject: Subject, folder: Path, number: int, effort: Effort) -> dict[str, object]:
    model, samples = folder / f"{number}.model", folder / f"{number}.npy"
    model.write_bytes(subject.model)
    np.save(samples, subject.samples, allow_pickle=False)
    return {
        "model": str(model),
        "samples": str(samples),
        "engine": subject.engine,
        "settings": subject.settings.to_json(),
        "effort": dataclasses.asdict(effort),
    }


def _run_worker(name: str, job: Mapping[str, object], deadline_s: float) -> Fields:
    """Run one measuring process in a process group of its own, so that nothing of it survives its deadline."""
    process = subprocess.Popen(
        # -P: whatever lies in the current folder is not imported.
        [sys.executable, "-P", "-m", "edgewright.benchmark_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=_worker_environment(job),
    )
    try:
        output, errors = process.communicate(json.dumps(job).encode(), timeout=deadline_s)
    except subprocess.TimeoutExpired as cause:
        raise EngineError(
            f"measuring {name} took longer than {deadline_s:g} s: the model hangs or is too slow."
        ) from cause
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        tail = errors.decode(errors="replace").strip()[-_STDERR_TAIL:]
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
        raise EngineError(f"measuring {name} ended with {how}: {tail or 'no message'}")
    place = f"the answer of measuring {name}"
    return Fields(load_json(output, place, EngineError), place, EngineError)


def _worker_environment(job: Mapping[str, object]) -> dict[str, str]:
    settings = EngineSettings.from_json(job["settings"])
    # The worker must find this very library, also when it was not installed but found from the current folder.
    library = str(Path(__file__).resolve().parent.parent)
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "OMP_NUM_THREADS": str(settings.threads), "PYTHONPATH": os.pathsep.join(paths)}


def _add(found: _Found, answer: Fields, name: str) -> None:
    providers = answer.texts("providers_in_use")
    if found.figures and providers != found.providers_in_use:
        raise EngineError(f"{name} ran on {providers} in one process and on {found.providers_in_use} in another.")
    found.engine_version, found.providers_in_use = answer.text("engine_version"), providers
    found.figures.append(figures_from_json(answer.take("figures"), EngineError))


def _measurement(subject: Subject, found: _Found) -> Measurement:
    return Measurement(
        engine=subject.engine,
        engine_version=found.engine_version,
        providers_in_use=found.providers_in_use,
        threads=subject.settings.threads,
        processes=tuple(found.figures),
    )
