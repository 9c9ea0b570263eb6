"""Bring the bundle that an alias points at onto this device, prove it, and only then let it serve.

The registry's word is checked at every step: the version's tag names the manifest's digest, the manifest names every
file's. A right digest is not enough either: the bundle must reproduce its golden samples in this device's own engine.
Until that is done ``current`` stays as it was, whatever goes wrong, also a kill or a power cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgewright.bundle import Bundle
from edgewright.bundle_file import MANIFEST_MAX_BYTES, MANIFEST_NAME, SHA256_PATTERN, sha256_hex
from edgewright.device.download import Traffic, check_room, download_file
from edgewright.device.registry_client import (
    TAG_BUNDLE_SHA256,
    TAG_REFERENCE_SHA256,
    ModelVersion,
    RegistryClient,
)
from edgewright.device.store import CURRENT, REFERENCE, BundleStore, Record
from edgewright.device.utc_time import utc_now
from edgewright.durable import replace_file
from edgewright.errors import BundleError, EngineError, IntegrityError, RegistryError
from edgewright.golden import GoldenReplay
from edgewright.manifest import Manifest, parse_manifest
from edgewright.predictor import open_predictor, replay_golden


@dataclass(frozen=True)
class PullResult:
    """What a pull did.

    Attributes:
        outcome: ``installed``, or ``unchanged`` when the bundle already served.
        bundle_sha256: The bundle that serves now.
        version: Its version in the registry.
        variant: Its variant.
        size_bytes: Size of its files.
        downloaded_bytes: What came over the line.
        resumed_bytes: What an earlier, interrupted pull had left.
        replay: How the golden samples were reproduced; None when nothing was installed.
        reference_sha256: The reference's bundle, when it was asked for.
    """

    outcome: Literal["installed", "unchanged"]
    bundle_sha256: str
    version: str
    variant: str
    size_bytes: int
    downloaded_bytes: int
    resumed_bytes: int
    replay: GoldenReplay | None
    reference_sha256: str | None


@dataclass(frozen=True)
class _Wanted:
    """One bundle of a version: where it is, what it must be, which link shall point at it."""

    link: str
    sha256: str
    artifact_path: str


class _Pull:
    """One pull: what is asked for, and where it goes."""

    def __init__(self, client: RegistryClient, store: BundleStore, model: str, target: str, alias: str) -> None:
        self.client, self.store = client, store
        self.model, self.target, self.alias = model, target, alias
        self.traffic = Traffic()

    def run(self, reference: bool) -> PullResult:
        version = self.client.find_version(f"{self.model}.{self.target}", self.alias)
        wanted = _wanted(version, reference)
        served = self.store.linked_sha256(CURRENT)
        bundles, replays = [], []
        for item in wanted:
            bundle, replay = self._bring(item, version)
            bundles.append(bundle)
            replays.append(replay)
        for item in wanted:
            if self.store.linked_sha256(item.link) != item.sha256:
                self.store.switch(item.link, item.sha256)
        now_reference = self.store.linked_sha256(REFERENCE)
        # The bundle that served before stays: going back to it must not need the network.
        self.store.tidy(wanted[0].sha256, served, now_reference)
        return PullResult(
            outcome="unchanged" if replays[0] is None else "installed",
            bundle_sha256=wanted[0].sha256,
            version=version.version,
            variant=bundles[0].manifest.variant,
            size_bytes=bundles[0].manifest.size_bytes,
            downloaded_bytes=self.traffic.downloaded_bytes,
            resumed_bytes=self.traffic.resumed_bytes,
            replay=replays[0],
            reference_sha256=wanted[1].sha256 if reference else None,
        )

    def _bring(self, item: _Wanted, version: ModelVersion) -> tuple[Bundle, GoldenReplay | None]:
        """Have a bundle here, proved; the replay is None when it served already and is intact."""
        bundle = self.store.find_intact(item.sha256)
        if bundle is not None and self.store.linked_sha256(item.link) == item.sha256:
            return bundle, None
        try:
            bundle = bundle or self._fetch(item)
            self._check_purpose(bundle.manifest, item)
            with open_predictor(bundle) as predictor:
                replay = replay_golden(bundle, predictor.engine)
        except (BundleError, EngineError) as error:
            self.store.discard(item.sha256)
            self._record(item, version, "refused", str(error))
            raise
        self._record(item, version, "installed", replay.describe())
        return bundle, replay

    def _fetch(self, item: _Wanted) -> Bundle:
        staging = self.store.staging_folder(item.sha256)
        manifest = self._fetch_manifest(item, staging)
        self._check_purpose(manifest, item)
        have = sum(path.stat().st_size for path in staging.iterdir())
        check_room(staging, manifest.size_bytes - have)
        for file in manifest.files:
            download_file(self.client, f"{item.artifact_path}/{file.name}", file, staging, self.traffic)
        return self.store.install(item.sha256)

    def _fetch_manifest(self, item: _Wanted, staging: Path) -> Manifest:
        path = staging / MANIFEST_NAME
        data = path.read_bytes() if path.exists() else b""
        if sha256_hex(data) != item.sha256:
            data = self.client.read_artifact(f"{item.artifact_path}/{MANIFEST_NAME}", MANIFEST_MAX_BYTES)
            self.traffic.downloaded_bytes += len(data)
            if (found := sha256_hex(data)) != item.sha256:
                raise IntegrityError(
                    f"the manifest at {item.artifact_path} has the sha256 {found}, its version's tag promises "
                    f"{item.sha256}: one of them was exchanged in the registry."
                )
            replace_file(path, data)
        return parse_manifest(data, f"the manifest at {item.artifact_path}")

    def _check_purpose(self, manifest: Manifest, item: _Wanted) -> None:
        if (manifest.model, manifest.target) != (self.model, self.target):
            raise BundleError(
                f"bundle {item.sha256[:12]} is {manifest.model} for {manifest.target}, "
                f"this device asked for {self.model} for {self.target}: the registry's version is wrong."
            )

    def _record(self, item: _Wanted, version: ModelVersion, outcome: str, reason: str) -> None:
        if outcome == "refused" and item.sha256 in (self.store.linked_sha256(link) for link in (CURRENT, REFERENCE)):
            return  # it serves under the other name, and keeps the record of how it came here
        self.store.write_record(
            Record(
                bundle_sha256=item.sha256,
                outcome=outcome,
                reason=reason,
                model=self.model,
                target=self.target,
                version=version.version,
                alias=self.alias,
                registry_url=self.client.url,
                at=utc_now(),
            )
        )


def pull(
    registry_url: str,
    model: str,
    target: str,
    into: Path,
    alias: str = "champion",
    reference: bool = False,
    timeout_s: float = 30.0,
) -> PullResult:
    """Bring the bundle that an alias points at onto this device.

    Args:
        registry_url: Where the registry is.
        model: Name of the model, e.g. ``digits``.
        target: Class of device, e.g. ``linux-x86``.
        into: The device's folder; created when absent.
        alias: Alias, or number of a version.
        reference: Whether to bring the uncompressed reference of the same build as well, to measure against.
        timeout_s: How long the registry may be silent.

    Raises:
        RegistryError: The registry cannot be reached or has nothing fit; what came so far is kept and resumed.
        IntegrityError: Something has not the promised digest or size.
        BundleError: The bundle breaks its manifest or is for somebody else.
        DiskFullError: There is no room for it; what came so far is kept and resumed.
        EngineError: This device cannot run it.
        GoldenReplayError: It does not reproduce its golden samples here. In all cases ``current`` stays as it was.
    """
    client = RegistryClient(registry_url, timeout_s)
    store = BundleStore(into)
    with store.locked():
        return _Pull(client, store, model, target, alias).run(reference)


def _wanted(version: ModelVersion, reference: bool) -> tuple[_Wanted, ...]:
    bundle = _Wanted(CURRENT, _digest_tag(version, TAG_BUNDLE_SHA256), version.artifact_path)
    if not reference:
        return (bundle,)
    folder, _, last = version.artifact_path.rpartition("/")
    if last != "bundle":
        raise RegistryError(f"the reference lies beside a folder 'bundle', found {version.artifact_path!r}.")
    return bundle, _Wanted(REFERENCE, _digest_tag(version, TAG_REFERENCE_SHA256), f"{folder}/reference")


def _digest_tag(version: ModelVersion, key: str) -> str:
    """Read a digest from a tag; it becomes the name of a folder, so nothing else may stand there."""
    value = version.tag(key)
    if not SHA256_PATTERN.fullmatch(value):
        raise RegistryError(f"{version.name} version {version.version}: tag {key} is no sha256: {value[:80]!r}.")
    return value
