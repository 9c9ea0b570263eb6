"""What a latency measurement found: plain values, with one JSON form for reports, tracking and devices.

The unit is the process: the same file's median latency moves by half between fresh processes (memory layout, neighbours
on the machine), and hardly within one. So figures are medians over processes, and their spread is kept.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgewright.errors import BundleError, EdgewrightError, EngineError
from edgewright.strict_json import Fields


@dataclass(frozen=True)
class ProcessFigures:
    """What one fresh process measured of one model.

    Attributes:
        latency_p50_ms: Median wall time of one inference of what the subject's samples were: one, or a batch.
        latency_p95_ms: 95th percentile of it.
        latency_p99_ms: 99th percentile of it.
        cpu_p50_ms: Median processor time of one inference, over all threads.
        load_ms: From the model's bytes to a session that can run, without importing the engine.
        peak_memory_mib: Highest resident memory of the process, Python and engine included.
        throughput_per_s: Samples per second in batches of 8.
        runs: How many inferences were timed.
    """

    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    cpu_p50_ms: float
    load_ms: float
    peak_memory_mib: float
    throughput_per_s: float
    runs: int


_FIGURES = tuple(field.name for field in dataclasses.fields(ProcessFigures) if field.name != "runs")


@dataclass(frozen=True)
class Measurement:
    """One model, measured in several fresh processes.

    Attributes:
        engine: The engine's name.
        engine_version: The engine's version.
        providers_in_use: The execution providers that the model's nodes really ran on.
        threads: Threads, and processors that each process was pinned to.
        processes: What each process found, in the order of the rounds.
    """

    engine: str
    engine_version: str
    providers_in_use: tuple[str, ...]
    threads: int
    processes: tuple[ProcessFigures, ...]

    def __post_init__(self) -> None:
        if not self.processes:
            raise EngineError("a measurement needs at least one process.")

    @property
    def latency_p50_ms(self) -> float:
        """Median over the processes of their median latency."""
        return self._median(lambda figures: figures.latency_p50_ms)

    @property
    def latency_p95_ms(self) -> float:
        """Median over the processes of their 95th percentile."""
        return self._median(lambda figures: figures.latency_p95_ms)

    @property
    def latency_p99_ms(self) -> float:
        """Median over the processes of their 99th percentile."""
        return self._median(lambda figures: figures.latency_p99_ms)

    @property
    def cpu_p50_ms(self) -> float:
        """Median over the processes of their median processor time."""
        return self._median(lambda figures: figures.cpu_p50_ms)

    @property
    def load_ms(self) -> float:
        """Median over the processes of the time to load."""
        return self._median(lambda figures: figures.load_ms)

    @property
    def peak_memory_mib(self) -> float:
        """Greatest over the processes: a budget must hold for each of them."""
        return max(figures.peak_memory_mib for figures in self.processes)

    @property
    def throughput_per_s(self) -> float:
        """Median over the processes of the samples per second."""
        return self._median(lambda figures: figures.throughput_per_s)

    def _median(self, figure: Callable[[ProcessFigures], float]) -> float:
        return statistics.median(figure(figures) for figures in self.processes)

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form: the summary for people, and each process's figures, from which `from_json` reads."""
        return {
            "engine": self.engine,
            "engine_version": self.engine_version,
            "providers_in_use": list(self.providers_in_use),
            "threads": self.threads,
            "summary": {name: getattr(self, name) for name in _FIGURES},
            "processes": [dataclasses.asdict(figures) for figures in self.processes],
        }

    @classmethod
    def from_json(cls, value: object, error: type[EdgewrightError] = BundleError) -> Measurement:
        """Read the JSON form; the summary is computed again, and must agree.

        Raises:
            EdgewrightError: Of the given class, when a key is missing, unknown or wrong.
        """
        fields = Fields(value, "measurement", error)
        result = cls(
            engine=fields.text("engine"),
            engine_version=fields.text("engine_version"),
            providers_in_use=fields.texts("providers_in_use"),
            threads=fields.integer("threads", 1),
            processes=tuple(figures_from_json(item, error) for item in fields.array("processes")),
        )
        summary = fields.take("summary")
        fields.end()
        if summary != result.to_json()["summary"]:
            raise fields.fail("summary", "the medians of the processes", summary)
        return result


def figures_from_json(value: object, error: type[EdgewrightError]) -> ProcessFigures:
    """Read the figures of one process.

    Raises:
        EdgewrightError: Of the given class, when a key is missing, unknown or wrong.
    """
    fields = Fields(value, "measured process", error)
    figures = {name: fields.number(name) for name in _FIGURES}
    for name, figure in figures.items():
        if figure < 0:
            raise fields.fail(name, "0 or more", figure)
    result = ProcessFigures(**figures, runs=fields.integer("runs", 1))
    fields.end()
    return result


def speedup(reference: Measurement, variant: Measurement) -> tuple[float, ...]:
    """Give, per round, how many times faster the variant's median latency is than the reference's.

    Both must come from one interleaved measurement: the two processes of a round ran one after the other, so what the
    machine did at that time struck both.

    Raises:
        EngineError: They do not have the same number of rounds.
    """
    if len(reference.processes) != len(variant.processes):
        raise EngineError(
            f"a speed-up needs measurements of the same rounds, found {len(reference.processes)} and "
            f"{len(variant.processes)} processes: measure both in one go."
        )
    pairs = zip(reference.processes, variant.processes, strict=True)
    return tuple(slow.latency_p50_ms / fast.latency_p50_ms for slow, fast in pairs)
