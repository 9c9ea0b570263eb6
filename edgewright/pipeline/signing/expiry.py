"""Renewing what the workshop's own keys sign, and alarms long before what only people can renew expires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from edgewright.errors import KeyringError
from edgewright.pipeline.signing.generation import Generation
from edgewright.pipeline.signing.keyring import Keyring
from edgewright.pipeline.signing.mirror import mend_mirror
from edgewright.pipeline.signing.repository import Repository
from edgewright.pipeline.signing.roles import (
    ALARM_DAYS,
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Kept,
    kept_of,
    key_name,
    lifetime,
)
from edgewright.pipeline.tracking import Tracking

_DAY_S = 86_400.0
_ORDER = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)


@dataclass(frozen=True)
class KeyStatus:
    """One key of a role.

    Attributes:
        name: Its name.
        keyid: Its id.
        kept: Where its private half belongs.
        place: Where it lies on this machine; empty where it does not.
    """

    name: str
    keyid: str
    kept: Kept
    place: str


@dataclass(frozen=True)
class RoleStatus:
    """One role at one moment.

    Attributes:
        role: Its name.
        version: Version of its metadata.
        days_left: Days until it expires; below 0 it has.
        threshold: So many of its keys must sign.
        keys: Its keys.
        release: What it tells devices to run, in words; empty for the top roles.
        alarm: What is wrong and what to do; empty where all is well.
    """

    role: str
    version: int
    days_left: float
    threshold: int
    keys: tuple[KeyStatus, ...]
    release: str
    alarm: str


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        renewed: Roles that were signed anew, beside the timestamp.
        alarms: What a person must do, one sentence each; also of each role that was due and could not be signed.
    """

    renewed: tuple[str, ...]
    alarms: tuple[str, ...]


def refresh(
    repository: Repository, tracking: Tracking, holder: str = "the refresh of the timestamp"
) -> Refreshed | None:
    """Sign the timestamp anew, and whatever has less than half of its life left and a key that stays in the workshop.

    A key that is lost, or does not open, leaves its own role unsigned and alarms: no other role's devices wait for it.

    Returns:
        None where nothing was ever signed.

    Raises:
        KeyringError: The timestamp's key is not here or does not open.
        RegistryError: The registry cannot be reached; what was signed counts, and is sent by the next refresh.
        TrustError: The own copy is damaged.
    """
    with repository.locked(holder) as lease:
        before = repository.read()
        if before is None:
            return None
        draft, due = repository.draft(before), due_roles(before, repository.now())
        skipped = {role: why for role in due if (why := _hindrance(before, repository.keyring, role))}
        renewed = tuple(role for role in due if role not in skipped)
        for role in renewed:
            draft.renew(role)
        after = repository.commit(draft, before, lease)
        mend_mirror(tracking, after)
    found = {role.role: role for role in describe(after, repository.keyring, repository.now())}
    told = [
        f"{role} was due and not signed anew, {found[role].days_left:.0f} days are left: {skipped[role]}"
        for role in skipped
    ]
    return Refreshed(renewed, (*told, *alarms([role for role in found.values() if role.role not in skipped])))


def due_roles(generation: Generation, now: datetime) -> tuple[str, ...]:
    """Give the roles that a refresh signs anew beside the timestamp."""
    roles = [role for role in (*_ORDER, *generation.roles) if role != TIMESTAMP]
    return tuple(
        role
        for role in roles
        if _kept(generation, role) != "offline"
        and generation.signed(role).expires - now < lifetime(role, _kept(generation, role)) / 2
    )


def describe(generation: Generation, keyring: Keyring, now: datetime) -> tuple[RoleStatus, ...]:
    """Say how each role is, the top ones first."""
    found = []
    for role in (*_ORDER, *generation.roles):
        signed, keys = generation.signed(role), generation.keys(role)
        days_left = (signed.expires - now).total_seconds() / _DAY_S
        release = generation.release(role)
        found.append(
            RoleStatus(
                role=role,
                version=signed.version,
                days_left=days_left,
                threshold=generation.root.roles[role].threshold if role in generation.root.roles else 1,
                keys=tuple(
                    KeyStatus(key_name(key), key.keyid, kept_of(key), str(keyring.find(key) or "")) for key in keys
                ),
                release="" if release is None else f"version {release.version} ({release.variant})",
                alarm=_alarm(role, _kept(generation, role), days_left),
            )
        )
    return tuple(found)


def alarms(roles: Sequence[RoleStatus]) -> tuple[str, ...]:
    """Give what a person must do."""
    return tuple(role.alarm for role in roles if role.alarm)


def _kept(generation: Generation, role: str) -> Kept:
    return kept_of(generation.keys(role)[0])


def _hindrance(generation: Generation, keyring: Keyring, role: str) -> str:
    """Why a role cannot be signed now, by its own keys or by that of the snapshot that must name it; empty where it can."""
    try:
        for by in dict.fromkeys((role,) if role == ROOT else (role, SNAPSHOT)):
            keys = [key for key in generation.keys(by) if by != ROOT or keyring.holds(key)]
            for key in keys:
                keyring.signer(key)
            if by == ROOT and len(keys) < (needed := generation.root.roles[ROOT].threshold):
                return f"{len(keys)} of its keys are here, {needed} must sign. Bring the others, or enrol devices anew"
    except KeyringError as cause:
        return str(cause).rstrip(".")
    return ""


def _alarm(role: str, kept: Kept, days_left: float) -> str:
    when = f"{role} expires in {days_left:.0f} days" if days_left > 0 else f"{role} EXPIRED {-days_left:.0f} days ago"
    if kept == "offline":
        if days_left >= ALARM_DAYS:
            return ""
        name = "root-1" if role == ROOT else role
        return f"{when}: devices then install nothing. Bring the keys: edgewright keys rotate {name} --offline DIR"
    # Renewed at half of its life: with a third left, the refresh has not run for long.
    if days_left * _DAY_S < lifetime(role, kept).total_seconds() / 3:
        return f"{when}: the deployment refresh-timestamp does not run, or fails. Look at its runs in Prefect"
    return ""
