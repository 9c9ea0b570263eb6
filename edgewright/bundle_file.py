"""A file of a bundle and what is promised about it: name, digest, size. Needs nothing but the standard library."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from edgewright.errors import IntegrityError

MANIFEST_NAME = "manifest.json"
GOLDEN_NAME = "golden.npz"
MANIFEST_MAX_BYTES = 1 << 20  # a thousand labels take 20 KiB
FILE_MAX_BYTES = 2 << 30  # no model file can be larger: protobuf's and FlatBuffers' own limit
FILE_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}\.[a-z0-9]{1,8}")
SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")


def sha256_hex(data: bytes) -> str:
    """Give the SHA-256 in lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class BundleFile:
    """A file that somebody promises: a manifest, or signed metadata.

    Attributes:
        name: Plain name inside the bundle's folder.
        sha256: Digest of the contents, 64 lower-case hexadecimal digits.
        size_bytes: Size of the contents.
    """

    name: str
    sha256: str
    size_bytes: int

    def objection(self) -> str | None:
        """Say which rule the promise itself breaks; None when it keeps all."""
        if not FILE_NAME_PATTERN.fullmatch(self.name):
            return f"file name {self.name!r} is not a plain lower-case name like {GOLDEN_NAME}"
        if not SHA256_PATTERN.fullmatch(self.sha256):
            return f"sha256 of {self.name} must be 64 hexadecimal digits, found {self.sha256!r}"
        if not 1 <= self.size_bytes <= FILE_MAX_BYTES:
            return f"size_bytes of {self.name} must be from 1 to {FILE_MAX_BYTES}, found {self.size_bytes}"
        return None

    def check(self, data: bytes, place: str) -> None:
        """Refuse contents that are not the promised ones.

        Raises:
            IntegrityError: The size or the digest differs.
        """
        if len(data) != self.size_bytes:
            raise IntegrityError(f"{place} has {len(data)} bytes, the manifest promises {self.size_bytes}.")
        found = sha256_hex(data)
        if found != self.sha256:
            raise IntegrityError(f"{place} has the sha256 {found}, the manifest promises {self.sha256}.")
