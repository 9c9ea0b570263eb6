"""The real agent, the real registry, releases that the real workshop signed, and somebody in between who means ill.

Every attack meets an agent that serves one release and is offered the next: nothing is installed, what serves goes on,
one event says so, and once the attack is over the same agent, without a restart, installs what it was offered.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from agent_process import QUICK, AgentProcess
from edgewright.bundle_file import MANIFEST_NAME, sha256_hex
from edgewright.device.agent_config import load_agent_config
from edgewright.device.agent_state import AgentState
from edgewright.device.clock import TrustedClock
from edgewright.device.installer import Installer
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.device.updates import UpdateClient
from edgewright.device.updating import read_root
from edgewright.errors import IntegrityError, TrustError
from edgewright.pipeline.signing.ceremony import rotate_key
from edgewright.pipeline.signing.mirror import mend_mirror
from edgewright.pipeline.signing.roles import SNAPSHOT, TIMESTAMP
from edgewright.pipeline.tracking import ModelVersion, Tracking, champion
from edgewright.pipeline.tracking.client import open_client
from edgewright.signed_release import REPOSITORY
from field_workshop import MODEL, ROLE, TARGET, FieldWorkshop, Thief, padded_model
from mitm_proxy import Attack, MitmProxy, in_the_middle
from small_bundles import make_small_bundle, sound_model

pytest_plugins = ["field_workshop"]
slow = pytest.mark.slow

SIZE = 40_000
OTHER = "ornaments"


class Line:
    """A workshop, a line that somebody has cut into, and the agent at its end."""

    def __init__(self, field: FieldWorkshop, proxy: MitmProxy, agent: AgentProcess, versions: list[ModelVersion]):
        self.field, self.proxy, self.agent = field, proxy, agent
        # Of three, the next one is never in a slot: it must be downloaded.
        self._next = cycle(versions)

    def release(self) -> ModelVersion:
        """The workshop signs the next release."""
        version = next(self._next)
        self.field.promote(version)
        return version

    def suffer(self, attack: Attack | None, kind: str, promotes: bool = True) -> list[dict[str, Any]]:
        """Let the next release meet an attack, and then no attack any more; gives the events that told of it.

        Args:
            attack: What happens on the line; None when it happens in the registry itself.
            kind: What must be told.
            promotes: Whether the workshop signs a release meanwhile; else it does so afterwards.
        """
        agent, before, told = self.agent, self.agent.state, len(self.agent.events(kind))
        serves = agent.ask()
        assert serves[0] == 200
        self.proxy.attack = attack
        version = self.release() if promotes else None
        agent.wait(lambda agent: len(agent.events(kind)) > told, f"nothing told of {kind}", 120)
        time.sleep(0.6)  # several more questions, which tell nothing new
        after = agent.state
        assert (after.active, after.slots, after.trial) == (before.active, before.slots, None)
        assert after.refused == before.refused, "nobody can have good bytes refused"
        assert agent.is_whole
        assert agent.ask() == serves, "what serves goes on"
        assert attack is None or attack.hits or attack.off
        found = agent.events(kind)[told:]
        self.proxy.attack = None
        if not promotes:
            self.field.heal()
            version = self.release()
        assert version is not None
        agent.wait_serving(version.bundle_sha256)
        assert agent.ask() == (200, version.version)
        return found


@pytest.fixture(scope="module")
def line(field: FieldWorkshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """The agent serves the first of three releases, which it installed."""
    folder = tmp_path_factory.mktemp("device") / "enrolled"
    versions = [field.build(f"attacked-{each}", data=padded_model(SIZE, each)) for each in range(4)]
    field.promote(field.build("another", OTHER))
    field.promote(versions[0])
    with in_the_middle(field.server) as proxy, ExitStack() as stack:
        agent = stack.enter_context(AgentProcess(field.enrol(folder, proxy.url), REGISTRY_TIMEOUT_S="2")).start()
        made = Line(field, proxy, agent, versions[1:])
        agent.wait_serving(made.release().bundle_sha256)
        yield made
        assert agent.end() == 0
        assert "Traceback" not in agent.log.read_text()


def flipped(path: str, data: bytes) -> bytes:
    """One bit in the middle is another one."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def halved(path: str, data: bytes) -> bytes:
    """The second half is missing, and the headers say that this is all."""
    return data[: len(data) // 2]


ROLE_FILE, MODEL_FILE = f".{ROLE}.json", "model.onnx"
REFUSED, ALARM, OFFLINE = "update_refused", "alarm", "offline"
ATTACKS: dict[str, tuple[Attack, str, str]] = {
    "metadata with a flipped bit": (Attack(("timestamp.json",), flipped), REFUSED, "refused"),
    "a file with a flipped bit": (Attack((MODEL_FILE,), flipped), ALARM, "does not have the sha256"),
    "half of the metadata": (Attack((ROLE_FILE,), halved), REFUSED, "refused"),
    "endless metadata": (Attack(("timestamp.json",), endless=True), REFUSED, "larger than"),
    "an endless file": (Attack((MODEL_FILE,), endless=True), ALARM, "longer than"),
    "a byte of metadata each 250 ms": (Attack(("timestamp.json",), gap_s=0.25), OFFLINE, "slower than"),
    "a byte of a file each 250 ms": (Attack((MODEL_FILE,), gap_s=0.25), OFFLINE, "slower than"),
    "no connection": (Attack(off=True), OFFLINE, "cannot be reached"),
    "every connection cut at once": (Attack(cut=lambda path, data: 0), OFFLINE, "broke off"),
}
QUICK_ONES = (
    "metadata with a flipped bit",
    "a file with a flipped bit",
    "an endless file",
)


@pytest.mark.parametrize("what", [pytest.param(each, marks=[] if each in QUICK_ONES else slow) for each in ATTACKS])
def test_what_the_line_does_to_an_answer_installs_nothing_and_ends_with_the_line(what: str, line: Line) -> None:
    attack, kind, rule = ATTACKS[what]
    (told,) = line.suffer(attack, kind)
    assert rule in told["reason"]


def test_what_was_signed_before_is_refused_when_it_is_replayed(line: Line) -> None:
    old = line.field.metadata()
    line.agent.wait_serving(line.release().bundle_sha256)
    (told,) = line.suffer(Attack((".json",), lambda path, data: old.get(path, data)), REFUSED)
    assert "replayed" in told["reason"] or "must be >=" in told["reason"]


def test_a_new_timestamp_with_an_old_snapshot_is_refused(line: Line) -> None:
    _, old = max((int(path.name.split(".")[0]), path) for path in line.field.mirror.glob("*.snapshot.json"))
    snapshot = old.read_bytes()
    (told,) = line.suffer(Attack((".snapshot.json",), lambda path, data: snapshot), REFUSED)
    assert "does not match expected" in told["reason"]


@slow
def test_another_models_metadata_in_the_place_of_the_own_is_refused(line: Line) -> None:
    other = next(line.field.mirror.glob(f"*.{OTHER}.{TARGET}.json"))
    line.suffer(Attack((ROLE_FILE,), lambda path, data: other.read_bytes()), REFUSED)


@slow
def test_another_releases_model_in_the_place_of_the_own_is_refused(line: Line) -> None:
    other = padded_model(SIZE, seed=9)
    assert len(other) == len(padded_model(SIZE, seed=1)), "its length gives nothing away"
    (told,) = line.suffer(Attack((MODEL_FILE,), lambda path, data: other), ALARM)
    assert "does not have the sha256" in told["reason"]


def forged(line: Line, tmp_path: Path) -> Path:
    """A bundle that works, of somebody who is nobody here."""
    return make_small_bundle(tmp_path / "forged", sound_model(), build="forged").folder


@slow
def test_what_foreign_keys_signed_is_refused(line: Line, tmp_path: Path) -> None:
    thief = Thief(line.field)
    thief.publish(ROLE, thief.release(line.field.version(1), forged(line, tmp_path)))
    (told,) = line.suffer(None, REFUSED, promotes=False)
    assert "signed by 0/1 keys" in told["reason"]


def test_who_stole_the_keys_of_timestamp_and_snapshot_installs_nothing(line: Line, tmp_path: Path) -> None:
    thief = Thief(line.field, TIMESTAMP, SNAPSHOT)
    thief.publish(ROLE, thief.release(line.field.version(1), forged(line, tmp_path)))
    (told,) = line.suffer(None, REFUSED, promotes=False)
    assert "signed by 0/1 keys" in told["reason"]


def test_who_stole_all_online_keys_of_another_model_installs_nothing(line: Line, tmp_path: Path) -> None:
    """His metadata is sound, and names files that are not his: the device reads past it. Then the keys are exchanged."""
    agent, field, before = line.agent, line.field, line.agent.state
    other = f"{OTHER}.{TARGET}"
    thief = Thief(field, TIMESTAMP, SNAPSHOT, other)
    thief.publish(other, thief.release(field.version(1), forged(line, tmp_path), other))
    floor = before.floors["timestamp"].version
    agent.wait(lambda agent: agent.state.floors["timestamp"].version > floor, "his timestamp was not read")
    time.sleep(1.2)
    after = agent.state
    assert (after.active, after.slots, after.trial) == (before.active, before.slots, None)
    assert agent.ask()[0] == 200
    repository = field.repository
    with repository.locked("a test") as lease:
        for name in (TIMESTAMP, SNAPSHOT, other):
            mend_mirror(field.tracking, rotate_key(repository, name, lease).generation)
    agent.wait_serving(line.release().bundle_sha256)


def test_an_open_registry_gives_nothing_to_who_writes_into_it(line: Line, tmp_path: Path) -> None:
    """Everything that MLflow lets anybody do: a version of one's own, forged tags, an alias moved, metadata exchanged."""
    field, agent = line.field, line.agent
    signed, before = champion(field.tracking, MODEL, TARGET), agent.state
    assert signed is not None
    client = open_client(field.tracking)
    bundle = forged(line, tmp_path)
    for path in bundle.iterdir():
        field.put(f"0/forged/artifacts/bundle/{path.name}", path.read_bytes())
    fake = client.create_model_version(ROLE, "mlflow-artifacts:/0/forged/artifacts/bundle")
    for key, value in client.get_model_version(ROLE, str(signed.version)).tags.items():
        client.set_model_version_tag(ROLE, fake.version, key, value)
    forged_sha256 = sha256_hex((bundle / MANIFEST_NAME).read_bytes())
    for key, value in (("edgewright.verdict", "pass"), ("edgewright.bundle_sha256", forged_sha256)):
        client.set_model_version_tag(ROLE, fake.version, key, value)
    field.point(int(fake.version))
    newest = max(int(path.name.split(".")[0]) for path in field.mirror.glob("*.root.json"))
    for name in ("timestamp.json", f"{newest + 1}.root.json"):
        field.put(f"{REPOSITORY}/{name}", b'{"signed": {}, "signatures": []}')
    agent.wait(lambda agent: "refused" in (agent.status()["updates"]["error"] or ""))
    done, _ = field.heal(Tracking(field.server, field.tracking.home))
    assert any(f"was sent again: timestamp.json, {newest + 1}.root.json (nobody signed it" in each for each in done)
    assert any(f"back at version {signed.version}" in each for each in done)
    now = champion(field.tracking, MODEL, TARGET)
    assert now is not None and now.version == signed.version
    agent.wait(lambda agent: agent.status()["updates"]["error"] is None)
    after = agent.state
    assert (after.active, after.slots, after.trial) == (before.active, before.slots, None)
    agent.wait_serving(line.release().bundle_sha256)


@slow
@pytest.mark.parametrize("how", [flipped, halved])
def test_a_bundle_overwritten_in_the_registry_is_not_installed_until_it_is_put_back(
    how: Callable[[str, bytes], bytes], line: Line
) -> None:
    field, agent = line.field, line.agent
    before, kind = agent.state, {flipped: ALARM, halved: OFFLINE}[how]
    version, told = next(line._next), len(agent.events(kind))
    place = f"{version.source.partition(':/')[2].strip('/')}/{MODEL_FILE}"
    whole = (field.store / place).read_bytes()
    field.put(place, how(place, whole))
    field.promote(version)
    agent.wait(lambda agent: len(agent.events(kind)) > told, most_s=120)
    assert (agent.state.active, agent.state.slots, agent.state.trial) == (before.active, before.slots, None)
    assert agent.ask()[0] == 200
    field.put(place, whole)
    agent.wait_serving(version.bundle_sha256)


@slow
def test_twenty_disconnects_cost_five_percent_at_most(field: FieldWorkshop, tmp_path: Path) -> None:
    model, size, breaks = "dropped", 1_000_000, 20
    field.promote(field.build("dropped-1", model))
    with (
        in_the_middle(field.server) as proxy,
        AgentProcess(field.enrol(tmp_path / "device", proxy.url, model)).start() as agent,
    ):
        agent.wait(lambda agent: agent.ask()[0] == 200)
        left = [breaks]

        def cut(path: str, data: bytes) -> int | None:
            left[0] -= 1
            return size // (breaks + 1) if left[0] >= 0 else None

        proxy.attack = Attack((MODEL_FILE,), cut=cut)
        release = field.build("dropped-2", model, padded_model(size))
        proxy.forget()
        field.promote(release)
        agent.wait_serving(release.bundle_sha256)
        files = [each for each in proxy.requests if f"/{MODEL_FILE}" in each[0]]
        polls = sum(path.endswith("timestamp.json") for path, *_ in proxy.requests)
        total = sum(path.stat().st_size for path in (agent.state_folder / "slots" / "A").iterdir())
        print(f"{len(files)} requests, {proxy.to_device} bytes to the device for {total}, {polls} polls with them")
        assert len(files) == breaks + 1
        assert proxy.to_device <= 1.05 * total


class InProcess:
    """The trusting half of an agent, without a process: check, download, install."""

    def __init__(self, folder: Path) -> None:
        environment = {f"EDGEWRIGHT_AGENT_{name}": value for name, value in QUICK.items()}
        self.folder, config = folder, load_agent_config(folder / "agent.toml", environment)
        self.holder = StateHolder(config.state)
        slots = Slots(config.state, config.factory)
        slots.prepare()
        clock = TrustedClock(self.holder, config.registry)
        self._updates = UpdateClient(config, self.holder, clock, read_root(config))
        self._installer = Installer(config, self.holder, slots)

    def bring(self) -> None:
        """Ask and install; the trial of what was installed ends well."""
        release = self._updates.check()
        if release is not None and self._installer.install(release):
            self.holder.change(AgentState.with_trial_start)
            self.holder.change(AgentState.committed)

    @property
    def serving(self) -> str | None:
        held = self.holder.state.held(self.holder.state.active)
        return None if held is None else held.release.bundle_sha256


def says_the_same(path: str, data: bytes, other: bytes) -> bool:
    """Whether a root differs in nothing but one of its signatures, of which there is one to spare."""
    signed = b'"signed":'
    return path.endswith("root.json") and data.partition(signed)[2] == other.partition(signed)[2]


@pytest.mark.parametrize("flips", [15, pytest.param(500, marks=slow)])
def test_every_flipped_bit_of_everything_served_is_a_refusal(flips: int, field: FieldWorkshop, tmp_path: Path) -> None:
    """Over all that the device is sent for a release, root to model: each draw on a fresh copy of the same device."""
    model, chance, refused = f"flipped{flips}", random.Random(flips), 0
    first, second = (field.build(f"{model}-{each}", model, padded_model(2_000, each)) for each in (1, 2))
    field.promote(first)
    with in_the_middle(field.server) as proxy:
        device = InProcess(field.enrol(tmp_path / "device", proxy.url, model))
        device.bring()
        repository = field.repository
        with repository.locked("a test") as lease:
            mend_mirror(field.tracking, rotate_key(repository, TIMESTAMP, lease).generation)
        field.promote(second)
        proxy.forget()
        shutil.copytree(device.folder, tmp_path / "honest")
        honest = InProcess(tmp_path / "honest")
        honest.bring()
        assert honest.serving == second.bundle_sha256
        served = [path for path, _, status in proxy.requests if status == 200]
        assert len(served) == 4 + 3, "root, timestamp, snapshot, role, and the bundle's three files"
        while refused < flips:
            at = served[refused % len(served)]
            whole = (field.store / at).read_bytes()
            bit = chance.randrange(8 * len(whole))
            spoilt = bytearray(whole)
            spoilt[bit // 8] ^= 1 << bit % 8
            if says_the_same(at, whole, bytes(spoilt)):
                continue
            proxy.attack = Attack((at,), lambda path, data, spoilt=bytes(spoilt): spoilt)  # type: ignore[misc]
            folder = Path(shutil.copytree(device.folder, tmp_path / f"flip {refused}"))
            victim = InProcess(folder)
            with pytest.raises((TrustError, IntegrityError)):
                victim.bring()
            assert victim.holder.state.slots == device.holder.state.slots
            assert (victim.serving, victim.holder.state.trial) == (device.serving, None)
            shutil.rmtree(folder)
            refused += 1
        proxy.attack = None
        device.bring()
        assert device.serving == second.bundle_sha256
