"""A person's word for a bundle that this workshop did not judge: built elsewhere, or before anything was attested."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgewright.bundle_file import MANIFEST_NAME, BundleFile, sha256_hex
from edgewright.errors import BundleError, RegistryError
from edgewright.manifest import parse_manifest
from edgewright.pipeline.object_store import ObjectStore
from edgewright.pipeline.signing.attestation import Attestation, attest, make_attestation
from edgewright.pipeline.targets import Target
from edgewright.pipeline.tracking import ModelVersion, Tracking, download


def vouch(
    shared: ObjectStore, tracking: Tracking, version: ModelVersion, target: Target, why: str, who: str
) -> Attestation:
    """Attest a version's bundle as it lies in the registry, with a person's reason as its waiver.

    Raises:
        BundleError: Its files are not those of its manifest, or it is for another model or target.
        RegistryError: The registry has no such bundle, or the reason is empty.
    """
    if not why.strip():
        raise RegistryError("--vouch is empty: say in a few words where the bundle comes from, it is stored with it.")
    with tempfile.TemporaryDirectory() as scratch:
        folder = download(tracking, version, "bundle", Path(scratch))
        content = (folder / MANIFEST_NAME).read_bytes()
        place = f"{version.name} version {version.version}"
        manifest = parse_manifest(content, f"{place}: {MANIFEST_NAME}")
        if (manifest.model, manifest.target) != (version.model, version.target):
            raise BundleError(f"{place} holds a bundle of {manifest.model} for {manifest.target}: nothing was signed.")
        for file in manifest.files:
            path = folder / file.name
            file.check(path.read_bytes() if path.is_file() else b"", f"{place}: {file.name}")
    own = BundleFile(MANIFEST_NAME, sha256_hex(content), len(content))
    return attest(
        shared,
        make_attestation(
            model=version.model,
            target=version.target,
            variant=manifest.variant,
            engine=manifest.engine,
            files=(own, *manifest.files),
            outcome=version.verdict,
            policy="approve",
            latency_p95_ms=target.budgets.latency_p95_ms,
            peak_memory_mib=target.budgets.peak_memory_mib,
            waiver=f"{why.strip()} ({who})",
            version=version.version,
            source=version.source,
        ),
    )
