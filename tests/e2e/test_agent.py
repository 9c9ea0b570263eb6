"""A device in the field: the real agent against the real registry, from enrolment to a rollback and weeks offline."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.device.local_model import LocalModel
from edgewright.pipeline.datasets import digits
from edgewright.pipeline.tracking import Tracking, champion

ENDS_WITHIN_S = 60.0
SETTINGS = {
    "EDGEWRIGHT_AGENT_DEVICE_ID": "press-7",
    "EDGEWRIGHT_AGENT_SERVE_LISTEN": "127.0.0.1:0",
    "EDGEWRIGHT_AGENT_REGISTRY_POLL_S": "1",
    "EDGEWRIGHT_AGENT_REGISTRY_BACKOFF_MOST_S": "1",
    "EDGEWRIGHT_AGENT_HEALTH_SHADOW_S": "1",
    "EDGEWRIGHT_AGENT_HEALTH_WINDOW_S": "30",
}


class Device:
    """An enrolled device, and its agent's process."""

    def __init__(self, workshop: Any, folder: Path) -> None:
        self.workshop, self.config = workshop, folder / "agent.toml"
        self.log = folder.parent / "agent.log"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts the agent; it runs when this returns."""
        with self.log.open("a") as log:
            environment = {**self.workshop.environment, **SETTINGS}
            self.process = self.workshop.start(
                "edgewright-agent", "run", "--config", self.config, env=environment, stdout=log, stderr=log
            )
        self.until(lambda status: status.get("running"))

    def end(self, how: signal.Signals) -> int:
        """Ends the agent."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(30)

    def status(self) -> dict[str, Any]:
        """What ``status --json`` says."""
        done = self.workshop.agent("status", "--config", self.config, "--json")
        assert done.status == 0, done.err
        found: dict[str, Any] = json.loads(done.out)
        return found

    def until(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Waits for a status."""
        give_up_at = time.monotonic() + ENDS_WITHIN_S
        while not wanted(status := self.status()):
            assert self.process is None or self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up_at, (status, self.log.read_text()[-4000:])
            time.sleep(0.2)
        return status

    def serves(self, bundle_sha256: str) -> Callable[[dict[str, Any]], bool]:
        """Whether that bundle has been committed and answers."""
        return lambda status: (
            status.get("serves") is not None
            and status["serves"]["release"]["bundle_sha256"] == bundle_sha256
            and status["trial"] is None
            and status["active"] in ("A", "B")
        )

    def answer(self, images: Any) -> list[int]:
        """What it answers on images."""
        with LocalModel(self.status()["address"]) as model:
            return [int(each.label) for each in model.answer(images)]


@pytest.fixture
def device(workshop: Any, registry: Tracking, tmp_path: Path) -> Iterator[Device]:
    """A device that is enrolled at the workshop."""
    done = workshop.edgewright(
        "enrol", "tiny", "--target", "here", "--into", tmp_path / "enrolled", "--registry", registry.uri
    )
    assert done.status == 0, done.err
    made = Device(workshop, tmp_path / "enrolled")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def test_a_device_follows_what_the_workshop_signs_and_outlives_kills_and_silence(
    workshop: Any, registry: Tracking, device: Device
) -> None:
    first = champion(registry, "tiny", "here")
    assert first is not None
    device.start()
    status = device.until(lambda status: status.get("serves"))
    assert status["device"] == "press-7"
    dataset = digits.load()
    assert dataset.fixed_split is not None
    images = dataset.images[dataset.fixed_split][::1000]
    before = device.answer(images)
    assert len(set(before)) > 3

    done, summary = workshop.build(workshop.write_recipe("second.yaml", seed=11))
    assert done.status in (0, 4), done.err
    second = champion(registry, "tiny", "here")
    assert second is not None and second.version != first.version, summary
    device.until(device.serves(second.bundle_sha256))

    assert device.end(signal.SIGKILL) == -signal.SIGKILL
    workshop_was_asked = device.status()
    assert workshop_was_asked["running"] is False
    assert workshop_was_asked["active"] in ("A", "B")
    device.start()
    device.until(device.serves(second.bundle_sha256))

    done = workshop.edgewright("rollback", "tiny", "--target", "here", "--reason", "the drill")
    assert done.status == 0, done.err
    status = device.until(device.serves(first.bundle_sha256))
    assert device.answer(images) == before
    assert np.all([floor >= 1 for floor in status["floors"].values()])

    assert device.end(signal.SIGTERM) == 0
    offline = {"EDGEWRIGHT_AGENT_REGISTRY_URL": "http://127.0.0.1:9"}
    SETTINGS.update(offline)
    try:
        device.start()
        status = device.until(lambda status: status.get("serves") and status["updates"]["error"])
        assert "cannot be reached" in status["updates"]["error"]
        assert device.answer(images) == before
        assert device.end(signal.SIGTERM) == 0
    finally:
        for name in offline:
            SETTINGS.pop(name)
    assert "Traceback" not in device.log.read_text()
