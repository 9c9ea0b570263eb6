"""Roles and keys of the signed metadata: their names, where their private halves are kept, how long signatures last.

Whatever must be known of a key beside its public half is a field of the key and signed with it: there is no list of
keys that could contradict the metadata.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, get_args

from securesystemslib.signer import Key

Kept = Literal["online", "offline", "development"]
"""``online``: the workshop signs alone. ``offline``: a person brings the key. ``development``: all on one disk."""

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = "root", "targets", "snapshot", "timestamp"
ROOT_KEYS = ("root-1", "root-2", "root-3")
ROOT_THRESHOLD = 2
TOP_KEYS = (*ROOT_KEYS, TARGETS, SNAPSHOT, TIMESTAMP)

REVOKED = "x-edgewright-revoked"
"""Field of the targets' signed part: roles whose delegation was taken back, until a person delegates them anew."""

_NAME, _KEPT = "x-edgewright-name", "x-edgewright-kept"
_DAYS = {ROOT: 365, TARGETS: 365, SNAPSHOT: 30, TIMESTAMP: 14}
_RELEASE_DAYS: dict[Kept, int] = {"online": 30, "offline": 365, "development": 30}
ALARM_DAYS = 45
"""A role whose key is offline alarms when less than this is left: a person must come with the key."""


def describe_key(key: Key, name: str, kept: Kept) -> None:
    """Write a key's name and keeping into its signed fields."""
    key.unrecognized_fields.update({_NAME: name, _KEPT: kept})


def key_name(key: Key) -> str:
    """Give a key's name, e.g. ``root-1`` or ``digits.linux-x86``."""
    return str(key.unrecognized_fields.get(_NAME, key.keyid[:12]))


def kept_of(key: Key) -> Kept:
    """Say where a key's private half is kept; what does not say so counts as offline."""
    value = key.unrecognized_fields.get(_KEPT)
    return next((kept for kept in get_args(Kept) if kept == value), "offline")


def role_of_key(name: str) -> str:
    """Give the role that a key of this name signs: ``root`` for ``root-1``."""
    return ROOT if name in ROOT_KEYS else name


def lifetime(role: str, kept: Kept) -> timedelta:
    """Say how long a signature of a role lasts."""
    return timedelta(days=_DAYS.get(role, _RELEASE_DAYS[kept]))
