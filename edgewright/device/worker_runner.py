"""A bundle that runs: which one it is, and the worker that was started for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.bundle_file import MANIFEST_MAX_BYTES, MANIFEST_NAME, sha256_hex
from edgewright.device.agent_config import AgentConfig
from edgewright.device.agent_state import Held, Place
from edgewright.device.slots import Slots
from edgewright.device.worker_job import WorkerJob
from edgewright.device.worker_link import WorkerLink

StartWorker = Callable[[WorkerJob, Callable[[], float], Callable[[], None]], WorkerLink]
_KIB = 1024


@dataclass
class Runner:
    """A bundle and its worker.

    Attributes:
        place: Where the bundle lies.
        bundle_sha256: Its identity.
        version: Its version in the registry; None for the factory's.
        link: The worker.
        ready_at: When it was found ready, or began to serve; None before that.
    """

    place: Place
    bundle_sha256: str
    version: int | None
    link: WorkerLink
    ready_at: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it answers."""
        return self.link.is_ready

    @property
    def model(self) -> dict[str, Any]:
        """What the worker reports about the model; empty before it is ready. Not to be trusted."""
        model = self.link.report.get("model", {})
        return dict(model)

    def release(self) -> dict[str, Any]:
        """Say which release this is, as clients are told."""
        variant = str(self.model.get("variant", ""))[:100]
        return {"version": self.version, "variant": variant, "bundle_sha256": self.bundle_sha256}


class Starter:
    """Starts workers as the configuration says."""

    def __init__(
        self,
        config: AgentConfig,
        slots: Slots,
        now: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] = lambda: None,
        start_worker: StartWorker = WorkerLink,
    ) -> None:
        self._config, self._slots = config, slots
        self._now, self._on_change, self._start_worker = now, on_change, start_worker

    def start(self, place: Place, held: Held | None, on_trial: bool = False) -> Runner:
        """Start a worker on the bundle of a place.

        Args:
            place: Where the bundle is.
            held: What is there, as it was signed; None for the factory's.
            on_trial: Whether the signed budget decides. What serves already is not taken away by a busy hour.

        Raises:
            OSError: The system cannot start it, or the bundle cannot be read.
            RuntimeError: The system gives no thread, or links lead in a circle.
        """
        serve, folder = self._config.serve, self._slots.folder(place).resolve()
        sha256 = held.release.bundle_sha256 if held else _manifest_sha256(folder)
        latency_ms = held.release.budget.latency_p95_ms if held and on_trial else None
        job = WorkerJob(
            folder=folder,
            bundle_sha256=sha256,
            memory_mib=serve.memory_mib,
            start_deadline_s=serve.start_deadline_s,
            deadline_s=serve.deadline_s,
            heartbeat_s=serve.heartbeat_s,
            request_bytes=int(serve.request_kib * _KIB),
            latency_p95_ms=None if latency_ms is None else latency_ms * self._config.health.latency_slack,
            peak_memory_mib=held.release.budget.peak_memory_mib if held and on_trial else None,
            files=held.release.files if held else (),
        )
        link = self._start_worker(job, self._now, self._on_change)
        return Runner(place, sha256, held.release.version if held else None, link)


def _manifest_sha256(folder: Path) -> str:
    with (folder / MANIFEST_NAME).open("rb") as stream:
        return sha256_hex(stream.read(MANIFEST_MAX_BYTES))
