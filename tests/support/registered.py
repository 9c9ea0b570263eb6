"""Releases in a registry without a build: real runs and versions, whose bundle is a bundle by its digests alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from edgewright.bundle_file import BundleFile, sha256_hex
from edgewright.pipeline.signing.attestation import Attestation, attest, make_attestation
from edgewright.pipeline.tracking import ModelVersion, RunRecord, Tracking, log_run, register
from edgewright.pipeline.workspace import Workspace


def release(
    tracking: Tracking,
    scratch: Path,
    build: str,
    *,
    model: str = "digits",
    target: str = "linux-x86",
    verdict: str = "pass",
    policy: str = "approve",
    attested: bool = True,
) -> ModelVersion:
    """Logs one run of a build and registers its version, as a build of this workspace does.

    Args:
        tracking: The registry.
        scratch: A folder for the files, which may vanish afterwards.
        build: Identity of the build.
        model: Name of the model.
        target: Name of the target.
        verdict: What its gate is said to have said.
        policy: Its recipe's: ``auto``, ``approve`` or ``never``.
        attested: Whether the workspace's own store knows that verdict, too; otherwise it came from elsewhere.
    """
    folder = scratch / f"{model}-{target}-{build}"
    shipped, reference = _bundle(folder / "bundle", build), _bundle(folder / "reference", f"{build} fp32")
    (folder / "predictions.npz").write_bytes(b"predictions")
    run_id = log_run(
        tracking,
        RunRecord(
            model=model,
            build=build,
            variant="p50-i8",
            target=target,
            params={},
            metrics={"accuracy_pct": 98.75},
            tags={},
            artifacts={
                "bundle": folder / "bundle",
                "reference": folder / "reference",
                "predictions.npz": folder / "predictions.npz",
            },
        ),
    )
    version = register(
        tracking,
        model,
        target,
        run_id=run_id,
        build=build,
        bundle_sha256=shipped,
        reference_bundle_sha256=reference,
        verdict=verdict,
        variant="p50-i8",
        description=f"build {build}",
    )
    if attested:
        word = attestation(folder / "bundle", model, target, verdict, policy)
        attest(Workspace(tracking.home).shared, replace(word, version=version.version, source=version.source))
    return version


def attestation(folder: Path, model: str, target: str, verdict: str = "pass", policy: str = "approve") -> Attestation:
    """What a build says of a bundle: its files, and the gate's word."""
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    return make_attestation(
        model=model,
        target=target,
        variant="p50-i8",
        engine="onnxruntime",
        files=[BundleFile(name, sha256_hex(content), len(content)) for name, content in contents.items()],
        outcome=verdict,
        policy=policy,
        latency_p95_ms=20.0,
        peak_memory_mib=160.0,
    )


def _bundle(folder: Path, content: str) -> str:
    folder.mkdir(parents=True)
    model = content.encode() * 1000
    (folder / "model.onnx").write_bytes(model)
    files = [{"name": "model.onnx", "sha256": hashlib.sha256(model).hexdigest(), "size_bytes": len(model)}]
    manifest = json.dumps({"files": files}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    return hashlib.sha256(manifest).hexdigest()
