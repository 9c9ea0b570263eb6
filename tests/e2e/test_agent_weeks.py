"""What the real agent takes of a device and of its line, day after day, and that nothing but a registry can change it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_process import AgentProcess
from field_workshop import FieldWorkshop, padded_model
from mitm_proxy import Attack, MitmProxy, in_the_middle

pytest_plugins = ["field_workshop"]

MOST_MIB, GROWTH_MIB = 45.0, 1.0
POLLS_A_DAY = 288
NOWHERE = "http://127.0.0.1:9"
MODEL = "weeks"


@pytest.fixture(scope="module")
def proxy(field: FieldWorkshop) -> Iterator[MitmProxy]:
    """A line that counts, with a release behind it."""
    field.promote(field.build("weeks-0", MODEL))
    with in_the_middle(field.server) as made:
        yield made


@pytest.fixture
def enrolled(field: FieldWorkshop, proxy: MitmProxy, tmp_path: Path) -> Path:
    """A device with the first release for its factory bundle."""
    field.promote(field.version(1, MODEL))
    return field.enrol(tmp_path / "device", proxy.url, MODEL)


def polls(proxy: MitmProxy) -> int:
    """How often was asked whether there is something new."""
    return sum(path.endswith("timestamp.json") for path, *_ in proxy.requests)


def test_a_day_of_questions_takes_little_of_the_line_and_no_more_memory_than_the_first(
    field: FieldWorkshop, proxy: MitmProxy, enrolled: Path
) -> None:
    """The whole agent, workers and receiver's queue with it; the day's pauses alone are left out."""
    release = field.build("weeks-day", MODEL, padded_model(30_000))
    with AgentProcess(enrolled, SPOOL_URL=NOWHERE).start(TEST_PAUSE_S="0.005") as agent:
        agent.wait(lambda agent: agent.ask()[0] == 200)
        field.promote(release)
        agent.wait_serving(release.bundle_sha256)
        after_trial = agent.rss_mib(peak=True)
        proxy.forget()
        agent.wait(lambda _: polls(proxy) >= 50)
        early = agent.rss_mib()
        agent.wait(lambda _: polls(proxy) >= POLLS_A_DAY + 2)
        late, asked = agent.rss_mib(), polls(proxy)
        requests, moved = len(proxy.requests), proxy.to_device + proxy.from_device
        assert agent.end() == 0
    print(
        f"{asked} polls: {requests / asked:.2f} requests and {moved / asked:.0f} bytes each, RSS {early:.1f} MiB after 50, "
        f"{late:.1f} MiB at the end, {after_trial:.1f} MiB at most until the trial had ended"
    )
    assert requests <= 2 * asked + 1  # one may be under way
    assert moved / asked <= 5_000
    assert max(after_trial, early, late) <= MOST_MIB
    assert late - early < GROWTH_MIB


def test_a_device_without_a_network_starts_and_answers(enrolled: Path) -> None:
    with AgentProcess(enrolled, REGISTRY_URL=NOWHERE).start() as agent:
        agent.wait(lambda agent: agent.ask()[0] == 200, most_s=20)
        agent.wait(lambda agent: agent.events("offline"))
        assert agent.end() == 0
        agent.start()
        agent.wait(lambda agent: agent.ask()[0] == 200, most_s=20)


@pytest.mark.parametrize("year", [1971, pytest.param(2100, marks=pytest.mark.slow)])
def test_in_a_wrong_year_new_releases_are_installed_and_old_ones_are_not(
    year: int, field: FieldWorkshop, proxy: MitmProxy, enrolled: Path
) -> None:
    second, third = (field.build(f"weeks-{year}-{each}", MODEL, padded_model(2_000, each)) for each in (year, year + 1))
    old = field.metadata()
    with AgentProcess(enrolled).start(TEST_YEAR=str(year)) as agent:
        agent.wait(lambda agent: agent.ask()[0] == 200)
        field.promote(second)
        agent.wait_serving(second.bundle_sha256)
        (told,) = [each for each in agent.events("alarm") if each["about"] == "clock"]
        assert f"clock says {year}-06-01" in told["reason"]
        proxy.attack = Attack((".json",), lambda path, data: old.get(path, data))
        agent.wait(lambda agent: agent.events("update_refused"))
        assert agent.serves(second.bundle_sha256)
        proxy.attack = None
        assert agent.end() == 0
        floor = agent.state.signed_at_s
        agent.start()  # with the clock set: nothing was spoilt
        field.promote(third)
        agent.wait_serving(third.bundle_sha256)
        assert floor <= agent.state.signed_at_s < floor + 600
        assert agent.status()["updates"]["clock"] is None


# The asking and the reporting half of the agent, in a process whose time goes by as fast as its pauses can be counted.
WEEK = """
import json, sys, time
real, real_wall, ahead = time.monotonic, time.time, [0.0]
time.monotonic, time.time = lambda: real() + ahead[0], lambda: real_wall() + ahead[0]
from pathlib import Path
from edgewright.device.agent_config import load_agent_config
from edgewright.device.events import Events
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.device.updating import Updating

def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

class Pauses:
    polls = early = 0.0
    def is_set(self):
        return ahead[0] > 7 * 86_400
    def wait(self, seconds):
        ahead[0] += seconds
        self.polls += 1
        if not self.early and ahead[0] > 3 * 86_400:
            self.early = rss()  # the queue's own cache, of SQLite's fixed size, has filled
        events.look()

config = load_agent_config(Path(sys.argv[1]))
holder, slots = StateHolder(config.state), Slots(config.state, config.factory)
slots.prepare()
events = Events(config)
events.follow(lambda: holder.state)
with events:
    updating = Updating(config, holder, slots, events)
    updating._stop = pauses = Pauses()
    updating._run()
    late = rss()
    spool = events.spool.figures()
    print(json.dumps({"polls": pauses.polls, "early": pauses.early, "late": late, "spool": spool.size_bytes,
                      "failed": events.metrics.counts()["polls_failed"], "told": events.metrics.counts()["events"]}))
"""


@pytest.mark.slow
def test_a_week_without_a_registry_changes_nothing_and_then_the_device_follows(
    field: FieldWorkshop, proxy: MitmProxy, enrolled: Path
) -> None:
    with AgentProcess(enrolled).start() as agent:
        agent.wait(lambda agent: agent.state.signed_at_s)
        agent.end()
        before = agent.state
        newest = field.build("weeks-away", MODEL, padded_model(5_000))
        field.promote(newest)
        away = {"EDGEWRIGHT_AGENT_REGISTRY_URL": NOWHERE, "EDGEWRIGHT_AGENT_SPOOL_URL": NOWHERE}
        away |= {"EDGEWRIGHT_AGENT_REGISTRY_BACKOFF_FIRST_S": "1", "EDGEWRIGHT_AGENT_REGISTRY_BACKOFF_MOST_S": "300"}
        words = [sys.executable, "-c", WEEK, str(enrolled / "agent.toml")]
        done = subprocess.run(words, env={**agent.environment, **away}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        print(f"{found['polls']:.0f} questions: RSS {found['early']:.1f} MiB after 3 days, {found['late']:.1f} after 7")
        assert 2_016 < found["failed"] == found["polls"] < 8_000, "a pause is 150 s on average"
        assert found["told"] < 10, "a week offline is a line or two"
        assert max(found["early"], found["late"]) <= MOST_MIB
        assert found["late"] - found["early"] < GROWTH_MIB
        assert found["spool"] < 64 << 20
        assert agent.state == before
        agent.start()
        agent.wait_serving(newest.bundle_sha256)
