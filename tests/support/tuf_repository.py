"""A small TUF repository in a folder, laid out as a registry's artifact store, with every key at hand: honest and stolen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from edgewright.bundle_file import BundleFile
from edgewright.signed_release import REPOSITORY, SIGNED_AT, Budget, SignedRelease

MODEL, TARGET = "digits", "linux-x86"
NAME = f"{MODEL}.{TARGET}"
ONLINE = ("targets", "snapshot", "timestamp")
DAYS = {"root": 365, "targets": 365, "snapshot": 30, "timestamp": 14}
ROLE_DAYS = 365


def bundle_files(seed: int = 0, size: int = 4_000) -> dict[str, bytes]:
    """Contents of a bundle's files: nothing here reads them, so that any bytes do."""
    block = hashlib.sha256(f"model {seed}".encode()).digest()
    return {
        "golden.npz": hashlib.sha256(f"golden {seed}".encode()).digest() * 4,
        "manifest.json": f'{{"build": {seed}}}\n'.encode(),
        "model.onnx": (block * (size // 32 + 1))[:size],
    }


class TufRepository:
    """Its folder is what a registry serves; publishing writes there at once, the timestamp last.

    Attributes:
        folder: The artifact store.
        metadata: Folder of the signed metadata in it.
        keys: Signers by role; ``root`` has three.
        now: Time of signing; tests move it.
    """

    def __init__(self, folder: Path, name: str = NAME, now: datetime | None = None) -> None:
        self.folder, self.metadata = folder, folder / REPOSITORY
        self.metadata.mkdir(parents=True)
        self.now = (now or datetime.now(UTC)).replace(microsecond=0)
        self.root_keys = [CryptoSigner.generate_ed25519() for _ in range(3)]
        self.keys: dict[str, CryptoSigner] = {role: CryptoSigner.generate_ed25519() for role in (*ONLINE, name)}
        self.root = _unborn(Root(consistent_snapshot=True))
        self.root.roles["root"].threshold = 2
        for key in self.root_keys:
            self.root.add_key(key.public_key, "root")
        for role in ONLINE:
            self.root.add_key(self.keys[role].public_key, role)
        self.targets = _unborn(Targets(delegations=Delegations(keys={}, roles={})))
        self.roles: dict[str, Targets] = {}
        self.snapshot = _unborn(Snapshot(meta={}))
        self.timestamp = _unborn(Timestamp())
        self.delegate(name)
        self.write_root()
        self.publish()

    def file(self, name: str) -> Path:
        """Path of a metadata file."""
        return self.metadata / name

    def trusted_root(self, version: int = 1) -> bytes:
        """What devices are enrolled with."""
        return self.file(f"{version}.root.json").read_bytes()

    def delegate(self, name: str, key: CryptoSigner | None = None) -> None:
        """Let a key, and no other, sign for a registered model."""
        key = self.keys[name] = key or self.keys.get(name) or CryptoSigner.generate_ed25519()
        delegations = self.targets.delegations
        assert delegations is not None and delegations.roles is not None
        delegations.keys[key.public_key.keyid] = key.public_key
        delegations.roles[name] = DelegatedRole(name, [key.public_key.keyid], 1, terminating=True, paths=[f"{name}/*"])
        self.roles.setdefault(name, _unborn(Targets()))
        self._to_sign = {"targets", name, *getattr(self, "_to_sign", ())}

    def rotate(self, role: str) -> None:
        """Exchange the key of a top-level role: a new root, not yet published metadata of the role."""
        self.root.revoke_key(self.keys[role].public_key.keyid, role)
        self.keys[role] = CryptoSigner.generate_ed25519()
        self.root.add_key(self.keys[role].public_key, role)
        self._to_sign.add(role)
        self.write_root()

    def rotate_root_keys(self) -> None:
        """Exchange two root keys of three; both the old and the new threshold sign."""
        old = self.root_keys
        self.root_keys = [old[2], CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()]
        for key in old[:2]:
            self.root.revoke_key(key.public_key.keyid, "root")
        for key in self.root_keys[1:]:
            self.root.add_key(key.public_key, "root")
        self.write_root([*old, *self.root_keys[1:]])

    def release(
        self, version: int, files: dict[str, bytes] | None = None, name: str = NAME, **other: Any
    ) -> SignedRelease:
        """Put a bundle's files into the store; it is not signed yet."""
        files = bundle_files(version) if files is None else files
        model, _, target = name.partition(".")
        source = other.get("source", f"1/run{version}/artifacts/bundle")
        place = self.folder / source
        place.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (place / file).write_bytes(data)
        promises = (BundleFile(file, hashlib.sha256(data).hexdigest(), len(data)) for file, data in files.items())
        values = {
            "model": model,
            "target": target,
            "version": version,
            "variant": "i8",
            "engine": "onnxruntime",
            "source": source,
            "minimum_agent": "0.1.0",
            "budget": Budget(10, None),
            "files": tuple(sorted(promises, key=lambda file: file.name)),
        }
        return SignedRelease(**{**values, **other})

    def name_release(self, release: SignedRelease, name: str | None = None) -> None:
        """Let a role name a release; nothing is written yet."""
        role = self.roles[name or release.name]
        role.targets.clear()
        for file in release.files:
            custom = {"custom": whole_numbers(release.custom())} if file.name == "manifest.json" else {}
            path = f"{name or release.name}/{file.name}"
            role.targets[path] = TargetFile(file.size_bytes, {"sha256": file.sha256}, path, custom)
        self._to_sign.add(name or release.name)

    def ship(self, version: int, files: dict[str, bytes] | None = None, **other: Any) -> SignedRelease:
        """Put a release into the store, sign it and publish."""
        release = self.release(version, files, **other)
        self.name_release(release)
        self.publish()
        return release

    def publish(self, renew: Iterable[str] = ()) -> None:
        """Sign whatever changed, then snapshot and timestamp."""
        changed = {*self._to_sign, *renew} - {"timestamp"}
        for role in sorted(changed - {"snapshot"}):
            signed = self.targets if role == "targets" else self.roles[role]
            signed.version += 1
            signed.expires = self.expiry(DAYS.get(role, ROLE_DAYS))
            data = self.signed(signed, self.keys[role])
            self.file(f"{signed.version}.{role}.json").write_bytes(data)
            self.snapshot.meta[f"{role}.json"] = MetaFile(signed.version)
        self._to_sign = set()
        if changed:
            self.write_snapshot()
        self.write_timestamp()

    def write_root(self, signers: Iterable[CryptoSigner] | None = None) -> None:
        """Write the next root, signed by two of its keys unless others are given."""
        self.root.version += 1
        self.root.expires = self.expiry(DAYS["root"])
        self.root.unrecognized_fields[SIGNED_AT] = text_of(self.now)
        data = self.signed(self.root, *(signers or self.root_keys[:2]))
        self.file(f"{self.root.version}.root.json").write_bytes(data)

    def write_snapshot(self, version: int | None = None) -> None:
        """Write the next snapshot."""
        self.snapshot.version = version or self.snapshot.version + 1
        self.snapshot.expires = self.expiry(DAYS["snapshot"])
        self.file(f"{self.snapshot.version}.snapshot.json").write_bytes(
            self.signed(self.snapshot, self.keys["snapshot"])
        )

    def write_timestamp(self, version: int | None = None, signed_at: str | None = None) -> None:
        """Write the next timestamp."""
        self.timestamp.version = version or self.timestamp.version + 1
        self.timestamp.expires = self.expiry(DAYS["timestamp"])
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version)
        self.timestamp.unrecognized_fields[SIGNED_AT] = signed_at or text_of(self.now)
        self.file("timestamp.json").write_bytes(self.signed(self.timestamp, self.keys["timestamp"]))

    def expiry(self, days: float) -> datetime:
        """So many days after the time of signing."""
        return self.now + timedelta(days=days)

    @staticmethod
    def signed(signed: Any, *signers: CryptoSigner) -> bytes:
        """Metadata as bytes."""
        document = Metadata(signed)
        for signer in signers:
            document.sign(signer, append=True)
        return document.to_bytes(JSONSerializer(compact=True))


def text_of(moment: datetime) -> str:
    """A time as metadata writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def whole_numbers(custom: dict[str, Any]) -> dict[str, Any]:
    """The custom field without fractions, which canonical JSON does not know."""
    budget = {key: None if value is None else int(value) for key, value in custom["budget"].items()}
    return {**custom, "budget": budget}


def _unborn(signed: Any) -> Any:
    """Metadata that was never written: its first version will be 1."""
    signed.version = 0
    return signed
