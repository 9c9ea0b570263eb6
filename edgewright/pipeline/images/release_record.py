"""What the registry knows of a release's images: files and figures beside the run, digests and proofs as the version's tags.

The tag ``edgewright.image.index`` is written last and taken away first: a version that has it has everything else.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
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
from edgewright.pipeline.tracking.client import alias_lock, open_client, registry_errors

PREFIX = "edgewright.image."
INDEX_TAG, PULL_TAG, LAYOUT_TAG = f"{PREFIX}index", f"{PREFIX}pull", f"{PREFIX}layout"
FOLDER = "images"
_MOST_CHARACTERS = 500
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
    _tag(tracking, version, image_tags(images))
    return get_version(tracking, version.model, version.target, version.version)


def image_tags(images: ReleaseImages) -> dict[str, str]:
    """Give the version's tags; that of the index is last."""
    found = {LAYOUT_TAG: str(images.layout)}
    for member in images.members:
        slug = PLATFORMS[member.platform].slug
        found[f"{PREFIX}{slug}"] = member.image.manifest_digest
        found[f"{PREFIX}proof.{slug}"] = member.proof.describe()[:_MOST_CHARACTERS]
    if images.pushed is not None:
        found[PULL_TAG] = images.pushed.address.pull
    return {**found, INDEX_TAG: images.index.digest}


def recorded_images(version: ModelVersion) -> dict[str, Any] | None:
    """Read what a version's tags say of its images; None where it has none."""
    if INDEX_TAG not in version.tags:
        return None
    platforms = [
        {
            "platform": platform.name,
            "digest": version.tags[f"{PREFIX}{platform.slug}"],
            "proof": version.tags.get(f"{PREFIX}proof.{platform.slug}", ""),
        }
        for platform in PLATFORMS.values()
        if f"{PREFIX}{platform.slug}" in version.tags
    ]
    return {
        "name": version.name,
        "version": version.version,
        "index": version.tags[INDEX_TAG],
        "pull": version.tags.get(PULL_TAG),
        "layout": version.tags.get(LAYOUT_TAG),
        "platforms": platforms,
    }


@registry_errors("recording images")
def _tag(tracking: Tracking, version: ModelVersion, tags: Mapping[str, str]) -> None:
    client, number = open_client(tracking), str(version.version)
    with alias_lock(tracking, version.name):
        known = get_version(tracking, version.model, version.target, version.version).tags
        surplus = {key for key in known if key.startswith(PREFIX) and key not in tags}
        if known.get(INDEX_TAG) == tags[INDEX_TAG]:
            surplus.discard(PULL_TAG)  # what was pushed is this very index, and is still where it went
        if not surplus and all(known.get(key) == value for key, value in tags.items()):
            return
        for key in (*([INDEX_TAG] if INDEX_TAG in known else []), *sorted(surplus - {INDEX_TAG})):
            client.delete_model_version_tag(version.name, number, key)
        for key, value in tags.items():
            client.set_model_version_tag(version.name, number, key, value)


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
