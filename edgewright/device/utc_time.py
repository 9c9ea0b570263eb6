"""Times as they are written: UTC, to the second, e.g. ``2030-01-31T12:00:00Z``."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Give the time by this device's clock."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_text(seconds: float) -> str:
    """Give a time in words, also one that no calendar has.

    Args:
        seconds: Since 1970.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s after 1970"
