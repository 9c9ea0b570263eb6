"""The store that all machines of a team see, and what of a build goes there: artifacts by their digest, and stage records.

``$EDGEWRIGHT_SHARED`` names it: a folder that all of them mount, or ``s3://bucket/prefix``. Where it is not set, nothing is
shared. Artifacts travel as bytes in memory: models and data sets of edge devices are at most some 100 MB.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from edgewright.errors import SharedStoreError
from edgewright.pipeline.object_store import FolderStore, ObjectStore

SHARED_VARIABLE = "EDGEWRIGHT_SHARED"
_IDENTITY = "store-id"


def team_store() -> ObjectStore | None:
    """The store that ``$EDGEWRIGHT_SHARED`` names; None where it names none.

    Raises:
        SharedStoreError: It names something else.
    """
    location = os.environ.get(SHARED_VARIABLE, "").strip()
    if not location:
        return None
    return open_store(location if "://" in location else str(Path(location).expanduser().resolve()))


@lru_cache(maxsize=8)
def open_store(location: str) -> ObjectStore:
    """Opens a store; asks nothing of it yet.

    Args:
        location: An absolute folder, or ``s3://bucket/prefix``.

    Raises:
        SharedStoreError: It is neither; or what S3 needs is not installed.
    """
    if location.startswith("s3://"):
        from edgewright.pipeline.object_store_s3 import S3Store

        return S3Store.open(location)
    if "://" in location:
        raise SharedStoreError(
            f"{SHARED_VARIABLE}={location} names no shared store: set it to a folder that all machines mount, or to "
            "s3://bucket/prefix."
        )
    return FolderStore(Path(location))


def identity_of(store: ObjectStore) -> str:
    """What tells this store from another, whatever either is called on which machine; made on first use."""
    return _identity_at(store.location)


@lru_cache(maxsize=8)
def _identity_at(location: str) -> str:
    store = open_store(location)
    store.create(_IDENTITY, uuid.uuid4().hex.encode())
    content = store.read(_IDENTITY)
    if content is None:
        raise SharedStoreError(f"{store.location}: {_IDENTITY} was removed at this moment. Try again.")
    return content.decode(errors="replace")


@dataclass(frozen=True)
class SharedArtifacts:
    """A team's artifacts and stage records.

    Attributes:
        store: Where they lie.
    """

    store: ObjectStore

    def upload(self, sha256: str, content: bytes) -> None:
        """Puts an artifact there."""
        self.store.write(_artifact_key(sha256), content)

    def has(self, sha256: str) -> bool:
        """Whether an artifact is there; its bytes are looked at by whoever fetches them."""
        return self.store.has(_artifact_key(sha256))

    def fetch(self, sha256: str) -> bytes | None:
        """An artifact's bytes, checked; None where there are none. Damaged ones are removed, so that they are remade."""
        content = self.store.read(_artifact_key(sha256))
        if content is not None and hashlib.sha256(content).hexdigest() != sha256:
            self.store.delete(_artifact_key(sha256))
            return None
        return content

    def read_record(self, stage: str, key: str) -> bytes | None:
        """What is remembered of a stage."""
        return self.store.read(_record_key(stage, key))

    def create_record(self, stage: str, key: str, content: bytes) -> bool:
        """Remembers a stage, after its artifacts; False, and nothing done, where something is remembered."""
        return self.store.create(_record_key(stage, key), content)

    def write_record(self, stage: str, key: str, content: bytes) -> None:
        """Remembers a stage in the place of what is there."""
        self.store.write(_record_key(stage, key), content)


def _artifact_key(sha256: str) -> str:
    return f"artifacts/sha256/{sha256[:2]}/{sha256}"


def _record_key(stage: str, key: str) -> str:
    return f"stages/{stage}/{key}.json"
