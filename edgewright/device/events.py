"""What happens on a device, told once: to the log, to the counters, to the reports, and to the spool that is sent home.

The parts of the agent call four methods and know nothing of what stands behind them: `Events.count`, `Events.event`,
`Events.answered` and `Events.sample`. None of them raises, and only `event` may wait, up to a second, for the disk.
"""

from __future__ import annotations

import base64
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from edgewright.device.agent_config import AgentConfig
from edgewright.device.agent_log import AgentLog, Fact, RateLimit
from edgewright.device.agent_state import AgentState
from edgewright.device.metrics import Metrics
from edgewright.device.sender import Sender
from edgewright.device.sensors_of_machine import read_temperatures, resident_mib
from edgewright.device.sketches import is_drift
from edgewright.device.spool import LINE_MAX_BYTES, Spool
from edgewright.device.spool_memory import Priority
from edgewright.device.state_words import describe_place
from edgewright.device.telemetry import Telemetry, to_line

WARNINGS = frozenset(
    {
        "alarm",
        "fall_back",
        "open_address",
        "rollback",
        "slot_not_emptied",
        "state_unwritable",
        "trial_failed",
        "update_refused",
        "worker_ended",
    }
)
"""Kinds of events that are logged as warnings; all others are information."""
UNCERTAIN = "uncertain"

_EVENT_BURST, _EVENTS_PER_S = 30, 1 / 60
_SAMPLE_BURST, _SAMPLES_PER_S = 20, 0.1
_DURABLE_WITHIN_S = 1.0
_LOOK_S = 0.5
_MOST_FACTS, _FACT_CHARACTERS = 32, 600
_NO_KIND = re.compile(r"[^a-z0-9_.]")


class Events:
    """Everything that a device tells of itself. Thread-safe.

    Where no receiver is configured nothing is spooled: log, metrics and status are all there is.
    """

    def __init__(
        self,
        config: AgentConfig,
        log: AgentLog | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing runs before `start`.

        Args:
            config: The configuration.
            log: Where lines go; None: stderr.
            monotonic: A clock that never goes back, seconds.
            wall: The time of day, seconds since 1970.
        """
        self._settings, self._monotonic = config.spool, monotonic
        self._wants_samples = config.spool.raw_inputs == UNCERTAIN
        self.log = log or AgentLog(secrets=(config.spool.token,))
        self.metrics = Metrics()
        self.telemetry = Telemetry(config.state, monotonic)
        self.spool: Spool | None = None
        self.sender: Sender | None = None
        if config.spool.url:
            self.spool = Spool(config.state, config.spool.maximum_mib, self._tell_spool, wall)
            self.sender = Sender(config, self.spool, self._tell_sender)
        self._state: Callable[[], AgentState] = AgentState
        self._worker_pid: Callable[[], int | None] = lambda: None
        self._lock = threading.Lock()
        self._event_limit = RateLimit(_EVENT_BURST, _EVENTS_PER_S, monotonic)
        self._sample_limit = RateLimit(_SAMPLE_BURST, _SAMPLES_PER_S, monotonic)
        self._reported = self.metrics.counts()
        self._due = monotonic() + config.spool.telemetry_s
        self._drifts = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._add_gauges()

    def follow(self, state: Callable[[], AgentState], worker_pid: Callable[[], int | None] = lambda: None) -> None:
        """Say where to read what the device runs, for reports and metrics.

        Args:
            state: Gives the agent's state.
            worker_pid: Gives the process that answers; None when there is none.
        """
        self._state, self._worker_pid = state, worker_pid

    def start(self) -> None:
        """Begin to spool, to send and to report, each in a thread of its own."""
        if self.spool is not None:
            self.spool.start()
        if self.sender is not None:
            self.sender.start()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Report what was not reported, write it, and end. What could not be sent stays on the disk."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2.0)
        self.report()
        if self.sender is not None:
            self.sender.stop()
        if self.spool is not None:
            self.spool.stop()
        self.log.tell_suppressed()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def count(self, name: str, value: float = 1) -> None:
        """Add to a counter of `metrics.COUNTERS`; another name is told of in the log."""
        if not self.metrics.count(name, value):
            self.log.write("warning", "unknown_counter", name=name, value=value)

    def event(self, kind: str, **facts: Fact) -> None:
        """Tell what happened: a line in the log, and an item of high priority, durable when this returns.

        Args:
            kind: A word, e.g. ``rollback``.
            facts: What else is to be known, e.g. ``reason``.
        """
        self.metrics.count("events")
        self.log.write("warning" if kind in WARNINGS else "info", kind, **facts)
        with self._lock:
            admitted = self._event_limit.admits(kind)
        if not admitted:
            self.metrics.count("events_suppressed")
        elif self.spool is not None:
            name = f"event.{_NO_KIND.sub('_', kind.lower())[:50]}"
            self.spool.put(name, Priority.HIGH, to_line(self._bounded(facts)), wait_s=_DURABLE_WITHIN_S)

    def answered(self, latency_ms: float, facts: dict[str, Any]) -> None:
        """Count one answered request: see `Telemetry.answered`."""
        self.metrics.count("requests")
        samples = facts.get("samples", 1)
        self.metrics.count("samples", samples if type(samples) is int else 0)
        self.metrics.observe(latency_ms)
        self.telemetry.answered(latency_ms, facts)

    def sample(self, body: bytes, content_type: str, confidence: float) -> None:
        """Keep a raw input to be sent, if the device's policy lets it leave, it is uncertain, and there is room for it.

        Args:
            body: The request's body.
            content_type: What that is.
            confidence: The least probability of what was answered on it.
        """
        if self.spool is None or not self._wants_samples or not confidence < self._settings.sample_confidence:
            return
        with self._lock:
            admitted = len(body) * 4 // 3 < LINE_MAX_BYTES - 1024 and self._sample_limit.admits("sample")
        if not admitted:
            self.metrics.count("samples_withheld")
            return
        state = self._state()
        serves = describe_place(state, state.active)
        head = {"content_type": content_type[:100], "confidence": confidence, "serves": serves}
        self.spool.put("sample", Priority.LOW, to_line({**head, "body": base64.b64encode(body).decode("ascii")}))
        self.metrics.count("samples_chosen")

    def report(self) -> dict[str, Any]:
        """Make the report of what happened since the last one, and spool it."""
        counts = self.metrics.counts()
        with self._lock:
            since = {
                name: count - self._reported[name] for name, count in counts.items() if count != self._reported[name]
            }
            self._reported = counts
            suppressed = {kind: self._event_limit.take_held_back(kind) for kind in list(self._event_limit.held_back)}
        extra = {
            "counts": since,
            "suppressed": suppressed,
            "spool": asdict(self.spool.figures()) if self.spool else None,
        }
        report = self.telemetry.report(self._state(), self._worker_pid(), extra)
        if self.spool is not None:
            self.spool.put("report", Priority.MIDDLE, to_line(report))
        self._watch_drift()
        return report

    def look(self) -> None:
        """Do what is due: the report, and following which release serves. The thread does it twice a second."""
        state = self._state()
        held = state.held(state.active)
        try:
            self.telemetry.follow(held.release.bundle_sha256 if held else state.active)
        except OSError as error:
            self.log.write("warning", "drift_reference", reason=f"it cannot be kept over a restart: {error}")
        now = self._monotonic()
        if now >= self._due:
            self._due = now + self._settings.telemetry_s
            self.report()

    def describe(self) -> dict[str, Any]:
        """Say how reporting goes, for the status."""
        psi, noise = self.telemetry.drift()
        return {
            "spool": asdict(self.spool.figures()) if self.spool else None,
            "sender": asdict(self.sender.figures) if self.sender else None,
            "drift": {"psi": psi, "noise": noise},
        }

    def metrics_page(self) -> str:
        """Give what ``/metrics`` answers, of the type `metrics.CONTENT_TYPE`."""
        return self.metrics.page()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            try:
                self.look()
            except Exception as error:  # a defect in a report must not end all later ones
                self.log.write("error", "report_failed", reason=f"{type(error).__name__}: {error}")

    def _watch_drift(self) -> None:
        psi, noise = self.telemetry.drift()
        drifts = is_drift(psi, noise)
        if drifts and not self._drifts:
            reason = "the inputs differ from those that this release began with: its answers may be worse than measured"
            self.event("alarm", about="input_drift", psi=psi, reason=reason)
        self._drifts = drifts

    def _bounded(self, facts: dict[str, Fact]) -> dict[str, Fact]:
        found: dict[str, Fact] = {}
        for name, value in list(facts.items())[:_MOST_FACTS]:
            if isinstance(value, str):
                value = self.log.redacted(value)[:_FACT_CHARACTERS]
            found[name] = str(value) if isinstance(value, float) and not math.isfinite(value) else value
        return found

    def _tell_spool(self, text: str) -> None:
        self.log.write("warning", "spool", reason=text)

    def _tell_sender(self, text: str) -> None:
        self.log.write("warning", "sender", reason=text)

    def _add_gauges(self) -> None:
        add = self.metrics.add_gauge
        add("agent_memory_mib", "Resident memory of the agent's process, in MiB.", resident_mib)
        add("worker_memory_mib", "Resident memory of the process that answers, in MiB.", self._worker_memory)
        add(
            "temperature_celsius",
            "The hottest zone of the machine.",
            _hottest,
        )
        add("input_drift_psi", "Population stability index of the inputs.", lambda: self.telemetry.drift()[0])
        add("releases_refused", "Releases whose bytes are refused here.", lambda: len(self._state().refused))
        add("on_trial", "1 while a release is on trial.", lambda: float(self._state().trial is not None))
        if (spool := self.spool) is not None:
            add("spool_items", "Items that wait to be sent.", lambda: sum(spool.figures().items.values()))
            add("spool_bytes", "What the spool takes on the disk.", lambda: spool.figures().size_bytes)
            add("spool_evicted", "Items forgotten since the start.", lambda: sum(spool.figures().evicted.values()))
        if (sender := self.sender) is not None:
            add("sender_sent_items", "Items acknowledged since the start.", lambda: sender.figures.sent_items)
            add("sender_failures", "Requests to the receiver that failed.", lambda: sender.figures.failures)
        self.metrics.add_info("release_info", "What serves.", self._release_labels)

    def _worker_memory(self) -> float | None:
        pid = self._worker_pid()
        return None if pid is None else resident_mib(pid)

    def _release_labels(self) -> dict[str, str]:
        state = self._state()
        serves = describe_place(state, state.active) or {}
        return {key: str(serves.get(key, "")) for key in ("place", "name", "version", "variant", "bundle_sha256")}


def _hottest() -> float | None:
    return max((read_temperatures() or {}).values(), default=None)
