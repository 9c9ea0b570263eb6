"""The next generation of the signed metadata: what changes is said, what follows from it is worked out and signed.

A change of a delegated role needs a new snapshot, a new snapshot a new timestamp; every generation has a new timestamp.
Versions count up by one from the own copy, whose commit is atomic: none is ever used twice.
"""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from edgewright.bundle_file import MANIFEST_NAME
from edgewright.errors import KeyringError
from edgewright.pipeline.signing.generation import Generation
from edgewright.pipeline.signing.keyring import Keyring
from edgewright.pipeline.signing.own_copy import TIMESTAMP_FILE
from edgewright.pipeline.signing.roles import (
    REVOKED,
    ROOT,
    ROOT_THRESHOLD,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    Kept,
    kept_of,
    key_name,
    lifetime,
    role_of_key,
)
from edgewright.signed_release import SIGNED_AT, SignedRelease


class Draft:
    """A generation in the making.

    Args:
        before: The one that it follows; None for the first.
        keyring: What it is signed with.
        now: The time of signing, UTC.
    """

    def __init__(self, before: Generation | None, keyring: Keyring, now: datetime) -> None:
        self._before, self._keyring, self._now = before, keyring, now.replace(microsecond=0)
        self.root = copy.deepcopy(before.root) if before else _first_root()
        self.targets = copy.deepcopy(before.targets) if before else _first_targets()
        self._snapshot = copy.deepcopy(before.snapshot) if before else Snapshot(meta={})
        self._roles: dict[str, Targets] = {}
        self._renewed: set[str] = set() if before else {ROOT, TARGETS, SNAPSHOT}

    @property
    def delegations(self) -> Delegations:
        """Who signs for which model and target."""
        assert self.targets.delegations is not None
        return self.targets.delegations

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys that it names, of the top roles and of the delegated ones."""
        return (*self.root.keys.values(), *self.delegations.keys.values())

    def renew(self, role: str) -> None:
        """Sign a role anew, with what it says already."""
        if role in (ROOT, TARGETS, SNAPSHOT):
            self._renewed.add(role)
        elif role != TIMESTAMP:
            assert self._before is not None
            self._roles.setdefault(role, copy.deepcopy(self._before.roles[role]))

    def set_top_key(self, key: Key) -> None:
        """Let a key take the place of the one of its name in the root, and sign its role anew."""
        role = role_of_key(key_name(key))
        for keyid in list(self.root.roles[role].keyids):
            if key_name(self.root.keys[keyid]) == key_name(key):
                self.root.revoke_key(keyid, role)
        self.root.add_key(key, role)
        self.renew(ROOT)
        self.renew(role)

    def delegate(self, role: str, key: Key) -> None:
        """Let one key, and no other, sign for a registered model's files, and sign that role anew."""
        assert self.delegations.roles is not None
        self._drop_delegation(role)
        self.delegations.keys[key.keyid] = key
        self.delegations.roles[role] = DelegatedRole(role, [key.keyid], 1, terminating=True, paths=[f"{role}/*"])
        self._set_revoked([name for name in self._revoked() if name != role])
        self.renew(TARGETS)
        if self._before is not None and role in self._before.roles:
            self.renew(role)
        else:
            self._roles.setdefault(role, Targets())

    def revoke(self, role: str) -> None:
        """Take a delegation back: devices find no release that is signed for them, and stay on what they run."""
        self._drop_delegation(role)
        self._set_revoked(sorted({*self._revoked(), role}))
        self._roles.pop(role, None)
        self.renew(TARGETS)

    def name_release(self, release: SignedRelease) -> None:
        """Let a delegated role name a release, and nothing else."""
        targets = Targets()
        for file in release.files:
            path = release.target_path(file.name)
            fields = {"custom": _plain(release.custom())} if file.name == MANIFEST_NAME else {}
            targets.targets[path] = TargetFile(file.size_bytes, {"sha256": file.sha256}, path, fields)
        self._roles[release.name] = targets

    def sign(self) -> dict[str, bytes]:
        """Work out the versions and sign.

        Returns:
            The new files by name, the timestamp last.

        Raises:
            KeyringError: A key that is needed is not here or does not open.
        """
        files: dict[str, bytes] = {}
        if TARGETS in self._renewed:
            self._sign_named(TARGETS, self.targets, self._keys(self.root, TARGETS), files)
        for role, targets in self._roles.items():
            keys = [self.delegations.keys[keyid] for keyid in (self.delegations.roles or {})[role].keyids]
            self._sign_named(role, targets, keys, files)
        if files or SNAPSHOT in self._renewed:
            self._snapshot.version = self._before.snapshot.version + 1 if self._before else 1
            content = self._signed(SNAPSHOT, self._snapshot, self._keys(self.root, SNAPSHOT))
            files[f"{self._snapshot.version}.snapshot.json"] = content
            promise = MetaFile.from_data(self._snapshot.version, content, ["sha256"])
        else:
            assert self._before is not None
            promise = self._before.timestamp.snapshot_meta
        if ROOT in self._renewed:
            self.root.version = self._before.root.version + 1 if self._before else 1
            files[f"{self.root.version}.root.json"] = self._sign_root()
        timestamp = Timestamp(
            version=self._before.timestamp.version + 1 if self._before else 1,
            snapshot_meta=promise,
            unrecognized_fields={SIGNED_AT: self._signed_at},
        )
        files[TIMESTAMP_FILE] = self._signed(TIMESTAMP, timestamp, self._keys(self.root, TIMESTAMP))
        return files

    def _sign_named(self, role: str, signed: Targets, keys: list[Key], files: dict[str, bytes]) -> None:
        """Sign what the snapshot names."""
        known = self._snapshot.meta.get(f"{role}.json")
        signed.version = known.version + 1 if known else 1
        content = files[f"{signed.version}.{role}.json"] = self._signed(role, signed, keys)
        self._snapshot.meta[f"{role}.json"] = MetaFile.from_data(signed.version, content, ["sha256"])

    def _signed(self, role: str, signed: Signed, keys: list[Key]) -> bytes:
        signed.expires = self._now + lifetime(role, kept_of(keys[0]))
        document: Metadata[Any] = Metadata(signed)
        for key in keys:
            document.sign(self._keyring.signer(key), append=True)
        return document.to_bytes(JSONSerializer(compact=True))

    @property
    def _signed_at(self) -> str:
        return self._now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _sign_root(self) -> bytes:
        """Sign with whatever key of the old and of the new root is here: a threshold of both must be."""
        old = self._before.root if self._before else self.root
        self.root.expires = self._now + lifetime(ROOT, "offline")
        self.root.unrecognized_fields[SIGNED_AT] = self._signed_at  # by which a device's first clock is judged
        document: Metadata[Root] = Metadata(self.root)
        keys = {key.keyid: key for root in (old, self.root) for key in self._keys(root, ROOT)}
        here = [key for key in keys.values() if self._keyring.holds(key)]
        for key in here:
            document.sign(self._keyring.signer(key), append=True)
        previous = None if self._before is None else old
        if not self.root.get_root_verification_result(previous, document.signed_bytes, document.signatures):
            raise KeyringError(
                f"a root is signed by {ROOT_THRESHOLD} keys of the root before it, and {ROOT_THRESHOLD} of its own; here are "
                f"{', '.join(sorted(key_name(key) for key in here)) or 'none'}: name the folder that holds more of them."
            )
        return document.to_bytes(JSONSerializer(compact=True))

    def _keys(self, root: Root, role: str) -> list[Key]:
        return [root.keys[keyid] for keyid in root.roles[role].keyids]

    def _drop_delegation(self, role: str) -> None:
        assert self.delegations.roles is not None
        if (old := self.delegations.roles.pop(role, None)) is not None:
            for keyid in old.keyids:
                self.delegations.keys.pop(keyid, None)

    def _revoked(self) -> list[str]:
        return list(self.targets.unrecognized_fields.get(REVOKED, ()))

    def _set_revoked(self, names: list[str]) -> None:
        self.targets.unrecognized_fields.pop(REVOKED, None)
        if names:
            self.targets.unrecognized_fields[REVOKED] = names


def make_top_keys(draft: Draft, keyring: Keyring, kept: dict[str, Kept]) -> None:
    """Make a key for each name, and let it take its place in the root."""
    for name, where in kept.items():
        draft.set_top_key(keyring.make(name, where))


def _plain(custom: dict[str, Any]) -> dict[str, Any]:
    """The custom field with whole numbers as integers: canonical JSON knows no others."""
    budget = {key: None if value is None else int(value) for key, value in custom["budget"].items()}
    return {**custom, "budget": budget}


def _first_root() -> Root:
    root = Root(consistent_snapshot=True)
    root.roles[ROOT].threshold = ROOT_THRESHOLD
    return root


def _first_targets() -> Targets:
    return Targets(delegations=Delegations(keys={}, roles={}))
