"""The disk fills up under a build, wherever it happens to be: one line says so, and with room again it carries on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from small_disks import leave_room, small_disk_at

pytestmark = pytest.mark.slow

DISK_MIB = 96
# So much room there is at each attempt: little enough that builds fail at several stages, then enough for all.
ROOM_KIB = (0, 350, 500, 700, 1000, 1500)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that has room for a workshop, and little more."""
    with small_disk_at(tmp_path, DISK_MIB * 1024) as disk:
        yield disk


def test_a_full_disk_is_one_line_and_the_build_carries_on_with_room_again(first_build: Any, small_disk: Path) -> None:
    workshop = first_build.workshop.copy_to(small_disk / "workshop")
    recipe = workshop.write_lean_recipe("lean.yaml", data__limit_per_class=100, seed=5)  # its snapshot is there already
    reached = []
    try:
        for kib in ROOM_KIB:
            leave_room(small_disk, kib)
            done, _ = workshop.build(recipe)
            if done.status == 0:
                break
            assert (done.status, done.err.count("\n")) == (1, 1), done.err
            assert done.err.startswith(f"the disk that holds {small_disk}")
            assert "Make room there, or set EDGEWRIGHT_HOME to a folder on another disk" in done.err
            assert not (workshop.home / "last-error.txt").exists(), "a full disk is no defect"
            assert workshop.wait_until_quiet() == []
            reached.append(len([line for line in done.out.splitlines() if " ✓ " in line]))
        assert len(reached) >= 3
        assert len(set(reached)) >= 2, "it failed at different stages"
        (small_disk / "filler").unlink()
        done, summary = workshop.build(recipe)
        assert (done.status, done.err) == (0, "")
        assert summary["targets"][0]["champion"] == 2
        workshop.check_registry()
        assert workshop.described_processes() == []
        assert workshop.litter() == []
    finally:
        workshop.stop()
