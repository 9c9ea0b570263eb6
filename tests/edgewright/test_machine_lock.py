from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.errors import BundleError
from edgewright.machine_lock import exclusive_lock

HOLDER = """
import sys, time
from pathlib import Path
from edgewright.machine_lock import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), 5, ValueError):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_waits_and_then_names_the_first(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(BundleError, match=f"held by {holder.pid}"),
            exclusive_lock(lock, 0.2, lambda pid: BundleError(f"held by {pid}")),
        ):
            pass
        holder.kill()
        holder.wait()
        with exclusive_lock(lock, 0.0, lambda pid: BundleError(f"held by {pid}")):
            pass  # the kernel gave it back, although its holder was killed


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), exclusive_lock(tmp_path / "lock", 0.0, ValueError):
        pass
    assert not (tmp_path / "victim").exists()


def test_a_disk_without_room_for_the_holders_number_gives_the_lock_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with (
        exclusive_lock(tmp_path / "lock", 0.0, ValueError),
        pytest.raises(BundleError),
        exclusive_lock(tmp_path / "lock", 0.0, BundleError),
    ):
        pass
