"""Prometheus' text exposition 0.0.4, by hand: a device needs no client library for a page of lines.

Every name is in the tables below, so that no input from outside can make the page grow.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import TypeVar

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

COUNTERS = {
    "requests": "Requests for answers that were answered.",
    "samples": "Samples that were answered.",
    "requests_bad": "Requests that were refused because their body is wrong.",
    "requests_busy": "Requests that were refused because too many waited.",
    "requests_deadline": "Requests that were broken off at their deadline.",
    "requests_unserved": "Requests that came while nothing served.",
    "requests_failed": "Requests on which the model, or its process, failed.",
    "worker_starts": "Starts of worker processes.",
    "worker_ends": "Worker processes that ended without being told to.",
    "shadow_compared": "Live samples on which a trial's decision was compared.",
    "shadow_agreed": "Compared samples on which the trial decided alike.",
    "shadow_dropped": "Live samples that the trial had no time for.",
    "polls": "Questions to the registry for a release.",
    "polls_failed": "Questions to the registry that failed.",
    "poll_bytes": "Bytes of these questions and their answers, headers too.",
    "metadata_refused": "Answers of the registry that were refused: forged, replayed, expired.",
    "download_bytes": "Bytes of bundles that were fetched.",
    "installs": "Releases that were installed into a slot.",
    "installs_failed": "Releases that could not be installed.",
    "commits": "Releases that proved themselves and serve since.",
    "rollbacks": "Releases that were refused after a trial, or left after they had served.",
    "events": "Events, suppressed ones too.",
    "events_suppressed": "Events that were not recorded, because too many of their kind came.",
    "samples_chosen": "Raw inputs that were recorded to be sent.",
    "samples_withheld": "Uncertain raw inputs that were not recorded: the policy, their size or their number forbids it.",
}
"""Names for `Events.count`, and what they count; all are exposed as ``edgewright_<name>_total``."""

_PREFIX = "edgewright_"
_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BROKEN = ("figures_broken", "Figures that are missing on this page because reading them failed: a defect.")
_LATENCY = ("answer_seconds", "Time of one answered request, in seconds.")
_LABEL_CHARACTERS = 100

Gauge = Callable[[], float | None]
Info = Callable[[], Mapping[str, str]]
_Figure = TypeVar("_Figure")


class Metrics:
    """Counters, one histogram of latencies, and gauges that are read when the page is asked for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(COUNTERS, 0.0)
        self._latencies = [0] * (len(_BOUNDS_S) + 1)
        self._latency_sum_s = 0.0
        self._gauges: dict[str, tuple[str, Gauge]] = {}
        self._infos: dict[str, tuple[str, Info]] = {}

    def count(self, name: str, value: float = 1) -> bool:
        """Add to a counter; says whether there is one of this name. A counter never falls: what would, is left out."""
        if name not in self._counts or not 0 <= value < math.inf:
            return False
        with self._lock:
            self._counts[name] += value
        return True

    def observe(self, latency_ms: float) -> None:
        """Add one latency."""
        if not 0 <= latency_ms < math.inf:
            return
        with self._lock:
            self._latencies[bisect_left(_BOUNDS_S, latency_ms / 1000)] += 1
            self._latency_sum_s += latency_ms / 1000

    def counts(self) -> dict[str, float]:
        """Give all counters."""
        with self._lock:
            return dict(self._counts)

    def add_gauge(self, name: str, meaning: str, read: Gauge) -> None:
        """Show a figure that is read when the page is asked for; None: it cannot be measured, and is not on that page.

        One whose reading raises is left out, too, and counted on the page as ``edgewright_figures_broken``.

        Args:
            name: With its unit, e.g. ``spool_bytes``.
            meaning: One sentence.
            read: Gives the figure.
        """
        self._gauges[name] = (meaning, read)

    def add_info(self, name: str, meaning: str, read: Info) -> None:
        """Show texts as labels of a gauge that is always 1, e.g. which release serves."""
        self._infos[name] = (meaning, read)

    def page(self) -> str:
        """Give the whole page."""
        with self._lock:
            counts, latencies, total_s = dict(self._counts), list(self._latencies), self._latency_sum_s
        lines: list[str] = []
        for name, meaning in COUNTERS.items():
            lines += [*_head(f"{name}_total", meaning, "counter"), f"{_PREFIX}{name}_total {_number(counts[name])}"]
        lines += _histogram_lines(latencies, total_s)
        broken: list[str] = []
        for name, (meaning, read) in self._gauges.items():
            figure = _read(name, read, broken)
            if figure is not None:
                lines += [*_head(name, meaning, "gauge"), f"{_PREFIX}{name} {_number(figure)}"]
        for name, (meaning, texts) in self._infos.items():
            labels = _read(name, texts, broken)
            if labels is not None:
                pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())
                lines += [*_head(name, meaning, "gauge"), f"{_PREFIX}{name}{{{pairs}}} 1"]
        lines += [*_head(*_BROKEN, "gauge"), f"{_PREFIX}{_BROKEN[0]} {len(broken)}"]
        return "\n".join(lines) + "\n"


def _histogram_lines(latencies: list[int], total_s: float) -> list[str]:
    name, meaning = _LATENCY
    lines, seen = _head(name, meaning, "histogram"), 0
    for bound, count in zip((*_BOUNDS_S, math.inf), latencies, strict=True):
        seen += count
        lines.append(f'{_PREFIX}{name}_bucket{{le="{_number(bound)}"}} {seen}')
    return [*lines, f"{_PREFIX}{name}_sum {_number(total_s)}", f"{_PREFIX}{name}_count {seen}"]


def _read(name: str, read: Callable[[], _Figure | None], broken: list[str]) -> _Figure | None:
    """A figure whose reading has a defect leaves the others on the page, and is counted there."""
    try:
        return read()
    except Exception:
        broken.append(name)
        return None


def _head(name: str, meaning: str, kind: str) -> list[str]:
    text = meaning.replace("\\", r"\\").replace("\n", r"\n")
    return [f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} {kind}"]


def _escaped(value: str) -> str:
    return value[:_LABEL_CHARACTERS].replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
