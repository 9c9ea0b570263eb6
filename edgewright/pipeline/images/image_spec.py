"""What an image is asked to be, what is in its configuration, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgewright.errors import ImageError
from edgewright.pipeline.images.base import BaseImage, LayerInfo
from edgewright.pipeline.images.platform import Platform, why_not
from edgewright.pipeline.images.provenance import ProvenanceFacts

USER = 65532
"""User and group of the agent in an image: no name on the host has this number."""
SITE, FACTORY = "opt/edgewright/site", "opt/edgewright/factory"
COMMAND = "opt/edgewright/bin/edgewright-agent"
CONFIG_FOLDER, STATE_FOLDER = "/etc/edgewright", "/var/lib/edgewright"
CONFIG_FILE = f"{CONFIG_FOLDER}/agent.toml"
HEALTH_INTERVAL_S, HEALTH_TIMEOUT_S, HEALTH_START_S, HEALTH_RETRIES = 30, 10, 60, 3

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PATH = "/usr/local/bin:/usr/bin:/bin"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_LAST_SECOND = 253_402_300_799  # of the year 9999


@dataclass(frozen=True)
class ImageSpec:
    """One image of one platform.

    Attributes:
        model: Name of the model.
        target: Class of device.
        variant: How the model was compressed.
        version: Number of the model version in the registry; None before there is one.
        platform: What the image runs on.
        engine: What runs the bundle's model.
        threads: Threads within one operator.
        bundle: Folder of the bundle that the device starts with; None for an image without.
        verdict: The gate's word about the bundle.
        provenance: What the release knows of itself.
        source_date_epoch: The release's time, seconds since 1970: the only one in the image.
        more_engines: Other engines that the target lists: a later release may be a file for any of them.
    """

    model: str
    target: str
    variant: str
    version: int | None
    platform: Platform
    engine: str
    threads: int
    bundle: Path | None = None
    verdict: str = ""
    provenance: ProvenanceFacts = field(default_factory=ProvenanceFacts)
    source_date_epoch: int = 0
    more_engines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be built.

        Raises:
            ImageError: An engine cannot be had on the platform, or a number is out of bounds.
        """
        for engine in self.engines:
            if (reason := why_not(self.platform.name, engine)) is not None:
                raise ImageError(reason)
        if not 1 <= self.threads <= 256:
            raise ImageError(f"an image's threads must be from 1 to 256, found {self.threads}.")
        if not 0 <= self.source_date_epoch <= _LAST_SECOND:
            raise ImageError(f"an image's time must be in seconds since 1970, found {self.source_date_epoch}.")

    @property
    def engines(self) -> tuple[str, ...]:
        """All engines, the bundle's first, each once."""
        return tuple(dict.fromkeys((self.engine, *self.more_engines)))

    @property
    def name(self) -> str:
        """Name of the registered model, and of the image."""
        return f"{self.model}.{self.target}"

    @property
    def created(self) -> str:
        """The release's time, as the format writes it."""
        return datetime.fromtimestamp(self.source_date_epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class BuiltImage:
    """An image of one platform in a layout.

    Attributes:
        platform: Name of the platform.
        manifest_digest: Digest of the manifest: what is pulled.
        manifest_size_bytes: Size of the manifest.
        config_digest: Digest of the configuration. It follows from the contents alone, whichever zlib compressed them.
        config_size_bytes: Size of the configuration.
        layers: The layers, lowest first.
        size_bytes: Size of all layers as they are downloaded.
        sbom_digest: Digest of the manifest of the attached bill of materials.
        provenance_digest: Digest of the manifest of the attached provenance.
        licences: Licences that the bill names.
    """

    platform: str
    manifest_digest: str
    manifest_size_bytes: int
    config_digest: str
    config_size_bytes: int
    layers: tuple[LayerInfo, ...]
    size_bytes: int
    sbom_digest: str
    provenance_digest: str
    licences: tuple[str, ...]

    @property
    def bundle_bytes(self) -> int:
        """What a new model costs: size of the bundle's layer, 0 without one."""
        return sum(layer.size_bytes for layer in self.layers if layer.name == "bundle")


@dataclass(frozen=True)
class BuiltIndex:
    """The images of a release, one per platform, under one digest.

    Attributes:
        digest: Digest of the index.
        size_bytes: Size of the index itself.
        images: The images, in order of their platforms.
        reference: What the layout calls it.
    """

    digest: str
    size_bytes: int
    images: tuple[BuiltImage, ...]
    reference: str


def image_labels(spec: ImageSpec, base: BaseImage, bundle_sha256: str | None) -> dict[str, str]:
    """Give an image's labels; what is not known is left out.

    Licences are in the bill of materials alone: Debian's packages name dozens, some in words that SPDX has none for, so they
    are no SPDX expression, which ``org.opencontainers.image.licenses`` must be.
    """
    release = f"{spec.name}:{spec.version}" if spec.version is not None else spec.name
    found = {
        "org.opencontainers.image.title": spec.name,
        "org.opencontainers.image.version": str(spec.version or ""),
        "org.opencontainers.image.revision": spec.provenance.commit,
        "org.opencontainers.image.created": spec.created,
        "org.opencontainers.image.base.name": base.name,
        "org.opencontainers.image.base.digest": base.digest,
        "org.opencontainers.image.description": f"edgewright's agent for {spec.model} on {spec.target}, engine {spec.engine}",
        "dev.edgewright.release": release,
        "dev.edgewright.build": spec.provenance.build,
        "dev.edgewright.training.revision": spec.provenance.training_commit,
        "dev.edgewright.bundle.sha256": bundle_sha256 or "",
        "dev.edgewright.verdict": spec.verdict,
        "dev.edgewright.target": spec.target,
        "dev.edgewright.variant": spec.variant,
        "dev.edgewright.engine": spec.engine,
    }
    return {name: value for name, value in sorted(found.items()) if value}


def image_environment(spec: ImageSpec, base: BaseImage) -> dict[str, str]:
    """Give an image's variables: threads from the target, places from the image."""
    found = {
        **base.environment,
        "PATH": f"/{COMMAND.rpartition('/')[0]}:{base.environment.get('PATH', _PATH)}",
        "LANG": "C.UTF-8",
        "PYTHONPATH": f"/{SITE}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "SSL_CERT_FILE": _CERTIFICATES,
        "ORT_DISABLE_TELEMETRY": "1",
        "EDGEWRIGHT_AGENT_DEVICE_MODEL": spec.model,
        "EDGEWRIGHT_AGENT_DEVICE_TARGET": spec.target,
        "EDGEWRIGHT_AGENT_DEVICE_STATE": STATE_FOLDER,
        **{variable: str(spec.threads) for variable in _THREAD_VARIABLES},
    }
    if spec.bundle is not None:
        found["EDGEWRIGHT_AGENT_DEVICE_FACTORY"] = f"/{FACTORY}"
    return found


def image_config(
    spec: ImageSpec, base: BaseImage, layers: Sequence[LayerInfo], labels: Mapping[str, str]
) -> dict[str, Any]:
    """Give an image's configuration. Its health check is Docker's addition to the format; other engines pass over it."""
    second = 1_000_000_000
    return {
        **spec.platform.oci,
        "created": spec.created,
        "config": {
            "User": f"{USER}:{USER}",
            "Env": [f"{name}={value}" for name, value in sorted(image_environment(spec, base).items())],
            "Entrypoint": [f"/{COMMAND}"],
            "Cmd": ["run", "--config", CONFIG_FILE],
            "WorkingDir": STATE_FOLDER,
            "Volumes": {STATE_FOLDER: {}},
            "StopSignal": "SIGTERM",
            "Labels": dict(labels),
            "Healthcheck": {
                "Test": ["CMD", f"/{COMMAND}", "healthy"],
                "Interval": HEALTH_INTERVAL_S * second,
                "Timeout": HEALTH_TIMEOUT_S * second,
                "StartPeriod": HEALTH_START_S * second,
                "Retries": HEALTH_RETRIES,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": spec.created, "created_by": f"edgewright: {layer.name}"} for layer in layers],
    }
