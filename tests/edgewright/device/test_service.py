"""The agent's process: what it starts with, what it says of itself, how it ends, and with which status it refuses."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgewright.device import agent, service, state_file
from edgewright.device.agent_config import AgentConfig, DeviceSection, RegistrySection, load_agent_config
from edgewright.device.agent_state import AgentState, Held
from edgewright.device.local_model import LocalModel
from edgewright.device.service import AgentService
from edgewright.device.slots import Slots
from edgewright.device.state_file import PREVIOUS_NAME, STATE_NAME, StateFile
from edgewright.device.state_holder import StateHolder, state_lock
from edgewright.device.status import RUNNING_NAME, read_status
from edgewright.device.updating import Updating
from edgewright.errors import EdgewrightError, EnrolmentError
from hostile_registry import serving
from small_bundles import LABELS, make_small_bundle, release_of, samples
from tuf_repository import TufRepository

AGENT = str(Path(sys.executable).parent / "edgewright-agent")
CLOSED = "http://127.0.0.1:9"
WITHIN_S = 30.0
CONFIG = """
[device]
id = "press-7"
model = "patterns"
target = "linux-x86"
state = "state"
factory = "factory"
[serve]
listen = "127.0.0.1:0"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A device with a factory bundle and no registry."""
    make_small_bundle(tmp_path / "factory")
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG)
    return file


def call(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [AGENT, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment or None)


@contextmanager
def running(config: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """An agent that has begun to serve."""
    command = [AGENT, "run", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment or None) as process:
        try:
            wait(lambda: read_status(config.parent / "state").get("serves"), process)
            yield process
        finally:
            process.kill()


def wait(is_so: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    give_up_at = time.monotonic() + WITHIN_S
    while not is_so():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_it_serves_says_what_it_does_and_ends_when_it_is_told_to(config: Path) -> None:
    state = config.parent / "state"
    with running(config) as process:
        address = str(json.loads((state / RUNNING_NAME).read_text())["address"])
        images, truth = samples(6, seed=4)
        with LocalModel(address) as model:
            answers = model.answer(images)
        assert [each.label for each in answers] == [LABELS[label] for label in truth]
        status = json.loads(call("status", "--config", config, "--json").stdout)
        assert (status["running"], status["device"], status["active"]) == (True, "press-7", "factory")
        assert status["pid"] == process.pid
        assert status["updates"] == {"registry": None}
        page = call("status", "--config", config)
        assert page.returncode == 0
        assert "the factory bundle" in page.stdout
        with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
            assert "edgewright_samples_total 6" in answer.read().decode()
        assert call("healthy", "--config", config).stdout == "healthy\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not (state / RUNNING_NAME).exists()
    done = call("healthy", "--config", config)
    assert done.returncode == 6
    assert "Start it: edgewright-agent run" in done.stderr


def test_the_service_manager_hears_that_it_is_ready_and_alive(config: Path) -> None:
    place = config.parent / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place))
        manager.settimeout(WITHIN_S)
        with running(config, NOTIFY_SOCKET=str(place), PATH="/usr/bin:/bin") as process:
            assert manager.recv(1000).decode().splitlines()[0] == "READY=1"
            assert manager.recv(1000).decode().splitlines()[0] == "WATCHDOG=1"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        said = b""
        while b"STOPPING=1" not in said:
            said = manager.recv(1000)


def test_a_full_disk_takes_no_service_away(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a reboot there may be no room for a single file: what is held serves, and can be asked."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config.write_text(CONFIG.replace("127.0.0.1:0", address))

    StateHolder(config.parent / "state").change(lambda state: dataclasses.replace(state, active="factory"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for module in (service, state_file):
        monkeypatch.setattr(module, "replace_file", full)
    monkeypatch.setattr(os, "ftruncate", full)
    found = AgentService(load_agent_config(config))
    thread = threading.Thread(target=found.run)
    thread.start()
    try:
        with LocalModel(f"http://{address}") as model:
            give_up_at = time.monotonic() + WITHIN_S
            while True:
                try:
                    assert [each.label for each in model.answer(samples(1)[0])] == [LABELS[0]]
                    break
                except EdgewrightError:
                    assert thread.is_alive() and time.monotonic() < give_up_at
                    time.sleep(0.05)
        assert not (config.parent / "state" / RUNNING_NAME).exists()
        assert call("healthy", "--config", config).stdout == "healthy\n"
    finally:
        found.stop()
        thread.join()


def test_an_agent_that_had_no_room_to_say_where_it_is_is_found_by_its_configuration(config: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config.write_text(CONFIG.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
    with running(config) as process:
        (config.parent / "state" / RUNNING_NAME).unlink()
        assert json.loads(call("status", "--config", config, "--json").stdout)["running"] is True
        assert f", process {process.pid}, up " in call("status", "--config", config).stdout
        assert call("healthy", "--config", config).returncode == 0
        other = config.with_name("other.toml")
        other.write_text(config.read_text().replace("press-7", "press-8").replace('"state"', '"other"'))
        assert json.loads(call("status", "--config", other, "--json").stdout)["running"] is False, "another device's"
        assert call("healthy", "--config", other).returncode == 6


def test_a_second_agent_on_the_folder_is_refused(config: Path) -> None:
    with state_lock(config.parent / "state"):
        done = call("run", "--config", config)
    assert done.returncode == 3
    assert "one agent per state folder" in done.stderr


def test_all_that_is_wrong_with_the_configuration_is_said_at_once(config: Path) -> None:
    config.write_text(
        CONFIG.replace('"press-7"', '"press 7"') + 'deadline_s = 0\nports = 3\n[spool]\nraw_inputs = "all"\n'
    )
    done = call("run", "--config", config)
    assert done.returncode == 2
    assert "serve.deadline_s must be a number from 0.001 to 600" in done.stderr
    assert "serve.ports is unknown" in done.stderr
    config.write_text(CONFIG.replace('"press-7"', '"press 7"') + '[spool]\nraw_inputs = "all"\n')
    done = call("run", "--config", config)
    assert "device.id must be" in done.stderr
    assert "spool.raw_inputs must be never or uncertain" in done.stderr


def test_addresses_that_are_none_are_told_before_anything_starts(config: Path) -> None:
    text = CONFIG.replace("127.0.0.1:0", "8930") + '[registry]\nurl = "registry.example"\n[spool]\nurl = "example"\n'
    config.write_text(text)
    done = call("run", "--config", config)
    assert done.returncode == 2
    for key in ("registry.url", "serve.listen", "spool.url"):
        assert f"  {key} must look like " in done.stderr
    assert not (config.parent / "state").exists()


@pytest.mark.parametrize("step", ["mkdir", "fsync"])
def test_a_disk_without_room_for_the_state_is_told_by_the_status_that_is_documented(
    step: str, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    assert agent.main(["run", "--config", str(config)]) == 4
    assert "is full: make room there" in capsys.readouterr().err


def test_a_state_that_cannot_be_read_is_not_guessed(config: Path) -> None:
    state = config.parent / "state"
    state.mkdir()
    (state / STATE_NAME).write_text("{torn")
    (state / PREVIOUS_NAME).write_text("{torn")
    done = call("run", "--config", config)
    assert done.returncode == 4
    assert "Enrol this device again" in done.stderr


def test_with_a_registry_there_must_be_a_root_of_trust(config: Path) -> None:
    config.write_text(CONFIG + f'[registry]\nurl = "{CLOSED}"\n')
    done = call("run", "--config", config)
    assert done.returncode == 5
    assert "edgewright enrol" in done.stderr
    (config.parent / "root.json").write_text("{}")
    assert call("run", "--config", config).returncode == 5


def test_a_refusal_can_be_taken_back(config: Path) -> None:
    state, folder = config.parent / "state", make_small_bundle(config.parent / "second", rotate=1).folder
    held = Held(release_of(folder, 4), "2030-01-31T12:00:00Z")
    state.mkdir()
    StateFile(state).write(AgentState().refusing(held, "3 failed starts", "2030-01-31T12:00:00Z"))
    sha256 = held.release.bundle_sha256
    done = call("allow", "0" * 12, "--config", config)
    assert done.returncode == 2
    assert f"names 0 refused bundles here. Refused: {sha256[:12]}" in done.stderr
    done = call("allow", sha256[:12], "--config", config)
    assert done.stdout == f"allowed: version 4, bundle {sha256[:12]}; it was refused: 3 failed starts\n"
    assert StateHolder(state).state.refused == ()


def test_settings_are_a_file_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(call("settings").stdout.replace('id = ""', 'id = "a"'))
    done = call("run", "--config", tmp_path / "agent.toml")
    assert "2 problem(s)" in done.stderr, "model and target are for the owner to say"


class Told:
    """Events that only remember."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.counts: dict[str, float] = {}

    def event(self, kind: str, **facts: Any) -> None:
        self.events.append((kind, str(facts["reason"])))

    def count(self, name: str, value: float = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + value


def make_updating(tmp_path: Path, url: str = CLOSED) -> tuple[Updating, Told]:
    (tmp_path / "root.json").write_bytes(TufRepository(tmp_path / "store").trusted_root())
    device = DeviceSection("d", "digits", "linux-x86", str(tmp_path / "state"))
    config = AgentConfig(device, RegistrySection(url=url), folder=tmp_path)
    holder, told = StateHolder(config.state), Told()
    return Updating(config, holder, Slots(config.state, None), told), told  # type: ignore[arg-type]


def test_weeks_offline_are_one_line(tmp_path: Path) -> None:
    updating, told = make_updating(tmp_path)
    assert [updating.ask_once() for _ in range(20)] == [False] * 20
    assert len(told.events) == 1
    assert told.events[0][0] == "offline"
    assert (told.counts["polls"], told.counts["polls_failed"]) == (20, 20)
    assert "cannot be reached" in updating.describe()["error"]


def test_being_stopped_while_the_registry_is_silent_is_not_being_offline(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        updating, told = make_updating(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        updating._stop.set()
        assert updating.ask_once()
    assert told.events == []
    assert (told.counts["polls"], told.counts.get("polls_failed")) == (1, None)


def test_what_asking_costs_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(tmp_path / "store") as registry:
        updating, told = make_updating(tmp_path, registry.url)
        for asked in (1, 2):
            updating.ask_once()
            assert registry.sent_bytes < told.counts["poll_bytes"] < registry.sent_bytes + asked * 10_000
        assert told.counts["poll_bytes"] > 0


def test_a_defect_is_told_again_when_it_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    updating, told = make_updating(tmp_path)

    def fail() -> None:
        raise KeyError("a defect")

    for check in (fail, fail, lambda: None, fail):
        monkeypatch.setattr(updating._client, "check", check)
        updating._asked_well()
    assert [kind for kind, _ in told.events] == ["alarm", "alarm"]
    assert updating.describe()["error"] == "KeyError: 'a defect'"


def test_a_root_that_is_missing_is_named(tmp_path: Path) -> None:
    device = DeviceSection("d", "digits", "linux-x86", str(tmp_path / "state"))
    config = AgentConfig(device, RegistrySection(url=CLOSED), folder=tmp_path)
    with pytest.raises(EnrolmentError, match=r"root\.json cannot be read .*Enrol this device"):
        Updating(config, StateHolder(config.state), Slots(config.state, None), Told())  # type: ignore[arg-type]


def test_the_configuration_can_come_from_the_environment(config: Path) -> None:
    found = load_agent_config(config, {"EDGEWRIGHT_AGENT_REGISTRY_POLL_S": "7", "EDGEWRIGHT_AGENT_DEVICE_ID": "b"})
    assert (found.registry.poll_s, found.device.id) == (7.0, "b")
