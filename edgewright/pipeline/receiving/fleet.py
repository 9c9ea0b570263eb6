"""How the devices are, by what they reported: one line each."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.pipeline.receiving.inbox import looking_at
from edgewright.pipeline.receiving.item import EVENT_PREFIX, REPORT, SAMPLE

_REPORTS_LOOKED_AT = 20
_BACKWARDS = tuple(f"{EVENT_PREFIX}{kind}" for kind in ("rollback", "fall_back"))


@dataclass(frozen=True)
class DeviceFigures:
    """One device; None where it has not reported a figure.

    Attributes:
        device: Its name.
        seen_at: When its last batch came, by the receiver's clock, UTC.
        release: What it ran at its last report, e.g. ``digits.linux-x86 3 i8``.
        latency_p50_ms: Median time of an answer in its last report with answers.
        latency_p95_ms: 95th percentile of the same.
        rollbacks: How often it went back to another release, in all.
        last_reason: Why it went back last.
        drift_psi: Population stability index of its inputs, of the last whole window.
        drift_noise: What the index is about, without any drift.
        items: How many items came from it.
        samples: How many raw inputs came from it.
    """

    device: str
    seen_at: str
    release: str | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    rollbacks: int
    last_reason: str | None
    drift_psi: float | None
    drift_noise: float | None
    items: int
    samples: int


def fleet_figures(folder: Path) -> list[DeviceFigures]:
    """Read how all devices are, by name.

    Raises:
        DataError: Nothing was received there, or it cannot be read.
    """
    with looking_at(folder) as connection:
        devices = connection.execute("SELECT device, seen_at FROM devices ORDER BY device").fetchall()
        return [_of_device(connection, device, seen_at) for device, seen_at in devices]


def _of_device(connection: sqlite3.Connection, device: str, seen_at: str) -> DeviceFigures:
    kinds = dict(
        connection.execute("SELECT kind, count(*) FROM items WHERE device = ? GROUP BY kind", (device,)).fetchall()
    )
    reports = _newest(connection, device, (REPORT,), _REPORTS_LOOKED_AT)
    left = _newest(connection, device, _BACKWARDS, 1)
    answered = next((each for each in reports if _figure(each, "latency_ms", "p50") is not None), None)
    compared = next((each for each in reports if _figure(each, "drift", "psi") is not None), None)
    return DeviceFigures(
        device,
        seen_at,
        _release(reports[0]) if reports else None,
        _figure(answered, "latency_ms", "p50"),
        _figure(answered, "latency_ms", "p95"),
        sum(kinds.get(kind, 0) for kind in _BACKWARDS),
        str(left[0].get("reason", "")) if left else None,
        _figure(compared, "drift", "psi"),
        _figure(compared, "drift", "noise"),
        sum(kinds.values()),
        kinds.get(SAMPLE, 0),
    )


def _newest(connection: sqlite3.Connection, device: str, kinds: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    """In the order of the device's clock where it has one, else in that of arrival."""
    marks = ",".join("?" * len(kinds))
    wanted = f"SELECT payload FROM items WHERE device = ? AND kind IN ({marks}) ORDER BY at DESC, rowid DESC LIMIT ?"
    return [json.loads(payload) for (payload,) in connection.execute(wanted, (device, *kinds, count))]


def _figure(report: dict[str, Any] | None, part: str, name: str) -> float | None:
    """A figure that a device wrote: it may have written anything."""
    values = report.get(part) if report else None
    value = values.get(name) if isinstance(values, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _release(report: dict[str, Any]) -> str | None:
    serves = report.get("serves")
    if not isinstance(serves, dict):
        return None
    words = [str(serves[key])[:100] for key in ("name", "version", "variant") if serves.get(key) is not None]
    return " ".join(words) or (str(serves["place"])[:100] if "place" in serves else None)
