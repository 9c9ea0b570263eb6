"""The real agent is killed at every step that it takes on the disk, and is given correctly signed releases that misbehave."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hostile_models
from agent_process import AgentProcess
from edgewright.pipeline.tracking import ModelVersion
from field_workshop import FieldWorkshop, padded_model
from mitm_proxy import MitmProxy, in_the_middle
from small_bundles import sound_model

pytest_plugins = ["field_workshop"]
slow = pytest.mark.slow

STARTS_MOST = 4
KILLED = "killed"


class Prepared:
    """A device that serves an old release and is offered a new one, to be copied; and how many steps that takes."""

    def __init__(self, folder: Path, old: ModelVersion, new: ModelVersion) -> None:
        self.folder, self.old, self.new = folder, old, new
        self.steps = 0

    def copy(self, to: Path) -> AgentProcess:
        """The same device on a folder of its own."""
        return AgentProcess(Path(shutil.copytree(self.folder, to)))


@pytest.fixture(scope="module")
def prepared(field: FieldWorkshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """Old is what was installed before, in slot A; the factory bundle is older still."""
    scratch = tmp_path_factory.mktemp("killed")
    factory, old, new = (field.build(f"{KILLED}-{each}", KILLED, padded_model(20_000, each)) for each in range(3))
    field.promote(factory)
    with in_the_middle(field.server) as proxy:
        field.enrol(scratch / "device", proxy.url, KILLED)
        field.promote(old)
        with AgentProcess(scratch / "device").start() as agent:
            agent.wait_serving(old.bundle_sha256)
            assert agent.end() == 0
        field.promote(new)
        made = Prepared(scratch / "device", old, new)
        log = scratch / "steps"
        with made.copy(scratch / "counted").start(TEST_COUNT_STEPS=str(log)) as agent:
            agent.wait_serving(new.bundle_sha256)
            made.steps = len(log.read_text().splitlines())
            agent.end()
        yield made


def survives(prepared: Prepared, folder: Path, at: int, kills: int = 1) -> int:
    """Kill the agent before its n-th step, in each of its first starts; gives how many starts it took to the new release.

    Whenever it is looked at, what the state calls active is whole, and after each start the old or the new one answers.
    """
    versions = {prepared.old.version, prepared.new.version}
    with prepared.copy(folder) as agent:
        for kill in range(kills):
            agent.process = agent.launch(TEST_KILL_BEFORE=str(at))
            status = agent.process.wait(60) if kill == 0 else wait_or_end(agent)
            assert status == -signal.SIGKILL, f"step {at}: {agent.tail()}"
            assert agent.is_whole, f"step {at}: what serves is damaged"
        while True:
            agent.start()
            answered = agent.ask()
            assert answered[0] == 200 and answered[1] in versions, f"step {at}: {answered}"
            try:
                agent.wait_serving(prepared.new.bundle_sha256)
                break
            except AssertionError:
                assert agent.starts < STARTS_MOST, f"step {at}: {agent.tail()}"
                agent.end(signal.SIGKILL)
        assert agent.ask() == (200, prepared.new.version)
        assert agent.state.refused == ()
        litter = [path.name for path in agent.state_folder.iterdir() if path.name.startswith(".")]
        assert agent.end() == 0
        assert litter == []
        shutil.rmtree(folder)
        return agent.starts


def wait_or_end(agent: AgentProcess) -> int:
    """Wait for its death at a step; where it was through before that, it is killed while it serves."""
    assert agent.process is not None
    try:
        return agent.process.wait(4)
    except subprocess.TimeoutExpired:
        return agent.end(signal.SIGKILL)


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_killed_in_the_midst_of_an_update_the_old_or_the_new_one_serves(
    share: float, prepared: Prepared, tmp_path: Path
) -> None:
    assert prepared.steps > 30
    assert survives(prepared, tmp_path / "killed", round(share * prepared.steps)) <= STARTS_MOST


@slow
@pytest.mark.parametrize("kills", [1, 2])
def test_killed_at_every_step_the_old_or_the_new_one_serves(kills: int, prepared: Prepared, tmp_path: Path) -> None:
    worst, took = 0, time.monotonic()
    # The last steps may come after the new one serves, and in another order each time: the tail is left to chance.
    steps = range(1, prepared.steps - 2)
    for at in steps:
        worst = max(worst, survives(prepared, tmp_path / f"killed at {at}", at, kills))
    print(f"{len(steps)} steps, {kills} kills each: at most {worst} starts, {time.monotonic() - took:.0f} s")
    assert worst <= STARTS_MOST


def test_of_eight_agents_on_one_folder_one_runs(prepared: Prepared, tmp_path: Path) -> None:
    with prepared.copy(tmp_path / "device") as agent:
        started = [agent.launch() for _ in range(8)]
        try:
            give_up_at = time.monotonic() + 60
            while sum(each.poll() is not None for each in started) < 7:
                assert time.monotonic() < give_up_at, agent.tail()
                time.sleep(0.05)
            ended = [each.returncode for each in started if each.poll() is not None]
            (agent.process,) = (each for each in started if each.poll() is None)
            agent.wait(lambda agent: agent.address is not None)
            assert agent.ask()[0] == 200
            assert ended == [3] * 7
            assert "is in use by the agent with the process id" in agent.log.read_text()
            assert agent.end() == 0
        finally:
            for each in started:
                if each.poll() is None:
                    each.kill()
                each.wait()


BAD: dict[str, tuple[Callable[[], bytes], dict[str, float], str]] = {
    "crashes": (hostile_models.crashing_at_load, {}, "3 starts failed"),
    "hangs": (hostile_models.hanging, {}, "3 starts failed"),
    "is wrong": (lambda: sound_model(rotate=1), {}, "does not reproduce its golden samples"),
    "bloats": (hostile_models.bloating, {}, "cannot run the model"),
    "is slow": (hostile_models.slow, {"latency_p95_ms": 1.0}, "p95 of single answers is"),
    "is too big": (lambda: padded_model(40 << 20), {"peak_memory_mib": 70.0}, "MiB of memory, at most 70 MiB"),
}
QUICK_ONES = ("crashes",)


@pytest.mark.parametrize("what", [pytest.param(each, marks=[] if each in QUICK_ONES else slow) for each in BAD])
def test_a_bad_release_is_left_alone_and_without_a_network(what: str, field: FieldWorkshop, tmp_path: Path) -> None:
    """Correctly signed and attested; the registry is switched off as soon as its last file was delivered."""
    make, budget, rule = BAD[what]
    model = f"bad-{what.replace(' ', '-')}"
    good, bad, better = (
        field.build(f"{model}-{each}", model, data, **limits)
        for each, data, limits in (("good", None, {}), ("bad", make(), budget), ("better", padded_model(9_000), {}))
    )
    field.promote(good)
    with in_the_middle(field.server) as proxy:
        folder = field.enrol(tmp_path / "device", proxy.url, model)
        settings = {"SERVE_START_DEADLINE_S": "4", "SERVE_DEADLINE_S": "1"}
        with AgentProcess(folder, **settings).start() as agent:
            agent.wait(lambda agent: agent.ask()[0] == 200)
            proxy.off_after = "model.onnx"
            field.promote(bad)
            agent.wait(lambda agent: agent.state.is_refused(bad.bundle_sha256), "it was not refused", 120)
            starts = len(agent.events("trial_started"))
            assert 1 <= starts <= 3
            assert rule in agent.state.refused[0].reason
            assert agent.ask()[0] == 200
            agent.wait_serving(good.bundle_sha256)
            agent.wait(lambda agent: agent.events("rollback"))
            (told,) = agent.events("rollback")
            assert rule in told["reason"]
            assert agent.end() == 0

            agent.start()  # without a network: it remembers
            assert agent.ask()[0] == 200
            registry_back(proxy)
            agent.wait(lambda agent: "misbehaved here before" in (agent.status()["updates"]["note"] or ""))
            assert len(agent.events("trial_started")) == starts
            agent.wait_serving(good.bundle_sha256)
            field.promote(better)
            agent.wait_serving(better.bundle_sha256)
            assert agent.ask() == (200, better.version)
            print(f"{what}: {starts} starts: {told['reason']}")
            assert agent.end() == 0


def registry_back(proxy: MitmProxy) -> None:
    """The registry can be reached again."""
    proxy.off_after = proxy.attack = None


@slow
@pytest.mark.parametrize("make", [hostile_models.crashing_on_white, hostile_models.hanging_on_white])
def test_a_release_that_fails_after_it_was_committed_is_left_without_a_network(
    make: Callable[[], bytes], field: FieldWorkshop, tmp_path: Path
) -> None:
    """It proves itself well and fails on an input that comes later: three times in a row, then the old one is back."""
    model = f"late-{make.__name__.replace('_', '-')}"
    good, bad = field.build(f"{model}-good", model), field.build(f"{model}-bad", model, make())
    field.promote(good)
    with in_the_middle(field.server) as proxy:
        folder = field.enrol(tmp_path / "device", proxy.url, model)
        with AgentProcess(folder, SERVE_DEADLINE_S="0.5", SERVE_HEARTBEAT_S="2").start() as agent:
            agent.wait(lambda agent: agent.ask()[0] == 200)
            proxy.off_after = "model.onnx"
            field.promote(bad)
            agent.wait_serving(bad.bundle_sha256)
            for _ in range(20):
                agent.ask_white()
                if agent.state.is_refused(bad.bundle_sha256):
                    break
                time.sleep(0.3)
            agent.wait_serving(good.bundle_sha256)
            assert agent.ask()[0] == 200
            assert len(agent.events("worker_ended")) == 3
            (told,) = agent.events("fall_back")
            assert told["to"] == "factory" and "3 starts in a row failed" in told["reason"]


def test_the_steps_that_are_killed_are_those_of_the_agents_process_alone(prepared: Prepared, tmp_path: Path) -> None:
    """Else a kill might meet a worker, which proves nothing about the agent."""
    with prepared.copy(tmp_path / "device") as agent:
        environment = {**agent.environment, "TEST_KILL_BEFORE": "1"}
        code = f"import os; os.mkdir({str(tmp_path / 'made')!r})"
        assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
        assert os.path.isdir(tmp_path / "made")
