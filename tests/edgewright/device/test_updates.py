from __future__ import annotations

import dataclasses
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import tuf
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile, TargetFile
from tuf.ngclient import Updater

from edgewright.device.agent_config import AgentConfig, DeviceSection, RegistrySection
from edgewright.device.agent_state import AgentState
from edgewright.device.clock import TrustedClock
from edgewright.device.installer import Installer
from edgewright.device.registry_client import TransferError
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.device.updates import UpdateClient
from edgewright.durable import remove_tree
from edgewright.errors import EdgewrightError, EnrolmentError, IntegrityError, TrustError
from edgewright.signed_release import REPOSITORY, SignedRelease
from hostile_registry import Attack, HostileRegistry, serving
from tuf_repository import MODEL, NAME, TARGET, TufRepository

TIMESTAMP = f"{REPOSITORY}/timestamp.json"


@pytest.fixture
def repo(tmp_path: Path) -> TufRepository:
    return TufRepository(tmp_path / "store")


@pytest.fixture
def registry(repo: TufRepository, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileRegistry]:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(repo.folder) as server:
        yield server


class Device:
    """An agent's trusting half, on one folder; its clock is the repository's unless a test sets it."""

    def __init__(
        self,
        folder: Path,
        registry: HostileRegistry,
        root: bytes,
        clock: Callable[[], float] = time.time,
        **options: float,
    ) -> None:
        section = RegistrySection(url=registry.url, **{"timeout_s": 5.0, "backoff_first_s": 0.01, **options})
        self.config = AgentConfig(DeviceSection("d", MODEL, TARGET, "state"), section, folder=folder)
        self.folder, self.registry, self.root, self.clock_s, self.options = folder, registry, root, clock, options
        self.holder = StateHolder(self.config.state)
        self.slots = Slots(self.config.state, None)
        self.clock = TrustedClock(self.holder, section, clock)
        self.updates = UpdateClient(self.config, self.holder, self.clock, root)
        self.installer = Installer(self.config, self.holder, self.slots)

    def check(self) -> SignedRelease | None:
        return self.updates.check()

    def bring(self) -> SignedRelease | None:
        """Check, install, and let the trial end well."""
        release = self.check()
        if release is not None and self.installer.install(release):
            self.holder.change(AgentState.with_trial_start)
            self.holder.change(AgentState.committed)
        return release

    @property
    def serving(self) -> int | None:
        held = self.holder.state.held(self.holder.state.active)
        return None if held is None else held.release.version

    def copy(self, folder: Path) -> Device:
        """A device that is where this one is, on a folder of its own."""
        shutil.copytree(self.config.state, folder / "state", symlinks=True)
        return Device(folder, self.registry, self.root, self.clock_s, **self.options)

    def lose_cache(self) -> None:
        remove_tree(self.config.state / "metadata")
        (self.config.state / "metadata").mkdir()


@pytest.fixture
def device(tmp_path: Path, repo: TufRepository, registry: HostileRegistry) -> Device:
    """Enrolled, nothing installed."""
    return Device(tmp_path, registry, repo.trusted_root())


def refuses(device: Device, rule: str, expired: bool = False) -> None:
    """Nothing is learnt from the registry, and what serves goes on."""
    before = device.holder.state
    with pytest.raises(TrustError, match=rule) as caught:
        device.bring()
    assert caught.value.expired is expired  # type: ignore[attr-defined]
    after = device.holder.state
    assert (after.active, after.slots, after.trial) == (before.active, before.slots, before.trial)


# ---- what is signed is obeyed


def test_a_signed_release_is_found_with_all_that_is_signed_about_it(repo: TufRepository, device: Device) -> None:
    assert device.check() is None, "the role names nothing yet"
    release = repo.ship(1)
    assert device.check() == release


def test_an_unchanged_check_takes_two_requests_and_little_of_the_line(
    repo: TufRepository, registry: HostileRegistry, device: Device
) -> None:
    release = repo.ship(1)
    device.check()
    before = {path: path.stat().st_mtime_ns for path in device.config.state.rglob("*") if path.is_file()}
    registry.forget()
    assert device.check() == release
    assert [path for path, _ in registry.requests] == [f"{REPOSITORY}/2.root.json", TIMESTAMP]
    on_the_line = registry.sent_bytes + device.updates.sent_bytes
    print(f"{registry.sent_bytes} bytes received, {device.updates.sent_bytes} sent")
    assert device.updates.received_bytes <= registry.sent_bytes
    assert on_the_line < 5_000
    after = {path: path.stat().st_mtime_ns for path in device.config.state.rglob("*") if path.is_file()}
    assert after == before, "nothing is written: flash wears out"


def test_going_back_is_newer_metadata_that_names_an_older_release(repo: TufRepository, device: Device) -> None:
    first = repo.ship(1)
    device.bring()
    repo.ship(2)
    device.bring()
    assert device.serving == 2
    repo.name_release(first)
    repo.publish()
    device.bring()
    assert device.serving == 1


def test_keys_that_changed_while_the_device_was_away_are_followed(repo: TufRepository, device: Device) -> None:
    repo.ship(1)
    device.bring()
    for _ in range(3):
        repo.rotate("timestamp")
        repo.rotate("snapshot")
        repo.rotate_root_keys()
        repo.rotate("targets")
    repo.delegate(NAME, CryptoSigner.generate_ed25519())
    release = repo.ship(2)
    assert device.check() == release
    assert device.holder.state.floors["root"].version == 13


def test_a_role_that_was_revoked_names_nothing(repo: TufRepository, device: Device) -> None:
    repo.ship(1)
    device.bring()
    repo.targets.delegations.roles.pop(NAME)
    repo.publish(["targets"])
    assert device.check() is None
    assert device.serving == 1


def test_credentials_go_to_the_registry_and_nowhere_else(
    repo: TufRepository, registry: HostileRegistry, device: Device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "device")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    device.check()
    assert all(each is not None and each.startswith("Basic ") for each in registry.authorizations)
    with serving(tmp_path) as elsewhere:
        registry.attack = Attack(redirect=f"{elsewhere.url}/x")
        with pytest.raises(TransferError):
            device.check()
        assert elsewhere.requests == []


def test_a_registry_that_is_away_or_empty_is_no_attack(
    repo: TufRepository, registry: HostileRegistry, device: Device
) -> None:
    for status, rule in (
        (500, "failed"),
        (401, "refuses access"),
        (403, "refuses access"),
        (404, "no signed metadata"),
    ):
        registry.attack = Attack(status=status)
        with pytest.raises(TransferError, match=rule):
            device.check()


@pytest.mark.parametrize("root", [b"", b"{}", b"no json"])
def test_a_device_without_a_usable_root_says_so(root: bytes, tmp_path: Path, registry: HostileRegistry) -> None:
    with pytest.raises(EnrolmentError, match="enrol this device again"):
        Device(tmp_path, registry, root)


def test_a_root_that_its_own_keys_did_not_sign_is_none(
    tmp_path: Path, repo: TufRepository, registry: HostileRegistry
) -> None:
    repo.write_root(repo.root_keys[:1])
    with pytest.raises(EnrolmentError, match="signed by 1/2 keys"):
        Device(tmp_path, registry, repo.trusted_root(2))


# ---- what was tampered with is refused


def flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


@pytest.mark.parametrize("flips", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_a_refusal(
    flips: int, repo: TufRepository, registry: HostileRegistry, device: Device, tmp_path: Path
) -> None:
    """Each on a device that serves release 1 and is offered release 2: nothing of that may be installed.

    Each of the seven files that the device needs for release 2 has its share.
    """
    repo.ship(1)
    device.bring()
    repo.rotate("timestamp")
    repo.ship(2)
    files = [f"{REPOSITORY}/{name}" for name in ("2.root.json", "timestamp.json", "3.snapshot.json", f"3.{NAME}.json")]
    files += [f"1/run2/artifacts/bundle/{name}" for name in ("golden.npz", "manifest.json", "model.onnx")]
    chance = random.Random(7)
    for number in range(flips):
        path = files[number % len(files)]
        registry.attack = Attack(replace={path: flip((repo.folder / path).read_bytes(), chance)})
        tried = device.copy(tmp_path / f"flip {number}")
        with pytest.raises((TrustError, IntegrityError)):
            tried.bring()
        assert tried.serving == 1
        assert (tried.holder.state.slots, tried.holder.state.trial) == (device.holder.state.slots, None)
        shutil.rmtree(tried.folder)
    registry.attack = None
    device.bring()
    assert device.serving == 2, "without the attack the same device goes on"


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp", NAME])
def test_foreign_signatures_are_refused(role: str, repo: TufRepository, device: Device) -> None:
    repo.ship(1)
    device.bring()
    own = repo.keys[role]
    repo.keys[role] = CryptoSigner.generate_ed25519()
    repo.name_release(repo.release(2))
    repo.publish([role])
    refuses(device, "was signed by 0/1 keys")
    repo.keys[role] = own
    repo.publish([role])
    device.bring()
    assert device.serving == 2


def test_one_stolen_root_key_is_not_enough(repo: TufRepository, device: Device) -> None:
    thief = CryptoSigner.generate_ed25519()
    repo.root.add_key(thief.public_key, "targets")
    repo.write_root(repo.root_keys[:1])
    refuses(device, "root was signed by 1/2 keys")


def test_stolen_timestamp_and_snapshot_keys_install_nothing(repo: TufRepository, device: Device) -> None:
    repo.ship(1)
    device.bring()
    repo.keys[NAME] = CryptoSigner.generate_ed25519()  # what a thief of the other two does not have
    repo.ship(66)
    refuses(device, "was signed by 0/1 keys")
    assert device.serving == 1


@pytest.mark.parametrize("length", [None, 1 << 29])
def test_a_stolen_timestamp_key_does_not_say_how_much_is_received(
    length: int | None, repo: TufRepository, registry: HostileRegistry, device: Device
) -> None:
    repo.ship(1)
    device.bring()
    repo.timestamp.version += 1
    repo.timestamp.snapshot_meta = MetaFile(repo.snapshot.version + 1, length=length)
    repo.file("timestamp.json").write_bytes(repo.signed(repo.timestamp, repo.keys["timestamp"]))
    path = f"{REPOSITORY}/{repo.snapshot.version + 1}.snapshot.json"
    registry.attack = Attack(at=("snapshot.json",), replace={path: b"{" * 1000}, endless=True)
    refuses(device, "larger than 131072 bytes")
    assert device.updates.received_bytes < 1 << 19


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("2.root.json", b"[" + b"[]," * 10_000 + b"0]"),
        ("2.root.json", b"[" + b"{}," * 10_000 + b"0]"),
        ("timestamp.json", '["\U0001f980"]'.encode()),
    ],
)
def test_what_would_swell_in_memory_is_refused_before_it_is_parsed(
    name: str, data: bytes, repo: TufRepository, registry: HostileRegistry, device: Device
) -> None:
    """Nobody has verified it then: whoever sits on the line could send it."""
    repo.ship(1)
    registry.attack = Attack(at=(name,), replace={f"{REPOSITORY}/{name}": data})
    refuses(device, "it is no signed metadata")


def test_a_thousand_delegated_roles_with_a_key_each_are_within_the_bounds(repo: TufRepository, device: Device) -> None:
    keys = [CryptoSigner.generate_ed25519() for _ in range(1000)]
    for number, key in enumerate(keys):
        repo.delegate(f"m{number}.linux-x86", key)
    release = repo.ship(1)
    assert device.check() == release


def test_a_stolen_release_key_names_no_other_models_files(repo: TufRepository, device: Device) -> None:
    repo.ship(1)
    device.bring()
    other = "motion.linux-x86"
    repo.delegate(other)
    evil = repo.release(66)
    repo.roles[other].targets = dict(repo.roles[NAME].targets)
    for file in evil.files:
        path = f"{NAME}/{file.name}"
        repo.roles[other].targets[path] = TargetFile(file.size_bytes, {"sha256": file.sha256}, path)
    repo.publish([other])
    assert device.bring().version == 1


def test_only_the_devices_own_role_names_its_files(repo: TufRepository, device: Device) -> None:
    release = repo.release(1)
    repo.name_release(release)
    repo.targets.targets = dict(repo.roles[NAME].targets)
    repo.publish(["targets"])
    refuses(device, f"in the role {NAME}, which alone may name it")


@pytest.mark.parametrize("other", ["motion.linux-x86", "digits.pi5-arm64"])
def test_a_release_of_another_model_or_target_is_refused(other: str, repo: TufRepository, device: Device) -> None:
    repo.name_release(repo.release(1, name=other), NAME)
    repo.publish()
    refuses(device, "this device runs digits for linux-x86")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"format": 2}, "format 2 is newer"),
        ({"source": "../../etc"}, "source"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"files": ["manifest.json", "pickle.pkl.gz"]}, "plain names"),
        ({"files": ["manifest.json", "absent.onnx"]}, "absent.onnx"),
        ({"version": 0}, "version"),
    ],
)
def test_what_no_honest_publisher_signs_is_refused(
    change: dict[str, object], rule: str, repo: TufRepository, device: Device
) -> None:
    repo.name_release(repo.release(1))
    repo.roles[NAME].targets[f"{NAME}/manifest.json"].unrecognized_fields["custom"].update(change)
    repo.publish()
    refuses(device, rule)


# ---- what is old is refused


def snapshot_of(repo: TufRepository) -> dict[str, bytes]:
    """All metadata as it is now, for a replay."""
    return {f"{REPOSITORY}/{path.name}": path.read_bytes() for path in repo.metadata.iterdir()}


@pytest.mark.parametrize("cache", ["kept", "lost", "torn"])
def test_a_replay_is_refused_whatever_became_of_the_cache(
    cache: str, repo: TufRepository, registry: HostileRegistry, device: Device, tmp_path: Path
) -> None:
    repo.ship(1)
    device.bring()
    old = snapshot_of(repo)
    repo.ship(2)
    device.bring()
    assert device.serving == 2
    spoil(device, cache)
    registry.attack = Attack(replace=old)
    again = Device(tmp_path, registry, repo.trusted_root())
    refuses(again, r"replayed|must be >=")
    registry.attack = None
    assert again.bring().version == 2


def spoil(device: Device, cache: str) -> None:
    if cache == "lost":
        device.lose_cache()
    if cache == "torn":
        for path in (device.config.state / "metadata").rglob("*.json"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("role", ["targets", "snapshot", "root", NAME])
def test_each_role_has_a_floor_of_its_own(role: str, repo: TufRepository, device: Device) -> None:
    repo.ship(1)
    device.bring()
    floors = dict(device.holder.state.floors)
    floors[role] = dataclasses.replace(floors[role], version=9)
    device.holder.change(lambda state: dataclasses.replace(state, floors=floors))
    device.lose_cache()
    refuses(device, f"{re.escape(role)}, this device has seen version 9: it was replayed")
    assert device.holder.state.floors == floors


def test_keys_that_the_root_withdrew_stay_withdrawn_without_a_cache(
    repo: TufRepository, registry: HostileRegistry, device: Device
) -> None:
    """The new root was seen though nothing else came through; then the cache is gone, and a thief hides that root."""
    repo.ship(1)
    old = snapshot_of(repo)
    repo.rotate("targets")
    repo.publish()
    registry.attack = Attack(at=("timestamp.json",), status=500)
    with pytest.raises(TransferError):
        device.check()
    device.lose_cache()
    registry.attack = Attack(at=("2.root.json",), status=404, replace=old)
    refuses(device, "root, this device has seen version 2")


def test_parts_of_two_states_do_not_mix(
    repo: TufRepository, registry: HostileRegistry, device: Device, tmp_path: Path
) -> None:
    repo.ship(1)
    device.bring()
    old = snapshot_of(repo)
    repo.ship(2)
    for name in (f"3.{NAME}.json", "3.snapshot.json"):
        number, _, rest = name.partition(".")
        older = old[f"{REPOSITORY}/{int(number) - 1}.{rest}"]
        registry.attack = Attack(replace={f"{REPOSITORY}/{name}": older})
        refuses(device.copy(tmp_path / name), r"[Ee]xpected .*(version|v3)")
    registry.attack = None
    assert device.bring().version == 2


def test_files_of_two_releases_do_not_mix(repo: TufRepository, registry: HostileRegistry, device: Device) -> None:
    repo.ship(1)
    device.bring()
    repo.ship(2)
    one, two = (f"1/run{number}/artifacts/bundle/model.onnx" for number in (1, 2))
    registry.attack = Attack(replace={two: (repo.folder / one).read_bytes()})
    with pytest.raises(IntegrityError, match="does not have the sha256"):
        device.bring()
    assert device.serving == 1


@pytest.mark.parametrize("damage", [b"", b"\0" * 500, b"{}", None])
@pytest.mark.parametrize(
    "name", ["timestamp.json", "snapshot.json", "targets.json", f"{NAME}.json", "root_history/1.root.json"]
)
def test_a_damaged_cache_heals(name: str, damage: bytes | None, repo: TufRepository, device: Device) -> None:
    release = repo.ship(1)
    device.check()
    path = device.config.state / "metadata" / name
    whole = path.read_bytes()
    path.unlink()
    if damage is None:
        path.mkdir()
    else:
        path.write_bytes(damage)
    assert device.check() == release
    assert path.read_bytes() == whole


def test_a_cache_that_contradicts_the_registry_is_given_up_but_not_the_floors(
    repo: TufRepository, registry: HostileRegistry, device: Device
) -> None:
    """Somebody with the snapshot's key has put a role into the cache that the registry never had."""
    repo.ship(1)
    device.bring()
    honest = dict(repo.snapshot.meta)
    repo.snapshot.meta["ghost.json"] = repo.snapshot.meta["targets.json"]
    (device.config.state / "metadata" / "snapshot.json").write_bytes(repo.signed(repo.snapshot, repo.keys["snapshot"]))
    repo.snapshot.meta = honest
    release = repo.ship(2)
    assert device.check() == release


@pytest.mark.parametrize("promise", [MetaFile(3, length=100), MetaFile(9)], ids=["too short", "gone"])
def test_what_a_thief_had_promised_does_not_keep_a_device_from_the_honest_metadata(
    promise: MetaFile, repo: TufRepository, device: Device
) -> None:
    """He has the keys of timestamp and snapshot; the workshop's next metadata has the very numbers that his had."""
    repo.ship(1)
    device.bring()
    honest = dict(repo.snapshot.meta)
    repo.snapshot.meta[f"{NAME}.json"] = promise
    repo.write_snapshot()
    repo.write_timestamp()
    his = (repo.snapshot.version, repo.timestamp.version)
    with pytest.raises(EdgewrightError):
        device.bring()
    repo.snapshot.meta = honest
    repo.snapshot.version, repo.timestamp.version = his[0] - 1, his[1] - 1
    release = repo.ship(2)
    assert (repo.snapshot.version, repo.timestamp.version) == his
    assert device.bring() == release


# ---- time


def test_expired_metadata_stops_installations_and_says_so(repo: TufRepository, device: Device, tmp_path: Path) -> None:
    repo.ship(1)
    device.bring()
    now = repo.now
    for days, what in ((15, "timestamp.json"), (31, "timestamp.json")):
        later = Device(
            tmp_path, device.registry, device.root, clock=lambda at=now + timedelta(days=days): at.timestamp()
        )
        refuses(later, f"has expired .{what}.*What serves goes on", expired=True)
    repo.now = now + timedelta(days=31)
    repo.publish()  # the timestamp anew, the snapshot not
    refuses(later, "has expired .*snapshot.json is expired", expired=True)
    repo.publish(["snapshot"])
    assert later.bring().version == 1


@pytest.mark.parametrize("year", [1971, 2100])
def test_a_wrong_clock_freezes_nothing_lets_nothing_old_in_and_poisons_nothing(
    year: int, repo: TufRepository, registry: HostileRegistry, device: Device, tmp_path: Path
) -> None:
    repo.ship(1)
    device.bring()
    wrong = Device(tmp_path, registry, device.root, clock=lambda: datetime(year, 6, 1, tzinfo=UTC).timestamp())
    assert wrong.check().version == 1
    assert f"clock says {year}-06-01" in (wrong.clock.alarm or "")
    repo.now += timedelta(days=20)
    assert wrong.check().version == 1, "20 days are not seen to pass by that clock"
    repo.ship(2)
    assert wrong.bring().version == 2
    floor = wrong.holder.state.signed_at_s
    assert floor == repo.now.timestamp()
    right = Device(tmp_path, registry, device.root, clock=lambda: (repo.now + timedelta(hours=1)).timestamp())
    assert right.bring().version == 2
    assert right.clock.alarm is None


@pytest.mark.parametrize("year", [1971, 2100])
def test_a_new_devices_wrong_clock_is_corrected_by_the_roots_signature(
    year: int, repo: TufRepository, registry: HostileRegistry, tmp_path: Path
) -> None:
    release = repo.ship(1)
    fresh = Device(tmp_path, registry, repo.trusted_root(), clock=lambda: datetime(year, 6, 1, tzinfo=UTC).timestamp())
    assert fresh.check() == release


def test_what_expired_before_the_last_signature_stays_out_at_any_clock(
    repo: TufRepository, registry: HostileRegistry, device: Device, tmp_path: Path
) -> None:
    repo.ship(1)
    device.bring()
    old = snapshot_of(repo)
    repo.now += timedelta(days=40)
    repo.publish(["snapshot"])
    late = Device(tmp_path, registry, device.root, clock=lambda: repo.now.timestamp())
    late.bring()
    late.lose_cache()
    floors = {
        "root": late.holder.state.floors["root"],
        "timestamp": dataclasses.replace(late.holder.state.floors["timestamp"], version=1),
    }
    late.holder.change(lambda state: dataclasses.replace(state, floors=floors))  # the floor of time alone must do
    registry.attack = Attack(replace=old)
    early = Device(tmp_path, registry, device.root, clock=lambda: 0.0)
    refuses(early, "expired", expired=True)


@pytest.mark.parametrize(
    "value", ["2031-13-01T00:00:00Z", "soon", "", "1999-01-01T00:00:00Z", "2031-01-01T00:00:00+02:00"]
)
def test_a_time_of_signing_that_is_none_is_refused(value: str, repo: TufRepository, device: Device) -> None:
    repo.write_timestamp(signed_at=value or "x")
    refuses(device, "signed at")


def test_a_thief_of_the_timestamps_key_cannot_send_time_beyond_what_is_signed(
    repo: TufRepository, device: Device
) -> None:
    repo.ship(1)
    device.bring()
    repo.write_timestamp(signed_at="2099-01-01T00:00:00Z")
    refuses(device, "signed at 2099-01-01 .* when root had expired")
    assert device.holder.state.signed_at_s == repo.now.timestamp()


def test_time_that_a_stolen_key_moved_is_recovered_by_exchanging_the_key(
    repo: TufRepository, registry: HostileRegistry, device: Device
) -> None:
    repo.ship(1)
    device.bring()
    honest = repo.now
    repo.now = honest + timedelta(days=300)  # the thief has both online keys
    repo.publish(["snapshot"])
    device.check()
    repo.now = honest + timedelta(days=1)
    repo.publish(["snapshot"])
    refuses(device, "expired", expired=True)
    repo.rotate("timestamp")
    repo.rotate("snapshot")
    repo.ship(2)
    assert device.bring().version == 2
    assert device.holder.state.signed_at_s == repo.now.timestamp()


@pytest.mark.parametrize("version", [2**31, 2**53 + 1, 10**30])
def test_a_fast_forward_freezes_no_longer_than_until_the_keys_are_exchanged(
    version: int, repo: TufRepository, device: Device, tmp_path: Path
) -> None:
    repo.ship(1)
    device.bring()
    honest = repo.timestamp.version, repo.snapshot.version
    repo.write_snapshot(version)
    repo.write_timestamp(version)  # by a thief of both online keys
    if version < 2**53:
        device.check()
    else:
        refuses(device, "nobody counts so far")
    again = Device(tmp_path, device.registry, device.root)
    repo.timestamp.version, repo.snapshot.version = honest
    repo.ship(2)
    if version < 2**53:
        refuses(again, r"replayed|must be >=")
    repo.rotate("timestamp")
    repo.rotate("snapshot")
    repo.publish()
    assert again.bring().version == 2


# ---- a line that drags


SLOW_LINE = {"timeout_s": 1.0, "minimum_bytes_per_s": 200.0}
DRAGS = {
    "endless": Attack(endless=True),
    "a byte each 250 ms": Attack(gap_s=0.25),
    "headers a byte each 250 ms": Attack(header_gap_s=0.25),
    "endless interim answers": Attack(endless_headers=True),
    "silent": Attack(silent=3.0),
}


@pytest.mark.parametrize("at", ["timestamp.json", "2.root.json", "model.onnx"])
@pytest.mark.parametrize("drag", list(DRAGS))
def test_an_answer_that_drags_costs_bounded_time_and_bytes(
    drag: str, at: str, repo: TufRepository, registry: HostileRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgewright.device import download

    monkeypatch.setattr(download, "_RETRY_DELAY_S", 0.0)
    monkeypatch.setattr(download, "_FRUITLESS_ATTEMPTS", 1)
    monkeypatch.setattr(download, "_CONNECTING_S", 0.5)
    repo.rotate("timestamp")
    repo.ship(1, {"manifest.json": b"m", "model.onnx": b"x" * 400})
    device = Device(tmp_path, registry, repo.trusted_root(), **SLOW_LINE)
    registry.attack = dataclasses.replace(DRAGS[drag], at=(at,))
    began = time.monotonic()
    with pytest.raises((TransferError, TrustError, IntegrityError)):
        device.bring()
    took = time.monotonic() - began
    print(f"{drag} at {at}: {took:.1f} s, {registry.sent_bytes} bytes")
    assert took < 6.0
    assert registry.sent_bytes < 4_000_000, "some of it stayed in the kernel's buffers"
    assert device.serving is None


# ---- itself


def test_python_tuf_is_the_version_whose_inside_this_reaches_into() -> None:
    assert tuf.__version__.startswith("7.0.")
    for name in ("_load_root", "_persist_file", "_update_root_symlink"):
        assert callable(getattr(Updater, name))


def test_the_import_needs_neither_numpy_nor_boto3_and_hides_boto3_from_nobody() -> None:
    code = (
        "import sys, edgewright.device.updates, edgewright.device.installer, edgewright.device.poller;"
        "print(sorted({'numpy', 'boto3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


CHECKS = """
import sys, random
from pathlib import Path
from edgewright.device.agent_config import AgentConfig, DeviceSection, RegistrySection
from edgewright.device.clock import TrustedClock
from edgewright.device.state_holder import StateHolder
from edgewright.device.updates import UpdateClient
import time, gc
folder, url, root, count = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes(), int(sys.argv[4])
config = AgentConfig(DeviceSection("d", "digits", "linux-x86", "state"), RegistrySection(url=url), folder=folder)
holder = StateHolder(config.state)
client = UpdateClient(config, holder, TrustedClock(holder, config.registry), root)
def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
times = []
for number in range(count):
    began = time.perf_counter()
    assert client.check() is not None
    times.append(time.perf_counter() - began)
    if number == 50:
        first = rss()
print(first, rss(), sorted(times)[count // 2] * 1000)
"""


@pytest.mark.slow
def test_a_thousand_checks_need_no_more_memory_than_fifty(
    repo: TufRepository, registry: HostileRegistry, tmp_path: Path
) -> None:
    repo.ship(1)
    root = tmp_path / "root.json"
    root.write_bytes(repo.trusted_root())
    words = [sys.executable, "-c", CHECKS, str(tmp_path), registry.url, str(root), "1000"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    early, late, median_ms = map(float, done.stdout.split())
    print(f"RSS {early:.1f} MiB after 50 checks, {late:.1f} MiB after 1,000; a check takes {median_ms:.1f} ms")
    assert late < 45
    assert late - early < 1


def test_errors_are_one_line(repo: TufRepository, registry: HostileRegistry, device: Device) -> None:
    registry.attack = Attack(change=lambda path, data: data[::-1])
    with pytest.raises(EdgewrightError) as caught:
        device.check()
    assert "\n" not in str(caught.value)
