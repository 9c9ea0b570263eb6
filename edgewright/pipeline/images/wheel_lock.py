"""Lock files: which wheels an image of a platform with an engine takes, each by its SHA-256.

They are in the format of pip's hash-checking mode, and pip reads them, too. Versions are those of constraints.txt wherever
that names one: a device runs what the workshop measured with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import ImageError
from edgewright.pipeline.images.platform import Platform

LOCKS = Path("docker/locks")
"""Where the lock files are, below the root of a checkout."""

_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+_-]*) --hash=sha256:([0-9a-f]{64})")
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;#]+)")
_RENEW = "edgewright images lock"


@dataclass(frozen=True)
class LockedWheel:
    """One wheel.

    Attributes:
        name: Name of the distribution, as normalised by PEP 503.
        version: Its version.
        sha256: Digest of the one file that is meant.
    """

    name: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        """The line of the lock file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def normalised(name: str) -> str:
    """Give a distribution's name as PEP 503 writes it: ``ai_edge_litert`` becomes ``ai-edge-litert``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lock_name(platform: Platform, engine: str) -> str:
    """Give the file's name: ``linux-arm64-onnxruntime.txt``."""
    return f"{platform.slug}-{engine}.txt"


def read_lock(folder: Path, platform: Platform, engine: str) -> tuple[LockedWheel, ...]:
    """Read the lock file of a platform and an engine.

    Raises:
        ImageError: The engine cannot be had there; the folder is missing; or the file is missing, has a line that is none,
            or does not name exactly the distributions that such an image takes.
    """
    needed, path = platform.wheels(engine), folder / lock_name(platform, engine)
    if not folder.is_dir():
        raise ImageError(
            f"{folder.absolute()} is missing: it holds the lock files, which pin an image's wheels. Run this in the root of "
            f"a checkout of edgewright, which has them in {LOCKS}."
        )
    if not path.is_file():
        raise ImageError(f"{path} is missing: it pins the wheels of {platform.name}. Write it: {_RENEW}.")
    wheels = parse_lock(path.read_text("utf-8"), str(path))
    names = tuple(wheel.name for wheel in wheels)
    if names != needed:
        raise ImageError(
            f"{path} pins {', '.join(names) or 'nothing'}; an image for {platform.name} with {engine} takes "
            f"{', '.join(needed)}, in this order, each once. Write it anew: {_RENEW}."
        )
    return wheels


def parse_lock(text: str, place: str) -> tuple[LockedWheel, ...]:
    """Read the text of a lock file.

    Raises:
        ImageError: A line is neither a comment nor one wheel with one SHA-256.
    """
    wheels = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if (found := _LINE.fullmatch(line.strip())) is None:
            raise ImageError(
                f"{place}, line {number}: needed is name==version --hash=sha256:<64 hexadecimal digits>, found "
                f"{line.strip()!r:.120}. Write the file anew: {_RENEW}."
            )
        wheels.append(LockedWheel(normalised(found[1]), found[2], found[3]))
    return tuple(wheels)


def merge_locks(locks: Sequence[tuple[LockedWheel, ...]]) -> tuple[LockedWheel, ...]:
    """Put the locks of several engines of one platform together.

    Raises:
        ImageError: Two name one distribution differently.
    """
    found: dict[str, LockedWheel] = {}
    for wheel in (wheel for lock in locks for wheel in lock):
        if found.setdefault(wheel.name, wheel) != wheel:
            raise ImageError(
                f"the locks of this platform differ about {wheel.name}: {found[wheel.name].requirement} and "
                f"{wheel.requirement}. Write them anew: {_RENEW}."
            )
    return tuple(found[name] for name in sorted(found))


def lock_text(platform: Platform, engine: str, wheels: Sequence[LockedWheel]) -> str:
    """Give a lock file's text."""
    head = f"# Wheels of an image for {platform.name} with {engine}. Written by `{_RENEW}`; in pip's hash-checking format.\n"
    return head + "".join(f"{wheel.requirement}\n" for wheel in sorted(wheels, key=lambda wheel: wheel.name))


def read_constraints(path: Path) -> dict[str, str]:
    """Read the versions that a constraints file pins, by normalised name."""
    pins = (_PIN.match(line.strip()) for line in path.read_text("utf-8").splitlines())
    return {normalised(pin[1]): pin[2] for pin in pins if pin}
