"""What a result depends on that belongs to the machine: which kind it is, and which one."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

from edgewright.machine import read_cpu_model


@cache
def machine_type() -> dict[str, str]:
    """The kind of machine: the same seed gives other weights, and the same model another latency, on another kind."""
    accelerator = "cuda" if Path("/dev/nvidia0").exists() else "none"
    return {"cpu": read_cpu_model(), "architecture": platform.machine(), "accelerator": accelerator}


def this_machine() -> dict[str, str]:
    """The very machine: a latency measured on another one is not this one's, even of the same kind."""
    return {**machine_type(), "cores": str(os.cpu_count()), "host": platform.node()}
