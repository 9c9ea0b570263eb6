"""What the machine says of itself: temperatures and resident memory, where they are readable; None means not measurable."""

from __future__ import annotations

import os
from pathlib import Path

THERMAL = Path("/sys/class/thermal")
_MOST_ZONES = 8
_PLAUSIBLE_C = (-80.0, 250.0)
_READ_BYTES = 4096
_MIB = 1 << 20


def read_temperatures(thermal: Path = THERMAL) -> dict[str, float] | None:
    """Give °C by zone, e.g. ``{"cpu-thermal": 51.2}``; None where no zone can be read."""
    found: dict[str, float] = {}
    try:
        zones = sorted(thermal.glob("thermal_zone*"))[:_MOST_ZONES]
    except OSError:
        return None
    for zone in zones:
        value = _text(zone / "temp")
        try:
            degrees = int(value or "") / 1000
        except ValueError:
            continue
        if _PLAUSIBLE_C[0] <= degrees <= _PLAUSIBLE_C[1]:
            name = (_text(zone / "type") or zone.name)[:40]
            found[name if name not in found else f"{name} {zone.name}"] = degrees
    return found or None


def resident_mib(pid: int | None = None) -> float | None:
    """Give a process's resident memory in MiB.

    Args:
        pid: The process; None: this one.
    """
    words = (_text(Path(f"/proc/{pid or os.getpid()}/statm")) or "").split()
    if len(words) < 2 or not words[1].isdigit():
        return None
    return round(int(words[1]) * os.sysconf("SC_PAGE_SIZE") / _MIB, 2)


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return stream.read(_READ_BYTES).decode(errors="replace").strip()
    except OSError:  # a zone that is asleep, a process that has ended, no such file system
        return None
