"""Making, exchanging and revoking keys: what a person does now and then, with the offline keys at hand.

**Development keys and ``init``.** A workshop that signed with development keys goes over to proper ones by exchanging
its root: the new root is signed by two of the old and two of the new keys, so that devices which were enrolled in
development follow. Every other key is exchanged with it, the release keys too, and the development keys' files are
deleted. What that cannot mend: who had copied the old root keys before can lead astray a device that has not seen the
new root yet. Where that is to be feared, enrol such devices anew.

**Exchange.** A new key's file is written first, then one generation that names it is committed, then it is sent:
roles and snapshot, the root, at last the timestamp. A kill leaves the old keys or the new ones, never a mixture. The
old file is of no use afterwards; a person destroys it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Key

from edgewright.errors import KeyringError, UsageError
from edgewright.pipeline.lease import Lease
from edgewright.pipeline.signing.attestation import find_attestation
from edgewright.pipeline.signing.draft import Draft, make_top_keys
from edgewright.pipeline.signing.generation import Generation
from edgewright.pipeline.signing.publisher import begin_repository, delegate_release
from edgewright.pipeline.signing.repository import Repository
from edgewright.pipeline.signing.roles import ROOT_KEYS, SNAPSHOT, TARGETS, TIMESTAMP, TOP_KEYS, Kept, kept_of, key_name

PROPER: dict[str, Kept] = {
    **dict.fromkeys((*ROOT_KEYS, TARGETS), "offline"),
    **dict.fromkeys((SNAPSHOT, TIMESTAMP), "online"),
}


@dataclass(frozen=True)
class Exchanged:
    """What a ceremony did.

    Attributes:
        generation: What counts now.
        useless: Files of private keys that nothing names any more.
    """

    generation: Generation
    useless: tuple[Path, ...] = ()


def init_keys(repository: Repository, lease: Lease) -> Exchanged:
    """Make the proper keys; on a workshop with development keys, exchange all of those.

    Raises:
        KeyringError: There are proper keys already, or a key cannot be made or does not open.
    """
    before = repository.read()
    if before is None:
        return Exchanged(begin_repository(repository, PROPER, lease))
    if not before.is_development:
        raise KeyringError(
            "this workshop has its keys already: `edgewright keys status` shows them, `edgewright keys rotate` exchanges one."
        )
    draft = repository.draft(before)
    old = draft.keys
    make_top_keys(draft, repository.keyring, PROPER)
    for role in before.roles:
        delegate_release(draft, repository, role, _policy(repository, before, role))
    after = repository.commit(draft, before, lease)
    removed = [repository.keyring.forget(key) for key in old]
    return Exchanged(after, tuple(path for path in removed if path is not None))


def rotate_key(repository: Repository, name: str, lease: Lease) -> Exchanged:
    """Let a new key take the place of one.

    Args:
        repository: The signed metadata and the keys, the offline ones too.
        name: ``root-1`` to ``root-3``, ``targets``, ``snapshot``, ``timestamp``, or a registered model.
        lease: The repository's.

    Raises:
        UsageError: There is no such key.
        KeyringError: A key that must sign the exchange is not here or does not open, or the new key would get another
            passphrase than the online keys beside it.
    """
    before = _existing(repository)
    draft = repository.draft(before)
    if name in TOP_KEYS:
        old = next(key for key in before.root.keys.values() if key_name(key) == name)
    else:
        (old,) = _release_keys(before, name)
    new = repository.keyring.make(name, kept_of(old), [key for key in draft.keys if key.keyid != old.keyid])
    if name in TOP_KEYS:
        draft.set_top_key(new)
    else:
        draft.delegate(name, new)
    return _exchanged(repository, draft, before, old, lease)


def revoke_key(repository: Repository, name: str, lease: Lease) -> Exchanged:
    """Take a registered model's delegation back: after a theft, or for good.

    Devices stay on what they run and find nothing newer. ``edgewright release sign`` delegates to a new key.

    Raises:
        UsageError: There is no such delegation.
        KeyringError: The targets key is not here or does not open.
    """
    before = _existing(repository)
    (old,) = _release_keys(before, name)
    draft = repository.draft(before)
    draft.revoke(name)
    return _exchanged(repository, draft, before, old, lease)


def _exchanged(repository: Repository, draft: Draft, before: Generation, old: Key, lease: Lease) -> Exchanged:
    after = repository.commit(draft, before, lease)
    path = repository.keyring.find(old)
    return Exchanged(after, () if path is None else (path,))


def _existing(repository: Repository) -> Generation:
    generation = repository.read()
    if generation is None:
        raise KeyringError("this workshop has no keys yet: edgewright keys init --offline DIR makes them.")
    return generation


def _release_keys(generation: Generation, name: str) -> tuple[Key, ...]:
    if name not in generation.roles:
        known = ", ".join((*TOP_KEYS, *generation.roles))
        raise UsageError(f"{name!r} is no key of this workshop. Known: {known}.")
    return generation.keys(name)


def _policy(repository: Repository, generation: Generation, role: str) -> str:
    """The recipe's policy as it was when the release was built that a role names."""
    release = generation.release(role)
    found = None if release is None else find_attestation(repository.shared, role, release.bundle_sha256)
    return "approve" if found is None else found.policy
