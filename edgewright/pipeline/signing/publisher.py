"""From a champion to signed metadata: devices are told to run the version that the alias names, where it is attested.

Going back is newer metadata that names an older release: for a decision of the workshop, never for an alias alone. Which
key signs follows from the role's delegation: an online or a development key signs at once; an offline one waits for a
person with ``edgewright release sign``. What is signed and what the registry shows is compared each time, so a call after
a kill does what was left undone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgewright.errors import BundleError, KeyringError, RegistryError
from edgewright.pipeline.lease import Lease
from edgewright.pipeline.signing.attestation import Attestation, find_attestation
from edgewright.pipeline.signing.deciding import decided_version, forget_decision
from edgewright.pipeline.signing.draft import Draft, make_top_keys
from edgewright.pipeline.signing.generation import Generation
from edgewright.pipeline.signing.mirror import mend_mirror, refuse_foreign_mirror
from edgewright.pipeline.signing.repository import Repository
from edgewright.pipeline.signing.roles import TARGETS, TOP_KEYS, Kept, kept_of
from edgewright.pipeline.tracking import ModelVersion, Tracking, champion
from edgewright.pipeline.tracking.signing_tags import REFUSED, WAITS, note_signed, note_unsigned
from edgewright.signed_release import role_name

DEVELOPMENT = (
    "DEVELOPMENT KEYS sign releases here: all of them lie on this disk, and who reads it signs for every device. "
    "Before devices leave the house: edgewright keys init --offline DIR"
)

_unsaid = threading.Lock()  # taken for good by the first who says it

Standing = Literal["none", "signed", "current", "waits", "refused"]


@dataclass(frozen=True)
class Signing:
    """What became of a champion's signature.

    Attributes:
        name: The registered model.
        version: The champion; None where there is none.
        standing: ``none`` (no champion), ``signed`` (just now), ``current`` (was signed before), ``waits`` (for a person with
            a key) or ``refused`` (nothing here attests it).
        note: What happened, as a sentence for people; empty for ``none``.
        metadata_version: Version of the role's metadata that names it; None unless it is signed.
        is_development: Whether development keys signed just now; whoever asked for the signature says so, loudly.
    """

    name: str
    version: int | None
    standing: Standing
    note: str = ""
    metadata_version: int | None = None
    is_development: bool = False

    @property
    def is_obeyed(self) -> bool:
        """Whether devices are told to run the champion."""
        return self.standing in ("signed", "current")


class _Waits(Exception):
    """A signature must wait; its text says for what."""


def sign_champion(
    repository: Repository,
    tracking: Tracking,
    model: str,
    target: str,
    *,
    holder: str = "the signing of a release",
    by_person: bool = False,
    on_wait: Callable[[str], None] | None = None,
) -> Signing:
    """Let signed metadata name the champion, and the registry carry it; call it with the model's promotion lease held.

    Args:
        repository: The signed metadata and the keys.
        tracking: The registry.
        model: Name of the model.
        target: Name of the target.
        holder: Who signs, for others who wait.
        by_person: A person signs: also delegates a role that was revoked; a key that is wrong is an error, no waiting.
        on_wait: Hears who else signs at this moment.

    Raises:
        KeyringError: By a person only: a key is not here or does not open.
        RegistryError: The registry cannot be reached, or carries another workshop's metadata.
        TrustError: The own copy is damaged.
        LeaseHeldError: Another one signs for too long.
    """
    name = role_name(model, target)
    version = champion(tracking, model, target)
    if version is None:
        return Signing(name, None, "none")
    with repository.locked(f"{holder}: {name}", on_wait) as lease:
        generation = repository.read()
        standing: Standing = "current"
        attested = find_attestation(repository.shared, name, version.bundle_sha256)
        decided = decided_version(repository.shared, name)
        if not _names(generation, version, attested):
            found = _permitted(version, attested, generation, decided)
            if isinstance(found, str):
                note_unsigned(tracking, version, REFUSED, found)
                return Signing(
                    name, version.version, "refused", f"{name}: version {version.version} is not signed: {found}."
                )
            try:
                if generation is None:
                    refuse_foreign_mirror(tracking)
                generation = _sign(repository, generation, version, found, lease, by_person)
                standing = "signed"
            except (_Waits, KeyringError) as reason:
                if by_person and isinstance(reason, KeyringError):
                    raise
                note_unsigned(tracking, version, WAITS, str(reason))
                return Signing(name, version.version, "waits", f"{name}: version {version.version} waits: {reason}")
        assert generation is not None
        mend_mirror(tracking, generation)
        metadata_version = generation.roles[name].version
        note_signed(tracking, version, metadata_version)
        if decided is not None and (standing == "signed" or decided == version.version):
            forget_decision(repository.shared, name)
    note = f"{name}: version {version.version} is signed for devices (metadata {metadata_version})."
    by_development = standing == "signed" and generation.is_development
    return Signing(name, version.version, standing, note, metadata_version, by_development)


def say_development(*tell: Callable[[str], object]) -> None:
    """Say loudly that development keys sign: one line, once a process, to each of those who are to hear it."""
    if _unsaid.acquire(blocking=False):
        for each in tell:
            each(DEVELOPMENT)


def begin_repository(repository: Repository, kept: dict[str, Kept], lease: Lease) -> Generation:
    """Make the first keys and the first generation; nothing is signed for any device yet.

    Raises:
        KeyringError: A key cannot be made.
    """
    draft = repository.draft(None)
    make_top_keys(draft, repository.keyring, kept)
    return repository.commit(draft, None, lease)


def delegate_release(draft: Draft, repository: Repository, role: str, policy: str) -> None:
    """Make a release key and delegate a registered model to it; needs the targets key.

    Beside development keys it is one too. Else it is online where the recipe promotes by itself (``auto``), so that a
    night can end in a signed release, and offline otherwise.
    """
    (targets,) = (draft.root.keys[keyid] for keyid in draft.root.roles[TARGETS].keyids)
    automatic: Kept = "online" if policy == "auto" else "offline"
    kept: Kept = "development" if kept_of(targets) == "development" else automatic
    draft.delegate(role, repository.keyring.make(role, kept, draft.keys))


def _sign(
    repository: Repository,
    before: Generation | None,
    version: ModelVersion,
    attestation: Attestation,
    lease: Lease,
    by_person: bool,
) -> Generation:
    role = version.name
    if before is None:
        before = begin_repository(repository, dict.fromkeys(TOP_KEYS, "development"), lease)
    remedy = f"`edgewright release sign {version.model} --target {version.target}`"
    draft, keyring = repository.draft(before), repository.keyring
    if role not in before.roles:
        if role in before.revoked and not by_person:
            raise _Waits(f"its release key was revoked; {remedy} with the targets key delegates a new one.")
        if not by_person and not all(keyring.holds(key) for key in before.keys(TARGETS)):
            raise _Waits(f"for its first signature {remedy} is needed, with the targets key.")
        delegate_release(draft, repository, role, attestation.policy)
    elif not by_person and not all(keyring.holds(key) for key in before.keys(role)):
        raise _Waits(f"for {remedy}; its key is offline.")
    draft.name_release(attestation.release())
    return repository.commit(draft, before, lease)


def _names(generation: Generation | None, version: ModelVersion, attested: Attestation | None) -> bool:
    """Whether a version is signed as it is attested; where its bundle lies may have been put right since."""
    release = None if generation is None else generation.release(version.name)
    if release is None or (release.version, release.bundle_sha256) != (version.version, version.bundle_sha256):
        return False
    return attested is None or attested.version != version.version or attested.place in ("", release.source)


def _permitted(
    version: ModelVersion, found: Attestation | None, generation: Generation | None, decided: int | None
) -> Attestation | str:
    """What the workshop attests of a version, or why it must not be signed."""
    where = f"{version.model} --target {version.target}"
    vouch = f"vouch for it (`edgewright release sign {where} --vouch WHY`)"
    if found is None:
        return (
            f"this workshop did not judge its bundle ({version.bundle_sha256[:12] or 'none'}): build it here (or set "
            f"EDGEWRIGHT_SHARED to the store of the workshop that did), or {vouch}"
        )
    if found.version != version.version:
        known = f"as version {found.version}" if found.version else "before that was noted"
        return f"this workshop registered its bundle {known}: build it again, or {vouch}"
    if found.withdrawn:
        again = f"`edgewright promote {where} --version {version.version}`"
        return f"it was withdrawn: {found.withdrawn}. A person may take that back ({again})"
    if not found.may_go_out:
        return f"the gate said {found.outcome!r} and nobody waived it (`edgewright promote … --waiver WHY`)"
    if version.verdict != "pass" and not version.waiver:
        return f"the registry says {version.verdict!r} of it and no waiver, though the gate said {found.outcome!r}"
    signed = None if generation is None else generation.release(version.name)
    if signed is not None and version.version < signed.version and decided != version.version:
        return (
            f"devices are told to run version {signed.version}, and moving an alias goes back to no older one: use "
            f"`edgewright rollback {where}`, or `edgewright promote {where} --version {version.version}`"
        )
    try:
        found.release()
    except (RegistryError, BundleError) as cause:
        return str(cause).rstrip(".")
    return found
