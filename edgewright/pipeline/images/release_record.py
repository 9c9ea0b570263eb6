"""What the registry knows of a release's images: files and figures beside the run, the version's tags."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgewright.pipeline.images.descriptor import parse_descriptor
from edgewright.pipeline.images.image_registry import Pushed
from edgewright.pipeline.images.image_spec import BuiltIndex
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import PLATFORMS
from edgewright.pipeline.images.proof import PROVEN
from edgewright.pipeline.images.release_images import BuiltMember
from edgewright.pipeline.tracking import ModelVersion, Tracking, get_version, update_run
from edgewright.pipeline.tracking.image_recording import record_image_tags
from edgewright.pipeline.tracking.image_tags import INDEX_TAG, PlatformImage, RecordedImages

FOLDER = "images"
_MIB = 1024 * 1024


@dataclass(frozen=True)
class ReleaseImages:
    """The images of a release, built and proven.

    Attributes:
        index: The index.
        members: Its images.
        layout: The layout that holds them.
        pushed: Where else they are; None where no registry was named.
        left_out: What has no image, and why.
    """

    index: BuiltIndex
    members: tuple[BuiltMember, ...]
    layout: Path
    pushed: Pushed | None
    left_out: tuple[str, ...]


def record_images(tracking: Tracking, version: ModelVersion, images: ReleaseImages) -> ModelVersion:
    """Put a release's images on record: the run first, then the version's tags, the index's tag last.

    Args:
        tracking: The registry.
        version: The version that they were built for.
        images: What was built.

    Returns:
        The version with its tags.

    Raises:
        RegistryError: The registry cannot be reached; the version names no index then, or the one before.
        IntegrityError: The layout holds an attachment no more.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-record-") as scratch:
        update_run(
            tracking,
            version.run_id,
            metrics=_metrics(images),
            tags={INDEX_TAG: images.index.digest},
            artifacts=_artifacts(images, Path(scratch)),
        )
    record_image_tags(tracking, version, _recorded(images))
    return get_version(tracking, version.model, version.target, version.version)


def _recorded(images: ReleaseImages) -> RecordedImages:
    platforms = (
        PlatformImage(each.platform, each.image.manifest_digest, each.proof.describe()) for each in images.members
    )
    pull = images.pushed.address.pull if images.pushed else None
    return RecordedImages(images.index.digest, str(images.layout), pull, tuple(platforms))


def _metrics(images: ReleaseImages) -> dict[str, float]:
    own = images.members[0]
    found = {"image_size_mib": own.image.size_bytes / _MIB, "image_proven": float(own.proof.outcome == PROVEN)}
    for name, key in (("start_to_healthy_s", "image_start_s"), ("container_memory_mib", "image_memory_mib")):
        if name in own.proof.figures:
            found[key] = own.proof.figures[name]
    return found


def _artifacts(images: ReleaseImages, scratch: Path) -> dict[str, Path]:
    layout = OciLayout(images.layout)
    files = {f"{FOLDER}/images.json": json.dumps(_described(images), indent=1, sort_keys=True).encode() + b"\n"}
    for member in images.members:
        slug = PLATFORMS[member.platform].slug
        for name, digest in (("sbom", member.image.sbom_digest), ("provenance", member.image.provenance_digest)):
            manifest = layout.document(layout.find(digest), "attachment")
            (blob,) = manifest.get("layers", ())
            files[f"{FOLDER}/{name}-{slug}.json"] = layout.read(parse_descriptor(blob, "attachment"), name)
    written = {}
    for number, (name, data) in enumerate(files.items()):
        written[name] = scratch / str(number)
        written[name].write_bytes(data)
    return written


def _described(images: ReleaseImages) -> dict[str, Any]:
    return {
        "index": images.index.digest,
        "name": images.index.reference,
        "layout": str(images.layout),
        "pull": images.pushed.address.pull if images.pushed else None,
        "left_out": list(images.left_out),
        "images": [
            {
                "platform": each.platform,
                "release": each.version,
                "built_by": each.built_by,
                "proof": asdict(each.proof),
                **asdict(each.image),
            }
            for each in images.members
        ],
    }
