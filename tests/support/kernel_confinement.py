"""Whether this machine's kernel can confine an image without an engine: asked of the machine, never of what is tested."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_PROGRAMS = ("unshare", "nsenter", "setpriv")
_GROUPS = Path("/sys/fs/cgroup")


def require_kernel_confinement() -> None:
    """Skips the test where something of the machine is missing; from here on "not proven here" is a failure."""
    if os.geteuid() != 0:
        pytest.skip("the kernel alone runs images for root only")
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)} is not installed: apt-get install util-linux")
    words = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "true"]
    if subprocess.run(words, capture_output=True, timeout=30, check=False).returncode:
        pytest.skip("this machine makes no namespaces, not even for root")
    group = (_GROUPS if (_GROUPS / "cgroup.controllers").exists() else _GROUPS / "memory") / f"trial-{os.getpid()}"
    try:
        group.mkdir()
        group.rmdir()
    except OSError as cause:
        pytest.skip(f"control groups cannot be made here: {cause.strerror}")
