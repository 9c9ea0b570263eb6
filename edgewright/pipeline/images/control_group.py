"""A control group of this process's own: what bounds and counts the memory and processor time of what runs in it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from edgewright.pipeline.images.confinement import Limits, NotProvableError
from edgewright.pipeline.images.ownership import is_abandoned, owner_tag

ROOT = Path("/sys/fs/cgroup")
_MIB = 1024 * 1024
_PERIOD_US = 100_000
_REMOVAL_S = 5.0
_POLL_S = 0.02
_PREFIX, _MEMBERS = "edgewright-", "cgroup.procs"
_CONTROLLERS = ("memory", "cpu", "pids")  # of version 1: a tree each


class ControlGroup:
    """A group under limits until it is left; versions 1 and 2 of the kernel's interface.

    Attributes:
        folders: Its folders: one with version 2, one a controller with version 1.
    """

    def __init__(self, limits: Limits, root: Path = ROOT) -> None:
        self._limits, self._root = limits, root
        self._is_unified = (root / "cgroup.controllers").exists()
        name = f"{_PREFIX}{owner_tag()}"
        self.folders = tuple(tree / name for tree in _trees(root))

    def __enter__(self) -> Self:
        try:
            for folder in self.folders:
                folder.mkdir()
            for path, value in self._settings():
                path.write_text(value)
            self._forbid_swap()
        except OSError as cause:
            self.__exit__(None, None, None)
            raise NotProvableError(
                f"without a container engine, memory and processors are bounded by control groups, and none can be made "
                f"here ({cause.strerror or cause}: {cause.filename}). Start an engine, or run this as root of the machine."
            ) from cause
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _remove(self.folders)

    @property
    def member_files(self) -> tuple[Path, ...]:
        """Files that a process writes its id to in order to enter."""
        return tuple(folder / _MEMBERS for folder in self.folders)

    def used_mib(self) -> float:
        """Memory of all its processes, without files that the kernel merely keeps."""
        folder = self.folders[0]
        used = int((folder / ("memory.current" if self._is_unified else "memory.usage_in_bytes")).read_text())
        kept = "inactive_file " if self._is_unified else "total_inactive_file "
        files = [line for line in (folder / "memory.stat").read_text().splitlines() if line.startswith(kept)]
        return (used - int(files[0].split()[1] if files else 0)) / _MIB

    def was_killed_for_memory(self) -> bool:
        """Whether the kernel ended one of its processes for want of memory."""
        path = self.folders[0] / ("memory.events" if self._is_unified else "memory.oom_control")
        counts = dict(line.split() for line in path.read_text().splitlines())
        return int(counts.get("oom_kill", 0)) > 0

    def kill(self) -> None:
        """End all its processes."""
        _kill(self.folders[0])

    def _settings(self) -> list[tuple[Path, str]]:
        limits, memory = self._limits, str(self._limits.memory_mib * _MIB)
        quota = str(int(limits.cpus * _PERIOD_US))
        if self._is_unified:
            (folder,) = self.folders
            return [
                (folder / "memory.max", memory),
                (folder / "cpu.max", f"{quota} {_PERIOD_US}"),
                (folder / "pids.max", str(limits.pids)),
            ]
        by_memory, by_cpu, by_pids = self.folders
        return [
            (by_memory / "memory.limit_in_bytes", memory),
            (by_cpu / "cpu.cfs_period_us", str(_PERIOD_US)),
            (by_cpu / "cpu.cfs_quota_us", quota),
            (by_pids / "pids.max", str(limits.pids)),
        ]

    def _forbid_swap(self) -> None:
        """Where the kernel counts swap, there is none for it; without swap on the machine there is none either."""
        names = (
            ("memory.swap.max", "0")
            if self._is_unified
            else (
                "memory.memsw.limit_in_bytes",
                str(self._limits.memory_mib * _MIB),
            )
        )
        path = self.folders[0] / names[0]
        if path.exists():
            path.write_text(names[1])


def remove_abandoned_groups(root: Path = ROOT) -> list[Path]:
    """End what runs in groups whose makers are gone, and remove these groups.

    Args:
        root: Where the kernel shows its control groups.

    Returns:
        Their folders.
    """
    found = [
        folder
        for tree in _trees(root)
        for folder in sorted(tree.glob(f"{_PREFIX}*"))
        if is_abandoned(folder.name.removeprefix(_PREFIX))
    ]
    for folder in found:
        _kill(folder)
    _remove(found)
    return found


def _trees(root: Path) -> list[Path]:
    return [root] if (root / "cgroup.controllers").exists() else [root / name for name in _CONTROLLERS]


def _kill(folder: Path) -> None:
    """End all processes of a group, those too that start meanwhile."""
    stop_at = time.monotonic() + _REMOVAL_S
    with suppress(OSError):  # it is gone
        while (left := (folder / _MEMBERS).read_text().split()) and time.monotonic() < stop_at:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(_POLL_S)


def _remove(folders: Sequence[Path]) -> None:
    stop_at = time.monotonic() + _REMOVAL_S
    for folder in folders:
        while folder.exists() and time.monotonic() < stop_at:  # processes that were killed leave in a moment
            with suppress(OSError):
                folder.rmdir()
                break
            time.sleep(_POLL_S)
