"""Every crash state of the real write path, on a recording of what it asks of the file system."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from crash_device import Device, folder_registry
from edgewright.device import installer as installer_module
from edgewright.device.agent_state import AgentState
from edgewright.errors import EdgewrightError
from edgewright.signed_release import SignedRelease
from recording_disk import RecordingDisk, Tree, write_tree
from tuf_repository import TufRepository

AT = "2030-01-01T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TufRepository:
    repository = TufRepository(tmp_path / "store")
    folder_registry(monkeypatch, repository.folder)
    monkeypatch.setattr(installer_module, "utc_now", lambda: AT)
    return repository


@pytest.fixture
def releases(store: TufRepository) -> list[SignedRelease]:
    files = {number: {"golden.npz": b"g%d" % number, "manifest.json": b"m%d" % number} for number in (1, 2, 3)}
    return [store.release(number, files[number]) for number in files]


Run = Callable[[Path, RecordingDisk], None]
Scenario = tuple[list[SignedRelease], Run]


def upgrade(new: SignedRelease) -> Run:
    def run(folder: Path, disk: RecordingDisk) -> None:
        device = Device(folder)
        device.installer.install(new)
        disk.mark("on trial")
        if device.state.trial is not None:
            device.holder.change(AgentState.with_trial_start)
            disk.mark("start counted")
            device.holder.change(AgentState.committed)
        disk.mark("committed")

    return run


def rollback(new: SignedRelease) -> Run:
    def run(folder: Path, disk: RecordingDisk) -> None:
        device = Device(folder)
        device.installer.install(new)
        slot = device.state.free_slot
        device.holder.change(lambda state: state.without_trial("answers wrongly", AT))
        disk.mark("refused")
        device.slots.empty(slot)

    return run


def fall_back(new: SignedRelease) -> Run:
    def run(folder: Path, disk: RecordingDisk) -> None:
        device = Device(folder)
        device.bring(new)
        left, other = device.state.active, device.state.free_slot
        assert left == "A" or left == "B"
        device.holder.change(lambda state: state.fallen_back(other, "crashed", AT))
        disk.mark("refused")
        device.slots.empty(left)

    return run


def objection(folder: Path, allowed: list[SignedRelease], new: SignedRelease, promised: frozenset[str]) -> str | None:
    """What is wrong with a device after a crash; None when all is well."""
    try:
        device = Device(folder)
        if device.holder.damage:
            return f"damaged: {device.holder.damage}"
        state, serving = device.state, device.serving
        if serving is None and (len(allowed) > 1 or "committed" in promised):
            return "nothing serves"
        if serving is not None and serving not in allowed:
            return "something else serves"
        for slot, held in state.slots.items():
            if held is not None and not device.slots.is_intact(slot, held):
                return f"{slot} is not intact"
        if "on trial" in promised and state.trial is None and serving != new:
            return "the trial was forgotten"
        if "start counted" in promised and state.trial is not None and state.trial.starts < 1:
            return "a start was forgotten"
        if "committed" in promised and serving != new:
            return "the commit was forgotten"
        if "refused" in promised:
            if not state.is_refused(new.bundle_sha256) or serving == new:
                return "the refusal was forgotten"
            return None
        device.bring(new)
        held = device.state.held(device.state.active)
        if not state.is_refused(new.bundle_sha256) and (held is None or held.release != new):
            return "the same installation again does not end"
        active = device.state.active
        assert active in ("A", "B")
        if held is not None and not device.slots.is_intact(active, held):
            return "the same installation again is not intact"
    except EdgewrightError as error:
        return f"{type(error).__name__}: {error}"
    return None


class Trials:
    """Judges states, each distinct one once."""

    def __init__(self, folder: Path, allowed: list[SignedRelease], new: SignedRelease) -> None:
        self.folder, self.allowed, self.new = folder, allowed, new
        self._numbers = itertools.count()
        self._known: dict[str, str | None] = {}

    def judge(self, tree: Tree, promised: frozenset[str]) -> str | None:
        key = repr((sorted(tree.items()), sorted(promised)))
        if key not in self._known:
            folder = self.folder / str(next(self._numbers))
            write_tree(tree, folder)
            self._known[key] = objection(folder, self.allowed, self.new, promised)
        return self._known[key]

    @property
    def count(self) -> int:
        return len(self._known)


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushes are recorded, and cost nothing: what they would do is worked out."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def prepared(folder: Path, before: list[SignedRelease]) -> RecordingDisk:
    """A device that ran these releases one after the other; from none it starts without a folder."""
    folder.mkdir()
    for release in before:
        Device(folder).bring(release)
    return RecordingDisk(folder)


def scenarios(releases: list[SignedRelease]) -> dict[str, Scenario]:
    old, new, other = releases
    return {
        "first": ([], upgrade(new)),
        "second": ([old], upgrade(new)),
        "third": ([other, old], upgrade(new)),
        "back to the one before": ([new, old], upgrade(new)),
        "rolled back": ([old], rollback(new)),
        "fallen back": ([old], fall_back(new)),
    }


NAMES = ["first", "second", "third", "back to the one before", "rolled back", "fallen back"]


def recorded(folder: Path, scenario: Scenario) -> RecordingDisk:
    before, run = scenario
    disk = prepared(folder, before)
    with disk.recording():
        run(folder, disk)
    return disk


@pytest.mark.parametrize("name", NAMES)
def test_after_any_crash_the_old_or_the_new_release_serves_whole(
    name: str, releases: list[SignedRelease], tmp_path: Path
) -> None:
    scenario = scenarios(releases)[name]
    disk = recorded(tmp_path / "device", scenario)
    trials = Trials(tmp_path / "crashed", [*scenario[0][-1:], releases[1]], releases[1])
    wrong = [found for tree, promised in disk.crash_states() if (found := trials.judge(tree, promised))]
    print(f"{name}: {len(disk.calls)} calls, {trials.count} crash states, {len(wrong)} wrong")
    assert wrong == []
    assert trials.count > 50


class KilledError(BaseException):
    """The process is gone: nothing catches this, and nothing that it would still do is done."""


def killed_and_continued(folder: Path, scenario: Scenario, at: int) -> RecordingDisk:
    """The process is killed before its n-th change of the disk, started again, and runs to its end."""
    before, run = scenario
    disk = prepared(folder, before)

    def kill(number: int, kind: str) -> None:
        if number >= at:
            raise KilledError

    with disk.recording():
        disk.before = kill
        with suppress(KilledError):
            run(folder, disk)
        disk.before = lambda number, kind: None
        run(folder, disk)
    return disk


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first", "third"])
def test_a_crash_after_a_kill_is_no_worse(name: str, releases: list[SignedRelease], tmp_path: Path) -> None:
    """What a killed process left is seen by the next one, and not yet durable."""
    scenario = scenarios(releases)[name]
    trials = Trials(tmp_path / "crashed", [*scenario[0][-1:], releases[1]], releases[1])
    kills = recorded(tmp_path / "whole", scenario).changes
    for at in range(kills):
        disk = killed_and_continued(tmp_path / f"killed at {at}", scenario, at)
        wrong = [found for state in disk.crash_states() if (found := trials.judge(*state))]
        assert wrong == [], f"killed before change {at}"
    print(f"{name}: {kills} kills, {trials.count} crash states, none wrong")
    assert trials.count > 100


@pytest.mark.slow
def test_without_any_one_flush_some_crash_goes_wrong(releases: list[SignedRelease], tmp_path: Path) -> None:
    """Site by site: a flush whose absence no crash state shows would be superfluous."""
    guarded: dict[str, str | None] = {}
    for name, disk, trials in recordings(releases, tmp_path):
        for site in disk.flush_sites():
            if guarded.get(site) is None:
                found = next(filter(None, (trials.judge(*state) for state in disk.crash_states(site))), None)
                guarded[site] = found and f"{name}: {found}"
        if len(guarded) >= 8 and None not in guarded.values():
            break
    for site, crash in sorted(guarded.items()):
        print(f"{site} -> {crash}")
    assert len(guarded) >= 8
    assert [site for site, crash in guarded.items() if crash is None] == []


def recordings(releases: list[SignedRelease], folder: Path) -> Iterator[tuple[str, RecordingDisk, Trials]]:
    """Each scenario, then with a kill before each flush and another start: that one's flushes make good for the first's."""
    for killed in (False, True):
        for name in ("first", "third") if killed else NAMES:
            scenario = scenarios(releases)[name]
            place = folder / f"{name}{' killed' if killed else ''}"
            place.mkdir()
            trials = Trials(place / "crashed", [*scenario[0][-1:], releases[1]], releases[1])
            disk = recorded(place / "device", scenario)
            if not killed:
                yield name, disk, trials
                continue
            for at in disk.flushes:
                again = killed_and_continued(place / f"killed at {at}", scenario, at)
                yield f"{name}, killed before change {at}", again, trials
