"""What the image format calls things, and how it names a blob: kind, digest, size."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgewright.errors import ImageError, IntegrityError
from edgewright.strict_json import load_json

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
REFERENCE = "org.opencontainers.image.ref.name"
"""The annotation that names an entry of a layout's index."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_BYTES = 64 << 30
_DOCKER = "application/vnd.docker.distribution.manifest"
MANIFESTS = (MANIFEST, f"{_DOCKER}.v2+json")
INDEXES = (INDEX, f"{_DOCKER}.list.v2+json")


@dataclass(frozen=True)
class Descriptor:
    """A promise about a blob.

    Attributes:
        media_type: What it is.
        digest: ``sha256:`` and 64 hexadecimal digits.
        size_bytes: Its size.
        platform: In an index: what an image runs on.
        annotations: Words beside it.
        artifact_type: What is attached to an image, where it is such a thing.
    """

    media_type: str
    digest: str
    size_bytes: int
    platform: Mapping[str, str] | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None

    @property
    def sha256(self) -> str:
        """The digest's 64 digits."""
        return self.digest.removeprefix("sha256:")

    @property
    def reference(self) -> str | None:
        """What a layout's index calls it."""
        return self.annotations.get(REFERENCE)

    def check(self, data: bytes, what: str) -> bytes:
        """Refuse bytes that are not the promised ones.

        Args:
            data: The bytes.
            what: What the blob is, for the message.

        Raises:
            IntegrityError: Size or digest differ.
        """
        if len(data) != self.size_bytes or digest_of_bytes(data) != self.digest:
            raise IntegrityError(
                f"{what} is not {self.digest}: it has {len(data)} bytes (promised: {self.size_bytes}) and the digest "
                f"{digest_of_bytes(data)}. It was damaged or exchanged: fetch or build it again."
            )
        return data

    def to_json(self) -> dict[str, Any]:
        """Give the format's form."""
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size_bytes}
        if self.artifact_type is not None:
            found["artifactType"] = self.artifact_type
        if self.platform is not None:
            found["platform"] = dict(self.platform)
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        return found


def digest_of_bytes(data: bytes) -> str:
    """Give the digest as the format writes it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def check_digest(digest: object, place: str) -> str:
    """Refuse what is no SHA-256 digest: it becomes a file's name.

    Raises:
        ImageError: It is none.
    """
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ImageError(f"{place} names a blob by {digest!r:.100}: needed are sha256: and 64 hexadecimal digits.")
    return digest


def parse_descriptor(value: object, place: str) -> Descriptor:
    """Read a descriptor; keys that are not known are passed over, as the format asks.

    Raises:
        ImageError: It is none.
    """
    if not isinstance(value, dict):
        raise ImageError(f"{place} is no descriptor of a blob: {value!r:.100}.")
    size, kind = value.get("size"), value.get("mediaType")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MOST_BYTES or not isinstance(kind, str):
        raise ImageError(f"{place} has no size and media type of a blob: {value!r:.200}.")
    platform, annotations, artifact = value.get("platform"), value.get("annotations"), value.get("artifactType")
    return Descriptor(
        kind,
        check_digest(value.get("digest"), place),
        size,
        _words(platform) if isinstance(platform, dict) else None,
        _words(annotations) if isinstance(annotations, dict) else {},
        artifact if isinstance(artifact, str) else None,
    )


def parse_json(data: bytes, place: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ImageError: It is none.
    """
    found = load_json(data, place, ImageError)
    if not isinstance(found, dict):
        raise ImageError(f"{place} holds no JSON object.")
    return found


def to_bytes(value: Mapping[str, Any]) -> bytes:
    """Give the settled form of a document: the same value, the same digest."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _words(value: Mapping[object, object]) -> dict[str, str]:
    return {key: text for key, text in value.items() if isinstance(key, str) and isinstance(text, str)}
