"""What the workshop decided about releases, kept in its own store: by this, and not by aliases and tags, it is signed.

Whoever reaches an open registry may move an alias and delete a tag. So a rollback writes into the attestation that the
release was withdrawn, and only a person who promotes it takes that back; why it may go out against its verdict is written
there, too, once everything else about the promotion was found right. And every promotion and rollback writes down which
version it chose: an older release than the signed one is signed where that says so, and never for an alias alone. All of
it is written before the alias moves, so that a kill in between leaves nothing that could be misread.
"""

from __future__ import annotations

from edgewright.errors import RegistryError
from edgewright.pipeline.object_store import ObjectStore
from edgewright.pipeline.signing.attestation import attest_again
from edgewright.pipeline.tracking import ModelVersion, Promotion, Tracking, promote, rollback
from edgewright.pipeline.workspace import Workspace
from edgewright.strict_json import Fields, dump_json, load_json

_FOLDER = "updates/decisions"


def promote_by_person(
    tracking: Tracking,
    model: str,
    target: str,
    version: int,
    *,
    reason: str,
    who: str,
    waiver: str | None = None,
    judged_against: int | None = None,
) -> Promotion:
    """Make a version the champion by a person's wish; also one that was rolled back, which counts as withdrawn no longer.

    Raises:
        ChampionMovedError: The champion is not ``judged_against``.
        RegistryError: See `promote`.
    """
    shared = Workspace(tracking.home).shared

    def note(chosen: ModelVersion) -> None:
        waived = {} if waiver is None else {"waiver": f"{waiver} ({who})"}
        attest_again(shared, chosen.name, chosen.bundle_sha256, withdrawn="", **waived)
        note_decision(shared, chosen)

    return promote(
        tracking,
        model,
        target,
        version,
        reason=reason,
        who=who,
        waiver=waiver,
        judged_against=judged_against,
        allow_withdrawn=True,
        on_decided=note,
    )


def roll_back(tracking: Tracking, model: str, target: str, *, reason: str, who: str) -> Promotion:
    """Give the office back to the release that the champion replaced; the one that leaves is withdrawn.

    Raises:
        RegistryError: See `rollback`.
    """
    shared = Workspace(tracking.home).shared

    def note(leaving: ModelVersion, chosen: ModelVersion) -> None:
        attest_again(shared, leaving.name, leaving.bundle_sha256, withdrawn=f"{reason} ({who})")
        note_decision(shared, chosen)

    return rollback(tracking, model, target, reason=reason, who=who, on_decided=note)


def note_decision(shared: ObjectStore, chosen: ModelVersion) -> None:
    """Write down which version was chosen, until it, or another one, is signed."""
    shared.write(_key(chosen.name), dump_json({"version": chosen.version}))


def decided_version(shared: ObjectStore, name: str) -> int | None:
    """Give the number of the version that was chosen and is not signed yet; None where there is none.

    Raises:
        RegistryError: What is kept is damaged.
    """
    content = shared.read(_key(name))
    if content is None:
        return None
    place = f"{shared.location}: {_key(name)}"
    return Fields(load_json(content, place, RegistryError), place, RegistryError).integer("version", 1)


def forget_decision(shared: ObjectStore, name: str) -> None:
    """What was chosen is signed."""
    shared.delete(_key(name))


def _key(name: str) -> str:
    return f"{_FOLDER}/{name}.json"
