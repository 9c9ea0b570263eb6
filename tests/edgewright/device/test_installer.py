from __future__ import annotations

import dataclasses
import errno
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgewright
from crash_device import Device as LinelessDevice
from crash_device import folder_registry
from edgewright.device import download
from edgewright.device.agent_config import AgentConfig, DeviceSection, RegistrySection
from edgewright.device.agent_state import AgentState, Held, Trial
from edgewright.device.installer import Installer
from edgewright.device.registry_client import TransferError, TransferStoppedError
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.errors import AgentStateError, DiskFullError, IntegrityError
from hostile_registry import Attack, HostileRegistry, serving
from recording_disk import RecordingDisk
from small_disks import leave_room, small_disk_at
from tuf_repository import MODEL, TARGET, TufRepository, bundle_files

AT = "2030-01-01T00:00:00Z"


@pytest.fixture
def repo(tmp_path: Path) -> TufRepository:
    return TufRepository(tmp_path / "store")


@pytest.fixture
def registry(repo: TufRepository, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileRegistry]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_RETRY_DELAY_S", 0.0)
    with serving(repo.folder) as server:
        yield server


class Device:
    """An agent's installing part."""

    def __init__(self, folder: Path, url: str, factory: Path | None = None, **options: float) -> None:
        section = RegistrySection(url=url, **{"timeout_s": 5.0, **options})
        self.config = AgentConfig(DeviceSection("d", MODEL, TARGET, "state"), section, folder=folder)
        self.holder = StateHolder(self.config.state)
        self.slots = Slots(self.config.state, factory)
        self.stopping = threading.Event()
        self.installer = Installer(self.config, self.holder, self.slots, self.stopping.is_set)

    @property
    def state(self) -> AgentState:
        return self.holder.state

    def commit(self) -> None:
        self.holder.change(AgentState.with_trial_start)
        self.holder.change(AgentState.committed)


@pytest.fixture
def device(tmp_path: Path, registry: HostileRegistry) -> Device:
    return Device(tmp_path, registry.url)


def test_a_release_goes_into_the_slot_that_does_not_serve_and_on_trial(repo: TufRepository, device: Device) -> None:
    one, two = repo.release(1), repo.release(2)
    assert device.installer.install(one)
    assert device.state.trial == Trial("A", starts=0)
    assert device.state.active is None, "nothing serves before it is proved"
    device.commit()
    assert device.installer.install(two)
    assert (device.state.active, device.state.trial) == ("A", Trial("B"))
    for slot, release in (("A", one), ("B", two)):
        held = device.state.slots[slot]  # type: ignore[index]
        assert held is not None and held.release == release
        assert device.slots.is_intact(slot, held)  # type: ignore[arg-type]
    assert device.slots.staged_bytes() == 0


def test_what_serves_is_tried_was_refused_or_needs_a_newer_agent_is_not_installed(
    repo: TufRepository, registry: HostileRegistry, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = repo.release(1), repo.release(2)
    device.installer.install(one)
    assert not device.installer.install(one)
    assert device.installer.note == "release 1 is on trial: release 1 waits for its end."
    assert not device.installer.install(two), "a trial is not disturbed"
    device.commit()
    assert not device.installer.install(one)
    assert device.installer.note == "release 1 serves already."
    device.installer.install(two)
    device.holder.change(lambda state: state.without_trial("answers wrongly", AT))
    registry.forget()
    assert not device.installer.install(dataclasses.replace(two, version=3))
    assert "misbehaved here before" in (device.installer.note or "")
    monkeypatch.setattr(edgewright, "__version__", "0.9.10", raising=False)
    assert not device.installer.install(dataclasses.replace(repo.release(4), minimum_agent="0.10.0"))
    assert device.installer.note == "release 4 needs the agent 0.10.0, this is 0.9.10: update the agent."
    assert registry.requests == []
    assert device.installer.install(dataclasses.replace(repo.release(4), minimum_agent="0.9.9"))
    assert device.installer.note is None


def test_the_factory_bundle_is_not_downloaded_again(
    repo: TufRepository, registry: HostileRegistry, tmp_path: Path
) -> None:
    release = repo.release(1)
    device = Device(tmp_path, registry.url, factory=repo.folder / release.source)
    device.holder.change(lambda state: dataclasses.replace(state, active="factory"))
    assert not device.installer.install(release)
    assert device.installer.install(repo.release(2))


def test_going_back_to_the_release_before_needs_no_download(
    repo: TufRepository, registry: HostileRegistry, device: Device
) -> None:
    one, two = repo.release(1), repo.release(2)
    for release in (one, two):
        device.installer.install(release)
        device.commit()
    registry.forget()
    assert device.installer.install(one)
    assert device.state.trial == Trial("A")
    assert registry.requests == []
    device.commit()
    (device.slots.folder("B") / "model.onnx").write_bytes(b"rotten")
    assert device.installer.install(two), "unless it rotted"
    assert len(registry.requests) == 3
    held = device.state.slots["B"]
    assert held is not None and device.slots.is_intact("B", held)


# ---- the line


def test_twenty_disconnects_cost_at_most_a_twentieth_more(
    repo: TufRepository, registry: HostileRegistry, device: Device
) -> None:
    release = repo.release(1, bundle_files(1, 2_000_000))
    registry.attack = Attack(at=("model.onnx",), disconnect_after=2_000_000 // 20 - 3_000)
    registry.forget()
    assert device.installer.install(release)
    connections = [path for path, _ in registry.requests if path.endswith("model.onnx")]
    print(f"{len(connections)} connections, {registry.sent_bytes} bytes sent for {release.size_bytes}")
    assert len(connections) >= 21
    assert registry.sent_bytes <= 1.05 * release.size_bytes
    assert device.installer.traffic.downloaded_bytes == release.size_bytes


def test_a_download_goes_on_after_a_restart(
    repo: TufRepository, registry: HostileRegistry, device: Device, tmp_path: Path
) -> None:
    files = bundle_files(1, 200_000)
    release = repo.release(1, files)
    device.slots.prepare()
    staging = device.slots.staging(release.bundle_sha256)
    for name in ("golden.npz", "manifest.json"):
        (staging / name).write_bytes(files[name])
    (staging / "model.onnx.part").write_bytes(files["model.onnx"][:150_000])
    registry.forget()
    assert Device(tmp_path, registry.url).installer.install(release)
    assert registry.requests == [(f"{release.source}/model.onnx", "bytes=150000-")]


@pytest.mark.parametrize(("number", "kept"), [(errno.EIO, True), (errno.EMFILE, True), (errno.ENOSPC, False)])
def test_only_a_full_disk_costs_what_was_downloaded(
    number: int, kept: bool, repo: TufRepository, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = repo.release(1)

    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    with monkeypatch.context() as patch, pytest.raises((AgentStateError, DiskFullError)):
        patch.setattr(device.slots, "fill", refuse)
        device.installer.install(release)
    assert (device.slots.staged_bytes() > 0) is kept


def test_a_slot_that_cannot_be_read_is_downloaded_anew(
    repo: TufRepository, registry: HostileRegistry, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = repo.release(1), repo.release(2)
    for release in (one, two):
        device.installer.install(release)
        device.commit()
    registry.forget()

    def refuse(*_: object) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(device.slots, "is_intact", refuse)
    assert device.installer.install(one) and registry.requests
    assert device.state.trial == Trial("A")


def test_another_release_takes_the_place_of_a_half_download(
    repo: TufRepository, registry: HostileRegistry, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_FRUITLESS_ATTEMPTS", 1)
    registry.attack = Attack(at=("model.onnx",), truncate_to=1_000)
    with pytest.raises(TransferError):
        device.installer.install(repo.release(1))
    registry.attack = None
    assert device.installer.install(repo.release(2))
    assert list((device.config.state / "staging").iterdir()) == []


@pytest.mark.parametrize("slot", ["A", "B"])
def test_wrong_bytes_are_refused_and_the_right_ones_then_taken(
    slot: str, repo: TufRepository, registry: HostileRegistry, device: Device
) -> None:
    if slot == "B":
        device.installer.install(repo.release(9))
        device.commit()
    before, release = device.state, repo.release(1)
    registry.attack = Attack(at=("model.onnx",), change=lambda path, data: data[:-1] + b"!")
    with pytest.raises(IntegrityError, match="does not have the sha256"):
        device.installer.install(release)
    registry.attack = Attack(at=("model.onnx",), change=lambda path, data: data + b"!")
    with pytest.raises(IntegrityError, match="is longer than"):
        device.installer.install(release)
    assert device.state == before
    registry.attack = None
    assert device.installer.install(release)
    assert device.state.trial == Trial(slot)  # type: ignore[arg-type]


def test_a_download_ends_soon_when_the_agent_shall_stop(
    repo: TufRepository, registry: HostileRegistry, device: Device
) -> None:
    registry.attack = Attack(at=("model.onnx",), silent=5.0)
    timer = threading.Timer(0.3, device.stopping.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(TransferStoppedError):
        device.installer.install(repo.release(1))
    assert time.monotonic() - began < 2.0
    timer.join()


# ---- the disk


def test_room_for_twice_the_release_and_a_reserve_is_checked_first(
    repo: TufRepository, registry: HostileRegistry, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = repo.release(1, bundle_files(1, 1 << 20))
    free = download.RESERVE_BYTES + 2 * release.size_bytes - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 30, 1 << 30, free))
    with pytest.raises(DiskFullError, match="needs 2 MiB and 16 MiB in reserve"):
        device.installer.install(release)
    assert registry.requests == []
    free += 1
    assert device.installer.install(release)


def test_what_an_interrupted_installation_left_in_a_slot_takes_no_room(repo: TufRepository, device: Device) -> None:
    device.slots.prepare()
    left = device.slots.folder("A")
    left.mkdir()
    (left / "model.onnx").write_bytes(b"half")
    staging = device.slots.staging("0" * 64)
    (staging / "old").write_bytes(b"x")
    release = repo.release(1)
    assert device.installer.install(release)
    held = device.state.slots["A"]
    assert held is not None and device.slots.is_intact("A", held)


def full_disk_from(disk: RecordingDisk, at: int) -> None:
    """From a change on, nothing fits any more; deleting works."""

    def refuse(number: int, kind: str) -> None:
        if number >= at and kind != "unlink":
            raise OSError(errno.ENOSPC, "No space left on device")

    disk.before = refuse


@pytest.mark.parametrize("before", [1, 2], ids=["second release", "third release"])
def test_a_disk_that_fills_up_at_any_step_is_one_error_and_with_room_it_goes_on(
    before: int, repo: TufRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_registry(monkeypatch, repo.folder)
    releases = [repo.release(number) for number in (1, 2, 3)]
    old, new = releases[before - 1], releases[before]
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    for release in releases[:before]:
        LinelessDevice(prepared).bring(release)
    counted = RecordingDisk(Path(shutil.copytree(prepared, tmp_path / "counted")))
    device = LinelessDevice(counted.root)
    with counted.recording():
        device.installer.install(new)
    steps = [number for number, kind in enumerate(counted.kinds) if kind != "unlink"]
    assert len(steps) > 20
    for at in steps:
        folder = Path(shutil.copytree(prepared, tmp_path / f"full at {at}"))
        device, disk = LinelessDevice(folder), RecordingDisk(folder)
        full_disk_from(disk, at)
        with disk.recording(), pytest.raises(DiskFullError, match="is full: make room there") as caught:
            device.installer.install(new)
        assert "\n" not in str(caught.value)
        assert device.serving == old
        again = LinelessDevice(folder)
        assert again.state == device.state, "what is remembered is what stands on the disk"
        assert again.slots.staged_bytes() == 0, "a full disk does not stay full because of it"
        for slot, held in again.state.slots.items():
            assert held is None or again.slots.is_intact(slot, held)
        device.bring(new)
        assert device.serving == LinelessDevice(folder).serving == new
    print(f"{len(steps)} steps")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    with small_disk_at(tmp_path / "small", 3 * 1024) as disk:
        yield disk


def test_a_really_full_disk_is_one_error_and_with_room_it_goes_on(
    repo: TufRepository, registry: HostileRegistry, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "RESERVE_BYTES", -(1 << 30))  # others take the room after it was checked
    device = Device(small_disk, registry.url)
    one, two = repo.release(1, bundle_files(1, 500_000)), repo.release(2, bundle_files(2, 500_000))
    device.installer.install(one)
    device.commit()
    failed = 0
    for kib in (0, 4, 8, 12, 16, 24, 100, 400, 480, 490, 496, 500, 504, 508):
        leave_room(small_disk, kib)
        try:
            if device.installer.install(two):
                device.holder.change(lambda state: dataclasses.replace(state.with_slot("B", None)))
                device.slots.empty("B")
        except DiskFullError:
            failed += 1
        held = device.state.slots["A"]
        assert device.state.active == "A" and isinstance(held, Held) and device.slots.is_intact("A", held)
        assert StateHolder(device.config.state).state == device.state
    assert failed >= 8
    (small_disk / "filler").unlink()
    assert device.installer.install(two)
    device.commit()
    assert device.state.active == "B"
