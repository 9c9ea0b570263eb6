"""A workshop with an MLflow server whose releases are real bundles, signed by the real code; and thieves of its keys.

Test files name this module as a plugin, for its fixture; PYTEST_DONT_REWRITE: it is imported before that.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, TargetFile, Targets
from tuf.api.serialization.json import JSONSerializer

from edgewright.bundle import Bundle
from edgewright.bundle_file import MANIFEST_NAME, BundleFile, sha256_hex
from edgewright.pipeline.signing.attestation import attest, make_attestation
from edgewright.pipeline.signing.deciding import promote_by_person
from edgewright.pipeline.signing.enrolment import write_enrolment
from edgewright.pipeline.signing.healing import heal_updates
from edgewright.pipeline.signing.publisher import Signing, sign_champion
from edgewright.pipeline.signing.repository import Repository, open_repository
from edgewright.pipeline.signing.roles import SNAPSHOT, TIMESTAMP
from edgewright.pipeline.tracking import (
    ModelVersion,
    RunRecord,
    Tracking,
    get_version,
    log_run,
    register,
    tracking_server,
)
from edgewright.pipeline.tracking.client import artifacts_folder, database_uri, open_client, store_folder
from edgewright.pipeline.workspace import Workspace
from edgewright.signed_release import REPOSITORY
from mitm_proxy import put
from small_bundles import make_small_bundle, sound_model

MODEL, TARGET = "patterns", "linux-x86"
ROLE = f"{MODEL}.{TARGET}"


class FieldWorkshop:
    """What people and flows do in a workshop, in one line each; development keys sign.

    Attributes:
        server: Address of its registry.
        tracking: Its registry, opened as a file.
        store: The registry's artifact store.
        mirror: Folder in the registry's artifact store that devices read signed metadata from.
    """

    def __init__(self, server: Tracking, scratch: Path) -> None:
        self.server = server.uri
        # As commands that start no server do; devices, and whoever means ill, come through the server.
        self.tracking, self._scratch = Tracking(database_uri(server.home), server.home), scratch
        self.store = artifacts_folder(server.home)
        self.mirror = self.store / REPOSITORY

    @property
    def repository(self) -> Repository:
        """Its signed metadata and keys."""
        return open_repository(Workspace(self.tracking.home))

    def build(self, build: str, model: str = MODEL, data: bytes | None = None, **changes: Any) -> ModelVersion:
        """A build ends: a bundle is registered and attested.

        Args:
            build: Its name; two builds differ in it and in their bundles' bytes.
            model: The model.
            data: The model's file where it is not the sound one.
            changes: For `make_attestation`, e.g. ``latency_p95_ms``.
        """
        bundle = make_small_bundle(
            self._scratch / f"{model} {build}", data, model_name=model, build=build.replace(" ", "-")
        )
        return self.register(bundle, build, model, **changes)

    def register(self, bundle: Bundle, build: str, model: str = MODEL, **changes: Any) -> ModelVersion:
        """Register and attest a bundle."""
        artifacts = {"bundle": bundle.folder, "reference": bundle.folder}
        run = log_run(self.tracking, RunRecord(model, build, "fp32", TARGET, artifacts=artifacts))
        contents = {path.name: path.read_bytes() for path in bundle.folder.iterdir()}
        values = {"outcome": "pass", "policy": "approve", "latency_p95_ms": None, "peak_memory_mib": None, **changes}
        attestation = make_attestation(
            model=model,
            target=TARGET,
            variant="fp32",
            engine="onnxruntime",
            files=[BundleFile(name, sha256_hex(data), len(data)) for name, data in contents.items()],
            **values,
        )
        version = register(
            self.tracking,
            model,
            TARGET,
            run_id=run,
            build=build,
            bundle_sha256=attestation.bundle_sha256,
            reference_bundle_sha256=attestation.bundle_sha256,
            verdict=attestation.outcome,
            variant="fp32",
        )
        attest(self.repository.shared, replace(attestation, version=version.version, source=version.source))
        return version

    def promote(self, version: ModelVersion) -> Signing:
        """A version becomes champion, and is signed."""
        model = version.model
        promote_by_person(self.tracking, model, TARGET, version.version, reason="good", who="test")
        signing = sign_champion(self.repository, self.tracking, model, TARGET)
        assert signing.is_obeyed, signing.note
        return signing

    def heal(self, tracking: Tracking | None = None) -> tuple[list[str], list[str]]:
        """What `reconcile` does with signed metadata; through the server where its address is given."""
        return heal_updates(self.repository, tracking or self.tracking)

    def point(self, version: int, model: str = MODEL) -> None:
        """Somebody moves the alias by hand."""
        open_client(self.tracking).set_registered_model_alias(f"{model}.{TARGET}", "champion", str(version))

    def version(self, number: int, model: str = MODEL) -> ModelVersion:
        """A version as it is now."""
        return get_version(self.tracking, model, TARGET, number)

    def enrol(self, folder: Path, url: str, model: str = MODEL) -> Path:
        """What a device begins with; the champion is its factory bundle."""
        text = (
            f'[device]\nid = "d"\nmodel = "{model}"\ntarget = "{TARGET}"\nstate = "state"\nfactory = "factory"\n\n'
            f'[registry]\nurl = "{url}"\n'
        )
        write_enrolment(self.repository, self.tracking, model, TARGET, folder, text)
        return folder

    def metadata(self) -> dict[str, bytes]:
        """All signed metadata in the registry by its path, e.g. for a replay."""
        return {f"{REPOSITORY}/{path.name}": path.read_bytes() for path in self.mirror.iterdir()}

    def put(self, path: str, data: bytes) -> None:
        """Somebody writes into the artifact store, which takes it from anybody."""
        assert put(self.server, path, data) == 200


@pytest.fixture(scope="session")
def field(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FieldWorkshop]:
    """A workshop and its server. Tests that share it have models of their own there, and leave its store as it was."""
    with field_workshop(tmp_path_factory.mktemp("field"), migrated_database) as made:
        yield made


@contextmanager
def field_workshop(folder: Path, migrated_database: Path) -> Iterator[FieldWorkshop]:
    """A workshop and its server, until the block is left."""
    home = folder / "home"
    store_folder(home).mkdir(parents=True)
    shutil.copy(migrated_database, store_folder(home) / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "EDGEWRIGHT_SHARED", "EDGEWRIGHT_KEYS"):
            patch.delenv(name, raising=False)
        patch.setenv("EDGEWRIGHT_HOME", str(home))
        with tracking_server(home) as tracking:
            yield FieldWorkshop(tracking, folder)


class Thief:
    """Signs what he likes, with stolen keys where he has them and his own elsewhere, and writes it into the registry.

    Args:
        workshop: Whom he robbed.
        stolen: The roles whose keys he has.
    """

    def __init__(self, workshop: FieldWorkshop, *stolen: str) -> None:
        repository = workshop.repository
        generation = repository.read()
        assert generation is not None
        self._workshop, self._generation = workshop, generation
        self._signers = {role: repository.keyring.signer(generation.keys(role)[0]) for role in stolen}
        self._own = CryptoSigner.generate_ed25519()

    def release(self, version: ModelVersion, bundle: Path, named: str = ROLE) -> Targets:
        """His own bundle, in the store and named in a role's metadata.

        Args:
            version: The version that he gives it out for.
            bundle: Its folder.
            named: The role below whose paths he names it.
        """
        place = f"0/{sha256_hex(bundle.as_posix().encode())[:8]}/artifacts/bundle"
        honest = self._generation.roles[ROLE]
        custom = copy.deepcopy(honest.targets[f"{ROLE}/{MANIFEST_NAME}"].custom)
        files = sorted(bundle.iterdir())
        custom |= {"version": version.version, "source": place, "files": [path.name for path in files]}
        role = copy.deepcopy(self._generation.roles.get(named) or honest)
        role.targets = {}
        for path in files:
            data, name = path.read_bytes(), f"{ROLE}/{path.name}"
            self._workshop.put(f"{place}/{path.name}", data)
            other = {"custom": custom} if path.name == MANIFEST_NAME else {}
            role.targets[name] = TargetFile(len(data), {"sha256": sha256_hex(data)}, name, other)
        return role

    def publish(self, role: str, targets: Targets) -> None:
        """Put a role's metadata into the registry, with a snapshot and a timestamp that name it."""
        snapshot, timestamp = copy.deepcopy(self._generation.snapshot), copy.deepcopy(self._generation.timestamp)
        targets.version = snapshot.meta[f"{role}.json"].version + 1
        content = self._write(role, targets)
        snapshot.meta[f"{role}.json"] = MetaFile.from_data(targets.version, content, ["sha256"])
        snapshot.version += 1
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, self._write(SNAPSHOT, snapshot), ["sha256"])
        timestamp.version += 1
        self._workshop.put(f"{REPOSITORY}/timestamp.json", self._signed(TIMESTAMP, timestamp))

    def _write(self, role: str, signed: Any) -> bytes:
        content = self._signed(role, signed)
        self._workshop.put(f"{REPOSITORY}/{signed.version}.{role}.json", content)
        return content

    def _signed(self, role: str, signed: Any) -> bytes:
        document: Metadata[Any] = Metadata(signed)
        document.sign(self._signers.get(role, self._own))
        return document.to_bytes(JSONSerializer(compact=True))


def padded_model(size: int, seed: int = 0) -> bytes:
    """A sound model whose file is so long: what pads it is a note that nothing reads."""
    model = onnx.load_from_string(sound_model())
    note = model.metadata_props.add()
    note.key, note.value = "note", "".join(sha256_hex(f"{seed} {at}".encode()) for at in range(size // 64 + 1))[:size]
    data: bytes = model.SerializeToString()
    return data
