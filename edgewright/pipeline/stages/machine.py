"""What a result depends on that belongs to the machine: which kind it is, and which one."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path


@cache
def cpu_model() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def machine_type() -> dict[str, str]:
    """The kind of machine: the same seed gives other weights, and the same model another latency, on another kind."""
    accelerator = "cuda" if Path("/dev/nvidia0").exists() else "none"
    return {"cpu": cpu_model(), "architecture": platform.machine(), "accelerator": accelerator}


def this_machine() -> dict[str, str]:
    """The very machine: a latency measured on another one is not this one's, even of the same kind."""
    return {**machine_type(), "cores": str(os.cpu_count()), "host": platform.node()}


def this_platform() -> str:
    """This machine as targets name it, e.g. ``linux/amd64``."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7"}.get(
        platform.machine(), platform.machine()
    )
    return f"{platform.system().lower()}/{architecture}"
