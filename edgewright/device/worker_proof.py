"""The proof that a bundle may serve here: its digests, its golden samples, and how fast and how large it is.

Runs in the worker process. A refusal says whether it is deterministic: whether trying again would only give the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.benchmark_worker import read_peak_memory_mib
from edgewright.bundle import Bundle, read_bundle
from edgewright.bundle_file import BundleFile
from edgewright.device.answer import MOST_SAMPLES
from edgewright.device.slots import check_files
from edgewright.device.worker_answer import Answerer, describe_model
from edgewright.errors import EdgewrightError, EngineError, IntegrityError
from edgewright.golden import GoldenReplay
from edgewright.predictor import Predictor, open_predictor, replay_golden

# A busy neighbour only ever adds to an answer's time: the quickest of some rounds is the model's own.
_ROUNDS, _RUNS = 3, 20
_WARMUP_RUNS = 3
_FEWEST_RUNS = 3
_CLEARLY = 2.0  # so many times the limit is no neighbour's fault
_GOLDEN_SHARE, _SELF_TEST_SHARE = 0.5, 0.25  # of the time in which a worker must be ready


class RefusedError(EdgewrightError):
    """The bundle may not serve.

    Attributes:
        deterministic: Another start would end the same way.
        blames: ``release``, or ``disk`` where that did not give the bytes that were signed.
    """

    def __init__(self, reason: str, deterministic: bool, blames: str = "release") -> None:
        super().__init__(reason)
        self.deterministic, self.blames = deterministic, blames


def prove(folder: Path, job: Mapping[str, Any]) -> tuple[Answerer, dict[str, Any]]:
    """Load and prove a bundle.

    Args:
        folder: The bundle.
        job: ``bundle_sha256``, ``files`` as they were signed, ``start_deadline_s``, and the limits ``latency_p95_ms`` and
            ``peak_memory_mib``, which are None where a figure is only reported.

    Returns:
        What answers, and the report: ``figures`` (times in ms, memory in MiB) and ``model``.

    Raises:
        RefusedError: It is not proved.
    """
    try:
        bundle = read_bundle(folder, job["bundle_sha256"])
        predictor = open_predictor(bundle)
        replay = _replay(bundle, predictor, _GOLDEN_SHARE * job["start_deadline_s"])
    except RefusedError:
        raise
    except OSError as error:
        raise RefusedError(f"{type(error).__name__}: {error}", deterministic=False, blames="disk") from error
    except (IntegrityError, MemoryError) as error:  # the disk's or the machine's doing, perhaps
        _refuse_damage(folder, job["files"])
        raise RefusedError(f"{type(error).__name__}: {error}", deterministic=False) from error
    except EdgewrightError as error:
        raise RefusedError(str(error), deterministic=True) from error
    latency_ms = measure_latency_ms(predictor, bundle.golden.samples, _SELF_TEST_SHARE * job["start_deadline_s"])
    memory_mib = read_peak_memory_mib()
    _judge(latency_ms, job["latency_p95_ms"], memory_mib, job["peak_memory_mib"])
    figures = {
        "golden_samples": replay.samples,
        "golden_agreeing": replay.agreeing,
        "golden_deviation": replay.deviation,
        "latency_p95_ms": latency_ms,
        "peak_memory_mib": memory_mib,
        "engine": f"{predictor.engine.name} {predictor.engine.version}",
        "providers": list(predictor.engine.providers_in_use),
    }
    # The engine holds the model now: of the bundle's bytes, one sample is kept.
    answerer = Answerer(predictor, bundle.golden.samples[:1].copy(), MOST_SAMPLES)
    return answerer, {"figures": figures, "model": describe_model(bundle.manifest)}


def measure_latency_ms(predictor: Predictor, samples: NDArray[Any], longest_s: float) -> float:
    """Give the 95th percentile of single answers' times on some raw samples, in ms: that of the quickest of some rounds.

    Args:
        predictor: What answers.
        samples: ``[G, ...]``, raw.
        longest_s: After that no further answer begins, once there were a few.
    """
    stop_at = time.monotonic() + longest_s
    for number in range(_WARMUP_RUNS):
        predictor.predict(samples[number % len(samples)][np.newaxis])
    found = []
    for _ in range(_ROUNDS):
        times_ns: list[int] = []
        while len(times_ns) < _RUNS and (len(times_ns) < _FEWEST_RUNS or time.monotonic() < stop_at):
            sample = samples[len(times_ns) % len(samples)][np.newaxis]
            start = time.perf_counter_ns()
            predictor.predict(sample)
            times_ns.append(time.perf_counter_ns() - start)
        found.append(float(np.percentile(times_ns, 95)) / 1e6)
        if time.monotonic() >= stop_at:
            break
    return min(found)


def _refuse_damage(folder: Path, files: Sequence[Mapping[str, Any]]) -> None:
    """Say that the disk is to blame where a folder has not the bytes that were signed."""
    try:
        if files:
            check_files(folder, [BundleFile(**file) for file in files])
    except IntegrityError as damage:
        raise RefusedError(f"it is damaged: {damage}", deterministic=True, blames="disk") from damage
    except OSError as error:
        raise RefusedError(str(error), deterministic=False, blames="disk") from error


def _replay(bundle: Bundle, predictor: Predictor, deadline_s: float) -> GoldenReplay:
    start = time.monotonic()
    try:
        return replay_golden(bundle, predictor.engine, deadline_s)
    except EngineError as error:
        if time.monotonic() - start < deadline_s:
            raise
        raise RefusedError(str(error), deterministic=False) from error  # this time it was too slow


def _judge(
    latency_ms: float, latency_limit_ms: float | None, memory_mib: float, memory_limit_mib: float | None
) -> None:
    if latency_limit_ms is not None and latency_ms > latency_limit_ms:
        raise RefusedError(
            f"p95 of single answers is {latency_ms:.3g} ms, at most {latency_limit_ms:.3g} ms are allowed here.",
            deterministic=latency_ms > _CLEARLY * latency_limit_ms,
        )
    if memory_limit_mib is not None and memory_mib > memory_limit_mib:
        raise RefusedError(
            f"it takes {memory_mib:.0f} MiB of memory, at most {memory_limit_mib:.0f} MiB are allowed.",
            deterministic=True,
        )
