"""What a device reports from time to time: how it answered since the last report, what it runs, how the machine is."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import edgewright
from edgewright.device.agent_state import AgentState
from edgewright.device.sensors_of_machine import read_temperatures, resident_mib
from edgewright.device.sketches import ConfidenceHistogram, DriftSketch, LabelCounts, LatencyHistogram, ValueRange
from edgewright.device.state_words import describe_place
from edgewright.durable import replace_file
from edgewright.errors import DataError
from edgewright.strict_json import Fields, dump_json, load_json

REFERENCE_NAME = "drift.json"
_FORMAT = 1
_REFERENCE_MAX_BYTES = 1 << 14
_MOST_OF_ONE_ANSWER = 4096


class Telemetry:
    """Figures of fixed size since the last report. Thread-safe; adding never waits for a disk."""

    def __init__(self, folder: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin.

        Args:
            folder: The state folder; the reference of the input drift is kept there.
            monotonic: A clock that never goes back, seconds.
        """
        self._path, self._monotonic = folder / REFERENCE_NAME, monotonic
        self._lock = threading.Lock()
        self._begun = self._since = monotonic()
        self._bundle: str | None = None
        self._drift, self._is_kept = DriftSketch(), False
        self._renew()

    def answered(self, latency_ms: float, facts: Mapping[str, Any]) -> None:
        """Add one answered request; facts that are not what they should be are left out.

        Args:
            latency_ms: Its time.
            facts: ``samples`` (how many), and per sample ``confidences``, ``input_mean``, ``labels``
                and ``values``.
        """
        samples = facts.get("samples", 1)
        with self._lock:
            self._requests += 1
            self._samples += samples if type(samples) is int and samples > 0 else 0
            self._latency.add(latency_ms)
            for confidence in _numbers(facts, "confidences"):
                self._confidence.add(confidence)
            for mean in _numbers(facts, "input_mean"):
                self._drift.add(mean)
            for label in _values(facts, "labels"):
                self._labels.add(str(label))
            for value in _numbers(facts, "values"):
                self._values.add(value)

    def report(self, state: AgentState, worker_pid: int | None, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Give the report since the last one, and begin the next.

        Args:
            state: What the device runs, has on trial and refused.
            worker_pid: The process that answers.
            extra: What else belongs in it: counters, the spool.
        """
        now = self._monotonic()
        with self._lock:
            period_s = now - self._since
            self._drift.close_window()
            figures = {
                "period_s": round(period_s, 1),
                "uptime_s": round(now - self._begun, 1),
                "answers": {
                    "requests": self._requests,
                    "samples": self._samples,
                    "samples_per_s": round(self._samples / period_s, 3) if period_s > 0 else None,
                },
                "latency_ms": self._latency.to_json(),
                "confidence_bins": self._confidence.bins,
                "labels": self._labels.to_json(),
                "values": self._values.to_json(),
                "drift": self._drift.to_json(),
            }
            self._renew()
        return {
            "format": _FORMAT,
            "agent": edgewright.__version__,
            **figures,
            "serves": describe_place(state, state.active),
            "trial": None if state.trial is None else describe_place(state, state.trial.slot),
            "refused": len(state.refused),
            "temperature_c": read_temperatures(),
            "memory_mib": {"agent": resident_mib(), "worker": resident_mib(worker_pid) if worker_pid else None},
            **extra,
        }

    def drift(self) -> tuple[float | None, float | None]:
        """Give the population stability index of the last whole window, and what chance alone gives."""
        with self._lock:
            return self._drift.psi, self._drift.noise

    def follow(self, bundle_sha256: str | None) -> None:
        """Say which bundle serves. Each has its own reference; that of the last one outlives a restart."""
        with self._lock:
            if bundle_sha256 == self._bundle and self._is_kept == self._drift.is_settled:
                return
            if bundle_sha256 != self._bundle:
                self._drift.begin_anew()
                self._bundle, self._is_kept = bundle_sha256, self._restore(bundle_sha256)
                return
            data = dump_json({"format": _FORMAT, "bundle_sha256": self._bundle, **self._drift.reference()})
            self._is_kept = True  # once: where it cannot be written now, it is learnt again after the next start
        replace_file(self._path, data)

    def _restore(self, bundle_sha256: str | None) -> bool:
        try:
            with self._path.open("rb") as stream:
                data = stream.read(_REFERENCE_MAX_BYTES)
            fields = Fields(load_json(data, str(self._path), DataError), str(self._path), DataError)
            if fields.integer("format") != _FORMAT or fields.take("bundle_sha256") != bundle_sha256:
                return False
            return self._drift.restore(fields.numbers("edges"), fields.numbers("counts"))
        except (OSError, DataError):  # none yet, or a damaged one: the reference is learnt anew
            return False

    def _renew(self) -> None:
        self._requests = self._samples = 0
        self._latency, self._confidence, self._labels = LatencyHistogram(), ConfidenceHistogram(), LabelCounts()
        self._values = ValueRange()
        self._since = self._monotonic()


def to_line(told: Mapping[str, Any]) -> bytes:
    """Give a report or an event as one line of JSON; what JSON has no form for becomes a text."""
    return json.dumps(told, separators=(",", ":"), allow_nan=False, default=str).encode()


def _values(facts: Mapping[str, Any], key: str) -> list[Any]:
    values = facts.get(key)
    return values[:_MOST_OF_ONE_ANSWER] if isinstance(values, list) else []


def _numbers(facts: Mapping[str, Any], key: str) -> list[float]:
    return [value for value in _values(facts, key) if isinstance(value, float | int) and not isinstance(value, bool)]
