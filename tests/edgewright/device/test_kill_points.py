"""The agent is killed (SIGKILL) before each thing that it does to the disk, and started again."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from crash_device import Device, folder_registry
from edgewright.signed_release import SignedRelease
from recording_disk import RecordingDisk
from tuf_repository import TufRepository, bundle_files

STARTS_MOST = 4


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[SignedRelease]:
    repository = TufRepository(tmp_path / "store")
    folder_registry(monkeypatch, repository.folder)
    return [repository.release(number, bundle_files(number, 100_000)) for number in (1, 2, 3)]


def child(work: Callable[[], None]) -> int:
    """Run something in a process of its own; gives how it ended: 0, or minus the signal."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def install(folder: Path, new: SignedRelease, kill_before: int) -> None:
    """One start of the agent, killed before its n-th change of the disk."""
    disk = RecordingDisk(folder)

    def kill(number: int, kind: str) -> None:
        if number == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)

    disk.before = kill
    with disk.recording():
        Device(folder).bring(new)


def count_changes(folder: Path, new: SignedRelease) -> int:
    disk = RecordingDisk(folder)
    with disk.recording():
        Device(folder).bring(new)
    return disk.changes


SLOW = pytest.mark.slow
CASES = [
    pytest.param(1, 1, id="second release, one kill"),
    pytest.param(1, 3, id="second release, three kills", marks=SLOW),
    pytest.param(0, 1, id="first release, one kill", marks=SLOW),
    pytest.param(0, 3, id="first release, three kills", marks=SLOW),
    pytest.param(2, 1, id="third release, one kill", marks=SLOW),
    pytest.param(2, 3, id="third release, three kills", marks=SLOW),
]


@pytest.mark.parametrize(("before", "kills"), CASES)
def test_killed_before_any_change_it_serves_old_or_new_and_gets_there(
    before: int, kills: int, releases: list[SignedRelease], tmp_path: Path
) -> None:
    old, new = releases[:before], releases[before]
    (tmp_path / "prepared").mkdir()
    for release in old:
        Device(tmp_path / "prepared").bring(release)

    def copy(name: str) -> Path:
        return Path(shutil.copytree(tmp_path / "prepared", tmp_path / name))

    changes = count_changes(copy("counted"), new)
    assert changes > 20
    worst = 0
    for at in range(changes):
        folder, starts = copy(f"killed at {at}"), 0
        ends = []
        while True:
            starts += 1
            ends.append(child(partial(install, folder, new, at if starts <= kills else -1)))
            left = Device(folder)
            serving, place = left.serving, left.state.active
            assert serving in (old[-1] if old else None, new)
            if serving is not None:
                held = left.state.held(place)
                assert held is not None and (place == "A" or place == "B")
                assert left.slots.is_intact(place, held)
            if serving == new:
                break
            assert starts < STARTS_MOST, f"killed before change {at}"
        assert ends[0] == -signal.SIGKILL
        worst = max(worst, starts)
        assert [path.name for path in (folder / "state").iterdir() if path.name.startswith(".")] == []
    print(f"{changes} kill points, at most {worst} starts")
