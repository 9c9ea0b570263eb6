"""What this machine is, in the words of targets and reports."""

from __future__ import annotations

import platform
from pathlib import Path

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7"}


def this_platform() -> str:
    """Give what this machine is, in the words of container platforms: ``linux/amd64``, ``linux/arm64``."""
    machine = platform.machine()
    return f"{platform.system().lower()}/{_MACHINES.get(machine, machine)}"


def read_cpu_model() -> str:
    """Give the processor's name, or the board's where the processor has none (ARM), or ``unknown``."""
    cpuinfo, board = Path("/proc/cpuinfo"), Path("/proc/device-tree/model")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware", "Model") and value.strip():
            return value.strip()
    return board.read_text(errors="replace").strip("\0 \n") if board.exists() else "unknown"
