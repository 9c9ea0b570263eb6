"""Writes the lock files anew: asks pip's index for one wheel of each distribution, and takes its hash."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgewright.durable import replace_file
from edgewright.errors import ImageError
from edgewright.pipeline.images.platform import Platform
from edgewright.pipeline.images.wheel_lock import LockedWheel, lock_name, lock_text, normalised
from edgewright.pipeline.images.wheels import FETCH_DEADLINE_S, run_pip


def renew_lock(
    folder: Path,
    platform: Platform,
    engine: str,
    constraints: Mapping[str, str],
    deadline_s: float = FETCH_DEADLINE_S,
) -> tuple[Path, tuple[LockedWheel, ...]]:
    """Write the lock file of a platform and an engine.

    Args:
        folder: Folder of the lock files.
        platform: The platform.
        engine: The engine.
        constraints: Versions by normalised name, of constraints.txt; of what is not there the newest is taken.
        deadline_s: Time that pip is given.

    Returns:
        The file, and what it pins.

    Raises:
        ImageError: The engine cannot be had there, or a wheel cannot.
    """
    names = platform.wheels(engine)
    asked = [f"{name}=={constraints[name]}" if name in constraints else name for name in names]
    with tempfile.TemporaryDirectory(prefix="edgewright-lock-") as scratch:
        pip = run_pip(["download", "--dest", scratch, *asked], platform, deadline_s)
        if pip.returncode != 0:
            last = [line.strip() for line in pip.stdout.splitlines() if line.startswith("ERROR")][-1:]
            raise ImageError(f"the wheels of {platform.name} with {engine} cannot be had: {' '.join(last)}")
        wheels = tuple(_locked(path) for path in sorted(Path(scratch).glob("*.whl")))
    if sorted(wheel.name for wheel in wheels) != list(names):
        raise ImageError(
            f"pip fetched {[wheel.name for wheel in wheels]} for {platform.name}, asked for {list(names)}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / lock_name(platform, engine)
    replace_file(path, lock_text(platform, engine, wheels).encode())
    return path, wheels


def _locked(path: Path) -> LockedWheel:
    name, version = path.name.split("-")[:2]
    return LockedWheel(normalised(name), version, hashlib.sha256(path.read_bytes()).hexdigest())
