"""What thieves of keys and masters of the registry gain: nothing that a device would run."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from edgewright.pipeline.signing.ceremony import init_keys, revoke_key, rotate_key
from edgewright.pipeline.signing.generation import Generation
from edgewright.pipeline.signing.roles import SNAPSHOT, TIMESTAMP
from signed_updates import ROLE

Workshop = Any


class Thief:
    """Signs with stolen keys, and writes whatever he likes into the registry.

    Args:
        workshop: Whom he robbed.
        stolen: The roles whose keys he has.
    """

    def __init__(self, workshop: Workshop, *stolen: str) -> None:
        repository = workshop.repository()
        self._generation: Generation = repository.read()
        self._mirror = workshop.mirror
        self._signers = {role: repository.keyring.signer(self._generation.keys(role)[0]) for role in stolen}

    def publish(self, role: str, targets: Targets) -> None:
        """Puts a role's metadata out, with a snapshot and a timestamp that name it."""
        snapshot, timestamp = copy.deepcopy(self._generation.snapshot), copy.deepcopy(self._generation.timestamp)
        targets.version = snapshot.meta[f"{role}.json"].version + 1
        content = self._write(role, targets)
        snapshot.meta[f"{role}.json"] = MetaFile.from_data(targets.version, content, ["sha256"])
        snapshot.version += 1
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, self._write(SNAPSHOT, snapshot), ["sha256"])
        timestamp.version += 1
        (self._mirror / "timestamp.json").write_bytes(self._write(TIMESTAMP, timestamp))

    def forged(self, path: str = f"{ROLE}/manifest.json") -> Targets:
        """His own bundle under a path."""
        role = copy.deepcopy(self._generation.roles[ROLE])
        custom = role.targets[f"{ROLE}/manifest.json"].custom
        role.targets = {
            path: TargetFile(3, {"sha256": "e" * 64}, path, {"custom": {**custom, "files": ["manifest.json"]}})
        }
        return role

    def _write(self, role: str, signed: Any) -> bytes:
        document: Metadata[Any] = Metadata(signed)
        signer = self._signers.get(role) or next(iter(self._signers.values()))
        document.sign(signer)
        content = document.to_bytes(JSONSerializer(compact=True))
        (self._mirror / f"{signed.version}.{role}.json").write_bytes(content)
        return content


@pytest.mark.parametrize("stolen", [(TIMESTAMP,), (SNAPSHOT,), (TIMESTAMP, SNAPSHOT)])
def test_stolen_timestamp_and_snapshot_keys_name_no_other_bundle(signed: Workshop, stolen: tuple[str, ...]) -> None:
    device = signed.enrol()
    assert device.version() == 1
    thief = Thief(signed, *stolen)
    thief.publish(ROLE, thief.forged())
    with pytest.raises(RepositoryError):
        device.check()


def test_a_stolen_release_key_alone_installs_nothing(signed: Workshop) -> None:
    device, thief = signed.enrol(), Thief(signed, ROLE)
    thief.publish(ROLE, thief.forged())
    with pytest.raises(RepositoryError):
        device.check()


def test_a_stolen_release_key_of_one_model_names_no_other_models_files(signed: Workshop) -> None:
    device = signed.enrol()
    honest = device.check("motion.linux-x86")
    thief = Thief(signed, ROLE, TIMESTAMP, SNAPSHOT)  # all online keys of one model
    thief.publish(ROLE, thief.forged("motion.linux-x86/manifest.json"))
    assert device.check("motion.linux-x86") == honest, "the delegation ends at its own paths"


def test_a_revoked_release_key_is_refused(signed: Workshop) -> None:
    device, thief = signed.enrol(), Thief(signed, ROLE, TIMESTAMP, SNAPSHOT)
    thief.publish(ROLE, thief.forged())
    assert signed.enrol("victim").check().bundle_sha256 == "e" * 64, "before the revocation his word counts"
    signed.ceremony(rotate_key, TIMESTAMP), signed.ceremony(rotate_key, SNAPSHOT)
    signed.ceremony(revoke_key, ROLE)
    assert device.check() is None
    signed.mirror.joinpath("9.digits.linux-x86.json").write_bytes(b"whatever he signs")
    assert signed.sign().standing == "waits", "nothing automatic delegates anew what was revoked"
    assert signed.sign(stick=True).standing == "signed"
    assert device.version() == 1
    thief = Thief(signed, TIMESTAMP, SNAPSHOT)
    thief.publish(ROLE, thief.forged())
    with pytest.raises(RepositoryError):
        device.check()


@pytest.mark.parametrize("name", ["timestamp.json", "3.snapshot.json", "3.targets.json", f"1.{ROLE}.json"])
@pytest.mark.parametrize("damage", ["flipped", "emptied", "gone", "swapped"])
def test_a_tampered_registry_is_refused_and_mended(signed: Workshop, name: str, damage: str) -> None:
    path = signed.mirror / name
    content = path.read_bytes()
    others = {each: (each.stat().st_ino, each.stat().st_mtime_ns) for each in signed.mirror.iterdir() if each != path}
    if damage == "gone":
        path.unlink()
    else:
        other = (signed.mirror / "1.root.json").read_bytes()
        flipped = content[:120] + bytes([content[120] ^ 1]) + content[121:]
        path.write_bytes({"flipped": flipped, "emptied": b"", "swapped": other}[damage])
    with pytest.raises(Exception, match=r".") as refused:
        signed.enrol().check()
    assert type(refused.value).__module__.startswith("tuf.")
    signed.sign()
    assert path.read_bytes() == content
    assert {
        each: (each.stat().st_ino, each.stat().st_mtime_ns) for each in signed.mirror.iterdir() if each != path
    } == others, "no other file was sent"
    assert signed.enrol("next").version() == 1


def test_an_old_registry_put_back_is_refused(signed: Workshop) -> None:
    old = {path.name: path.read_bytes() for path in signed.mirror.iterdir()}
    signed.promote(2)
    device = signed.enrol()
    assert device.version() == 2
    for name, content in old.items():
        (signed.mirror / name).write_bytes(content)
    with pytest.raises(RepositoryError):
        device.check()


def test_a_foreign_root_leads_nobody(signed: Workshop, tmp_path: Any) -> None:
    from signed_updates import repository

    stranger = repository(tmp_path / "elsewhere", tmp_path / "elsewhere-stick")
    with stranger.locked("a stranger") as lease:
        made = init_keys(stranger, lease).generation
    device = signed.enrol()
    (signed.mirror / "2.root.json").write_bytes(made.files["1.root.json"])
    (signed.mirror / "timestamp.json").write_bytes(made.files["timestamp.json"])
    with pytest.raises(RepositoryError):
        device.check()
