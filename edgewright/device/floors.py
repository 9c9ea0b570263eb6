"""What a device has seen of signed metadata, and never goes below again.

python-tuf remembers in a cache that a power cut or a hand can damage. These floors stand in the agent's own durable
state: older metadata is refused even when the cache is gone. A floor holds for the keys that its role had then. Other
keys, certified from above, begin anew: a thief of a key who signed version 2^31 would else freeze devices for ever.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from edgewright.device.agent_state import AgentState, Floor
from edgewright.errors import TrustError

_VERSION_MOST = 2**53  # what the state's file can hold
_SIGNED_AT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class RefusedUpdateError(TrustError):
    """Signed metadata was refused.

    Attributes:
        expired: It is genuine and too old, by this device's time; otherwise somebody or something interfered.
    """

    def __init__(self, message: str, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


@dataclass(frozen=True)
class Seen:
    """A role's metadata that was verified.

    Attributes:
        role: Its name.
        version: The metadata's version.
        keys: Digest of the keys that the role above names for it.
    """

    role: str
    version: int
    keys: str


def keys_digest(key_ids: Iterable[str]) -> str:
    """Give the digest of a set of keys."""
    return hashlib.sha256("\n".join(sorted(key_ids)).encode()).hexdigest()


def raise_floors(state: AgentState, seen: Iterable[Seen]) -> AgentState:
    """Raise the floors to what was verified.

    Raises:
        RefusedUpdateError: Something is below its floor: it was replayed.
    """
    floors = dict(state.floors)
    for each in seen:
        floor = floors.get(each.role)
        if floor is not None and floor.keys == each.keys and each.version < floor.version:
            raise RefusedUpdateError(
                f"the registry offers version {each.version} of the signed metadata {each.role}, "
                f"this device has seen version {floor.version}: it was replayed."
            )
        if each.version > _VERSION_MOST:
            raise RefusedUpdateError(
                f"the signed metadata {each.role} has the version {each.version}: nobody counts so far."
            )
        floors[each.role] = Floor(each.version, each.keys)
    return state.with_floors(floors)


def raise_time(state: AgentState, signed_at_s: float, timestamp_keys: str) -> AgentState:
    """Raise the floor of time to a timestamp's time of signing; with other keys it begins anew.

    Args:
        state: As it was before its floors were raised.
        signed_at_s: Seconds since 1970.
        timestamp_keys: Digest of the keys that may sign timestamps.
    """
    return state.with_signed_at(max(signed_at_s, signed_at_floor(state, timestamp_keys)))


def signed_at_floor(state: AgentState, timestamp_keys: str) -> float:
    """Give the latest time of signing that still counts, seconds since 1970; 0 when the keys were exchanged since."""
    floor = state.floors.get("timestamp")
    return state.signed_at_s if floor is not None and floor.keys == timestamp_keys else 0.0


def parse_signed_at(value: object) -> datetime:
    """Read a time of signing.

    Raises:
        RefusedUpdateError: It is none.
    """
    if not isinstance(value, str) or not _SIGNED_AT.fullmatch(value):
        raise RefusedUpdateError(
            f"signed metadata says it was signed at {value!r:.80}, not at a time like 2030-01-31T12:00:00Z."
        )
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as cause:
        raise RefusedUpdateError(f"signed metadata says it was signed at {value}, which is no time.") from cause
