"""Emulators of foreign processors that this kernel starts by itself, and which of them may be believed.

qemu 7.2, which Debian 12 has, crashes in INT8 kernels or, worse, computes them wrongly without a word; 10 and later are
right (docs/decisions/0033-images-by-an-engine-and-proof.md). Emulation is about correctness alone: never time or memory.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgewright.pipeline.images.confinement import NotProvableError
from edgewright.pipeline.images.platform import Platform, architecture_of

REGISTRATIONS = Path("/proc/sys/fs/binfmt_misc")
LEAST_VERSION = (10, 0)
_INSTALL = "apt-get install -t bookworm-backports qemu-user-binfmt"
_VERSION = re.compile(r"version (\d+)\.(\d+)(?:\.(\d+))?")
_TIMEOUT_S = 10.0
_NAMES = {"arm64": "aarch64", "arm": "arm", "amd64": "x86_64"}
# A processor of the class, whose kernels the engines then choose. Not "max": a device has no such processor.
_PROCESSORS = {"arm64": "cortex-a76", "arm": "cortex-a15", "amd64": "Haswell"}


@dataclass(frozen=True)
class Emulator:
    """An emulator that the kernel starts for every program of a platform, whatever root it sees.

    Attributes:
        version: Its version.
        processor: What it imitates (``QEMU_CPU``).
    """

    version: str
    processor: str

    @property
    def name(self) -> str:
        """For people: ``qemu 10.0.2 as cortex-a76``."""
        return f"qemu {self.version} as {self.processor}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that tell it what to imitate."""
        return {"QEMU_CPU": self.processor}


def host_architecture() -> str:
    """The image format's word for this machine's architecture."""
    return architecture_of(os.uname().machine)


def find_emulator(platform: Platform, registrations: Path = REGISTRATIONS) -> Emulator:
    """Find the emulator for a platform.

    Args:
        platform: The foreign platform.
        registrations: Where the kernel lists what starts what.

    Raises:
        NotProvableError: There is none, or none that may be believed; the message says what to do.
    """
    wanted = _NAMES.get(platform.architecture, platform.architecture)
    registered = registrations / f"qemu-{wanted}"
    try:
        lines = registered.read_text().splitlines()
    except OSError:
        raise NotProvableError(
            f"this machine runs no program of {platform.name}: no emulator is registered with the kernel as "
            f"qemu-{wanted}. Install one: {_INSTALL}."
        ) from None
    words = dict(line.partition(" ")[::2] for line in lines)
    if "enabled" not in words:
        raise NotProvableError(f"the emulator for {platform.name} is registered and switched off.")
    if "F" not in words.get("flags:", ""):
        raise NotProvableError(
            f"the emulator for {platform.name} is not registered to be opened at once (flag F): a container would not "
            f"find it. Install {_INSTALL}."
        )
    version = _version(words.get("interpreter", ""))
    if version < LEAST_VERSION:
        found = ".".join(map(str, version)) if version else "of unknown version"
        raise NotProvableError(
            f"the emulator for {platform.name} is qemu {found}; before {LEAST_VERSION[0]} it computes INT8 models "
            f"wrongly. Install {_INSTALL}."
        )
    return Emulator(".".join(map(str, version)), _PROCESSORS[platform.architecture])


def _version(interpreter: str) -> tuple[int, ...]:
    try:
        said = subprocess.run(
            [interpreter, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = _VERSION.search(said)
    return tuple(int(part) for part in found.groups() if part is not None) if found else ()
