"""One generation of the signed metadata, verified from the first root on: what devices are told at one moment.

Expiry is not looked at here: what has expired must still be readable to be renewed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edgewright.bundle_file import MANIFEST_NAME, BundleFile
from edgewright.errors import TrustError
from edgewright.pipeline.signing.own_copy import TIMESTAMP_FILE, OwnCopy
from edgewright.pipeline.signing.roles import REVOKED, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, kept_of
from edgewright.signed_release import SignedRelease, custom_files, release_from_signed

SignedT = TypeVar("SignedT", Root, Timestamp, Snapshot, Targets)
_ATTEMPTS = 3


@dataclass(frozen=True)
class Generation:
    """Verified metadata.

    Attributes:
        root: The latest root.
        timestamp: The timestamp.
        snapshot: The snapshot that it names.
        targets: The targets that the snapshot names.
        roles: The delegated roles, by name.
        files: All files that a device may ask for, by name: every root, and the latest of the others; the timestamp last.
    """

    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    targets: Targets
    roles: Mapping[str, Targets]
    files: Mapping[str, bytes]

    @property
    def is_development(self) -> bool:
        """Whether it is signed with development keys."""
        return any(kept_of(key) == "development" for key in self.root.keys.values())

    @property
    def revoked(self) -> tuple[str, ...]:
        """Roles whose delegation was taken back."""
        return tuple(self.targets.unrecognized_fields.get(REVOKED, ()))

    def signed(self, role: str) -> Signed:
        """Give a role's signed part."""
        top: dict[str, Signed] = {
            ROOT: self.root,
            TIMESTAMP: self.timestamp,
            SNAPSHOT: self.snapshot,
            TARGETS: self.targets,
        }
        return top[role] if role in top else self.roles[role]

    def keys(self, role: str) -> tuple[Key, ...]:
        """Give the keys that may sign a role."""
        if role in self.root.roles:
            return tuple(self.root.keys[keyid] for keyid in self.root.roles[role].keyids)
        delegations = self.targets.delegations
        assert delegations is not None and delegations.roles is not None
        return tuple(delegations.keys[keyid] for keyid in delegations.roles[role].keyids)

    def release(self, role: str) -> SignedRelease | None:
        """Give the release that a delegated role names; None where there is no such role, or it names none.

        Raises:
            TrustError: What is signed is no release.
        """
        return None if role not in self.roles else signed_release(self.roles[role], role)


def signed_release(targets: Targets, role: str) -> SignedRelease | None:
    """Read the release that a role's targets name.

    Raises:
        TrustError: What is signed is no release.
    """
    manifest = targets.targets.get(f"{role}/{MANIFEST_NAME}")
    if manifest is None:
        return None
    try:
        promised = []
        for name in custom_files(manifest.custom):
            target = targets.targets[f"{role}/{name}"]
            promised.append(BundleFile(name, target.hashes["sha256"], target.length))
        return release_from_signed(manifest.custom, promised)
    except (KeyError, ValueError) as cause:
        raise TrustError(f"{role}: what is signed is no release ({cause!r}).") from cause


def read_generation(copy: OwnCopy) -> Generation | None:
    """Read and verify the own copy; None before anything was signed.

    Raises:
        TrustError: A file is missing, damaged, or not signed by whom it must be.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return verify(copy.read, copy.location)
        except TrustError:
            continue  # a commit may have gone on between two reads: then the next look fits together
    return verify(copy.read, copy.location)


def verify(read: Callable[[str], bytes | None], place: str) -> Generation | None:
    """Verify metadata from its first root on.

    Args:
        read: Gives a file by its name.
        place: Where that is, for messages.

    Returns:
        None where there is no first root.

    Raises:
        TrustError: A file is missing, damaged, or not signed by whom it must be.
    """
    files: dict[str, bytes] = {}

    def take(name: str, kind: type[SignedT]) -> Metadata[SignedT]:
        content = read(name)
        if content is None:
            raise TrustError(f"{place}: {name} is missing. Bring it back from a backup.")
        files[name] = content
        return _parse(content, kind, f"{place}: {name}")

    def check(by: Root | Targets, role: str, document: Metadata[Any], promise: MetaFile | None) -> None:
        try:
            if promise is not None:
                promise.verify_length_and_hashes(files[_file_name(role, document.signed)])
                if promise.version != document.signed.version:
                    raise RepositoryError(f"version {document.signed.version}, {promise.version} was promised")
            by.verify_delegate(role, document.signed_bytes, document.signatures)
        except (RepositoryError, ValueError) as cause:
            raise TrustError(f"{place}: {role} is not as it was signed: {cause}.") from cause

    first = read("1.root.json")
    if first is None:
        return None
    root: Metadata[Root] = take("1.root.json", Root)
    check(root.signed, ROOT, root, None)
    while read(f"{root.signed.version + 1}.root.json") is not None:
        newer: Metadata[Root] = take(f"{root.signed.version + 1}.root.json", Root)
        for by in (root.signed, newer.signed):
            check(by, ROOT, newer, None)
        if newer.signed.version != root.signed.version + 1:
            raise TrustError(f"{place}: root {newer.signed.version} follows root {root.signed.version}.")
        root = newer
    roots = dict(files)
    timestamp: Metadata[Timestamp] = take(TIMESTAMP_FILE, Timestamp)
    check(root.signed, TIMESTAMP, timestamp, None)
    promise = timestamp.signed.snapshot_meta
    snapshot: Metadata[Snapshot] = take(f"{promise.version}.snapshot.json", Snapshot)
    check(root.signed, SNAPSHOT, snapshot, promise)
    promise = _promise(snapshot.signed, TARGETS, place)
    targets: Metadata[Targets] = take(f"{promise.version}.targets.json", Targets)
    check(root.signed, TARGETS, targets, promise)
    roles = {}
    delegations = targets.signed.delegations
    for name in () if delegations is None else delegations.roles or ():
        promise = _promise(snapshot.signed, name, place)
        role: Metadata[Targets] = take(f"{promise.version}.{name}.json", Targets)
        check(targets.signed, name, role, promise)
        roles[name] = role.signed
    return Generation(
        root.signed, timestamp.signed, snapshot.signed, targets.signed, roles, _in_order(files, frozenset(roots))
    )


def _in_order(files: Mapping[str, bytes], roots: frozenset[str]) -> dict[str, bytes]:
    """In the order of publication: what nothing names yet, then roots, at last the timestamp that makes it all count."""

    def place(item: tuple[str, bytes]) -> tuple[bool, bool]:
        return item[0] == TIMESTAMP_FILE, item[0] in roots

    return dict(sorted(files.items(), key=place))


def _parse(content: bytes, kind: type[SignedT], place: str) -> Metadata[SignedT]:
    try:
        document: Metadata[Any] = Metadata.from_bytes(content)
    except DeserializationError as cause:
        raise TrustError(f"{place} is damaged: {cause}.") from cause
    if not isinstance(document.signed, kind):
        raise TrustError(f"{place} is metadata of another kind.")
    return document


def _promise(snapshot: Snapshot, role: str, place: str) -> MetaFile:
    promise = snapshot.meta.get(f"{role}.json")
    if promise is None:
        raise TrustError(f"{place}: the snapshot does not name {role}.")
    return promise


def _file_name(role: str, signed: Signed) -> str:
    return TIMESTAMP_FILE if role == TIMESTAMP else f"{signed.version}.{role}.json"
