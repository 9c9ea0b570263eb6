"""What a device begins with is what was signed, byte by byte; and what a person vouches for is proved first."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle_file import BundleFile, sha256_hex
from edgewright.engines.engine import EngineSettings
from edgewright.errors import BundleError, EnrolmentError, IntegrityError, RegistryError, UsageError
from edgewright.manifest import Manifest
from edgewright.pipeline.signing.attestation import find_attestation
from edgewright.pipeline.signing.enrolment import write_enrolment
from edgewright.pipeline.signing.vouching import vouch
from edgewright.pipeline.targets import Target
from edgewright.pipeline.tracking import ModelVersion, RunRecord, get_version, log_run, register
from edgewright.pipeline.tracking.client import artifacts_folder
from edgewright.postprocessing import Classification
from edgewright.preprocessing import Preprocessing
from signed_updates import ROLE

PASSED, BETTER, FOREIGN = 1, 2, 5
TARGET = Target.model_validate(
    {
        "platform": "linux/amd64",
        "engines": ["onnxruntime"],
        "budgets": {"latency_p95_ms": 12.5, "peak_memory_mib": 100},
        "pays": ["size"],
    }
)
Workshop = Any


def enrol(workshop: Workshop, folder: Path) -> Any:
    return write_enrolment(workshop.repository(), workshop.tracking, "digits", "linux-x86", folder, "# nothing\n")


def test_a_device_begins_with_the_newest_root_and_the_signed_bundle(signed: Workshop, tmp_path: Path) -> None:
    signed.init()
    signed.point(BETTER)  # an intent that nobody signed
    release = enrol(signed, tmp_path / "device")
    assert release.version == PASSED
    assert (tmp_path / "device" / "root.json").read_bytes() == (signed.mirror / "2.root.json").read_bytes()
    assert sorted(path.name for path in (tmp_path / "device").iterdir()) == ["agent.toml", "factory", "root.json"]
    files = {path.name: path.read_bytes() for path in (tmp_path / "device" / "factory").iterdir()}
    assert {file.name: file.sha256 for file in release.files} == {
        name: sha256_hex(data) for name, data in files.items()
    }
    with pytest.raises(UsageError, match="holds an enrolment already"):
        enrol(signed, tmp_path / "device")


def test_the_agent_can_read_it_whatever_the_umask(signed: Workshop, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        enrol(signed, tmp_path / "device")
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in [tmp_path / "device", *(tmp_path / "device").rglob("*")]}
    assert modes == {path: 0o755 if path.is_dir() else 0o644 for path in modes}


def test_without_a_signature_there_is_no_enrolment(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(EnrolmentError, match=rf"nothing is signed for {ROLE}.*edgewright release sign digits"):
        enrol(workshop, tmp_path / "device")
    assert not (tmp_path / "device").exists()


def test_a_bundle_that_the_registry_changed_is_no_factory_bundle(signed: Workshop, tmp_path: Path) -> None:
    source = signed.version(PASSED).source.removeprefix("mlflow-artifacts:/")
    (artifacts_folder(signed.tracking.home) / source / "model.onnx").write_bytes(b"exchanged")
    with pytest.raises(IntegrityError, match=r"model\.onnx has 9 bytes"):
        enrol(signed, tmp_path / "device")
    assert list((tmp_path / "device").iterdir()) == []


def registered_elsewhere(workshop: Workshop, folder: Path, **changes: Any) -> ModelVersion:
    """A version with a whole manifest, which this workshop never judged."""
    contents = {"golden.npz": b"golden", "model.onnx": b"a model"}
    manifest = Manifest(
        model="digits",
        target="linux-x86",
        variant="i8",
        platform="linux/amd64",
        engine="onnxruntime",
        settings=EngineSettings(),
        input_name="image",
        preprocessing=Preprocessing((1, 28, 28), 1 / 255, (0.1307,), (0.3081,)),
        postprocessing=Classification(("a", "b")),
        golden_samples=2,
        golden_tolerance=0.1,
        files=tuple(BundleFile(name, sha256_hex(data), len(data)) for name, data in contents.items()),
        build="b1",
        data_sha256="d" * 64,
    )
    contents["manifest.json"] = dataclasses.replace(manifest, **changes).to_bytes()
    folder.mkdir()
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    record = RunRecord(model="digits", build="b1", variant="i8", target="linux-x86", artifacts={"bundle": folder})
    words = {"build": "b1", "bundle_sha256": sha256_hex(contents["manifest.json"]), "verdict": "pass", "variant": "i8"}
    return register(workshop.tracking, "digits", "linux-x86", run_id=log_run(workshop.tracking, record), **words)


def test_a_person_may_vouch_for_a_bundle_from_elsewhere(workshop: Workshop, tmp_path: Path) -> None:
    version = registered_elsewhere(workshop, tmp_path / "bundle")
    shared = workshop.repository().shared
    vouch(shared, workshop.tracking, version, TARGET, "built in the other hall", "A. Person")
    found = find_attestation(shared, ROLE, version.bundle_sha256)
    assert found is not None
    assert (found.waiver, found.engine, found.variant) == ("built in the other hall (A. Person)", "onnxruntime", "i8")
    assert found.budget.latency_p95_ms == 13.0, "whole milliseconds, rounded up"
    assert workshop.promote(version.version).standing == "signed"
    assert workshop.enrol().version() == version.version


def test_what_is_vouched_for_is_proved_first(workshop: Workshop, tmp_path: Path) -> None:
    other = registered_elsewhere(workshop, tmp_path / "bundle", target="pi5-arm64")
    shared = workshop.repository().shared
    with pytest.raises(BundleError, match="holds a bundle of digits for pi5-arm64"):
        vouch(shared, workshop.tracking, other, TARGET, "why", "who")
    with pytest.raises(RegistryError, match="--vouch is empty"):
        vouch(shared, workshop.tracking, other, TARGET, " ", "who")
    fake = get_version(workshop.tracking, "digits", "linux-x86", FOREIGN)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        vouch(shared, workshop.tracking, fake, TARGET, "why", "who")
    assert json.dumps(shared.keys("updates/")).count("attestations") == 5, "those of the builds here"
