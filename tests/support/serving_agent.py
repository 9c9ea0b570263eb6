"""The serving half of an agent, running: real workers, a real state folder, real HTTP, and a client that never rests."""

from __future__ import annotations

import dataclasses
import http.client
import io
import json
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np

from edgewright.device.agent_config import AgentConfig, DeviceSection, HealthSection, ServeSection
from edgewright.device.agent_state import AgentState
from edgewright.device.http_api import HttpApi
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.device.supervisor import Supervisor
from edgewright.signed_release import Budget, SignedRelease
from small_bundles import install, samples

QUICK = {"deadline_s": 1.0, "start_deadline_s": 6.0, "heartbeat_s": 3.0}
"""Times that let a test end."""


def small_config(
    folder: Path,
    factory: Path | None = None,
    serve: dict[str, Any] | None = None,
    health: dict[str, Any] | None = None,
) -> AgentConfig:
    """Give a configuration with short times."""
    return AgentConfig(
        DeviceSection("d1", "patterns", "linux-x86", str(folder / "state"), str(factory) if factory else ""),
        serve=ServeSection(**{"listen": "127.0.0.1:0", **QUICK, **(serve or {})}),
        health=HealthSection(**{"window_s": 20.0, "shadow_s": 0.3, **(health or {})}),
    )


class RecordedEvents:
    """What was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.counts: dict[str, float] = {}
        self.answers: list[dict[str, Any]] = []
        self.samples: list[float] = []

    def count(self, name: str, value: float = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + value

    def event(self, kind: str, **facts: str | int | float | None) -> None:
        self.told.append((kind, facts))

    def answered(self, latency_ms: float, facts: dict[str, Any]) -> None:
        self.answers.append(facts)

    def sample(self, body: bytes, content_type: str, confidence: float) -> None:
        self.samples.append(confidence)

    def metrics_page(self) -> str:
        return "edgewright_requests_total 1\n"

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Give the facts of all events of a kind."""
        return [facts for found, facts in list(self.told) if found == kind]


class ServingAgent:
    """Runs until it is left."""

    def __init__(self, config: AgentConfig, tick_s: float = 0.02) -> None:
        config.state.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.events = RecordedEvents()
        self.holder = StateHolder(config.state)
        self.slots = Slots(config.state, config.factory)
        self.slots.prepare()
        self.supervisor = Supervisor(config, self.holder, self.slots, self.events)
        self.api = HttpApi(config, self.supervisor, self.events, self.supervisor.describe)
        self._tick_s = tick_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick)

    @property
    def state(self) -> AgentState:
        return self.holder.state

    def __enter__(self) -> Self:
        self.api.__enter__()
        self.supervisor.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        self.supervisor.stop()

    def leave(self) -> None:
        """End the interface and the ticks as a killed process ends them: nothing is written, workers lose their line."""
        if self._thread.is_alive():
            self.api.__exit__(None, None, None)
            self._stop.set()
            self._thread.join()

    def _tick(self) -> None:
        while not self._stop.wait(self._tick_s):
            self.supervisor.tick()

    def install(self, folder: Path, version: int, budget: Budget | None = None) -> SignedRelease:
        """Put a bundle on trial."""
        return install(self.holder.change, self.slots, folder, version, budget)

    def make_active(self, folder: Path, version: int = 1) -> SignedRelease:
        """Let a bundle serve without a trial; before the agent runs."""
        release = self.install(folder, version)
        self.holder.change(lambda state: state.committed())
        return release

    def wait(self, until: Callable[[Self], object], most_s: float = 20.0) -> None:
        """Wait until something is so."""
        stop_at = time.monotonic() + most_s
        while not until(self):
            assert time.monotonic() < stop_at, f"in vain: {self.supervisor.describe()} {self.events.told}"
            time.sleep(0.01)

    def wait_serving(self, version: int | None = None) -> None:
        """Wait until a version serves."""
        self.wait(lambda agent: (found := agent.supervisor.serving) is not None and found.version == version)

    def ask(self, raw: Any | None = None) -> tuple[int, dict[str, Any]]:
        """Ask once, over HTTP."""
        connection = http.client.HTTPConnection("127.0.0.1", self.api.port, timeout=30)
        try:
            return post(connection, samples(1)[0] if raw is None else raw)
        finally:
            connection.close()


def post(connection: http.client.HTTPConnection, raw: Any) -> tuple[int, dict[str, Any]]:
    """Ask once, on a connection."""
    body = io.BytesIO()
    np.save(body, raw)
    connection.request("POST", "/v1/answers", body.getvalue(), {"Content-Type": "application/x-npy"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@dataclasses.dataclass
class Asked:
    """One question of a client that never rests."""

    at: float
    took_s: float
    status: int
    version: int | None
    right: bool


class RestlessClient:
    """Asks all the time, in a thread of its own, and remembers every answer."""

    def __init__(self, agent: ServingAgent) -> None:
        self._port = agent.api.port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.asked: list[Asked] = []

    @property
    def failed(self) -> list[Asked]:
        return [each for each in self.asked if each.status != 200]

    @property
    def versions(self) -> list[int | None]:
        """The versions that answered, each run of the same one once."""
        found = [each.version for each in self.asked if each.status == 200]
        return [each for number, each in enumerate(found) if number == 0 or found[number - 1] != each]

    @property
    def longest_gap_s(self) -> float:
        """The longest time between two answers."""
        ends = [each.at + each.took_s for each in self.asked if each.status == 200]
        return max((after - before for before, after in pairwise(ends)), default=0.0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        raw, truth = samples(30, seed=7)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        number = 0
        while not self._stop.is_set():
            at, number = time.monotonic(), (number + 1) % 30
            status, answer = post(connection, raw[number])
            version = answer["release"]["version"] if status == 200 else None
            right = status == 200 and answer["answers"][0]["label_index"] == truth[number]
            self.asked.append(Asked(at, time.monotonic() - at, status, version, right))
            self._stop.wait(0.01)
        connection.close()
