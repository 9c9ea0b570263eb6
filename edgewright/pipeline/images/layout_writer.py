"""Writes into an image layout so that a failed or killed build leaves nothing in it.

Blobs are written into a folder beside, which its process holds locked; they get their names when all are on the disk, and the
index, written before that too, is exchanged last. The next writer removes folders whose process is gone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewright.durable import flush_folder, is_no_room, remove_leftovers
from edgewright.errors import DiskFullError, IntegrityError
from edgewright.pipeline.images.descriptor import CONFIG, EMPTY, LAYER, MANIFEST, Descriptor, digest_of_bytes, to_bytes
from edgewright.pipeline.images.layer import Tree, Written, write_layer

SUBJECT = "dev.edgewright.subject"
"""The annotation of an entry that says which image, by its digest, it is attached to: nothing is read to know it."""

_STAGING = ".writing-"
_CHUNK_BYTES = 1 << 20


class LayoutWriter:
    """What one build adds to a layout; made by `OciLayout.writing`.

    Attributes:
        entries: What the layout's index will name.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.entries: list[Descriptor] = []
        self._blobs: set[str] = set()
        with no_room(root), writers_lock(root):
            remove_leftovers(root)
            _remove_abandoned(root)
            self._folder = Path(tempfile.mkdtemp(prefix=_STAGING, dir=root))
            self._hold = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._hold, fcntl.LOCK_EX)

    def add(self, media_type: str, data: bytes) -> Descriptor:
        """Add a blob."""
        digest = digest_of_bytes(data)
        if digest not in self._blobs:
            self.put(self._folder / digest.removeprefix("sha256:"), data)
            self._blobs.add(digest)
        return Descriptor(media_type, digest, len(data))

    def add_document(self, media_type: str, value: Mapping[str, Any]) -> Descriptor:
        """Add a JSON document in its settled form."""
        return self.add(media_type, to_bytes(value))

    def add_layer(self, tree: Tree) -> tuple[Descriptor, Written]:
        """Add a tree as a layer."""
        temporary = self._folder / "layer"
        with temporary.open("wb") as stream:
            written = write_layer(tree, stream)
            stream.flush()
            os.fsync(stream.fileno())
        self._take(temporary, written.digest)
        return Descriptor(LAYER, written.digest, written.size_bytes), written

    def add_copy(self, source: Path, descriptor: Descriptor) -> Descriptor:
        """Add a blob that lies elsewhere, comparing it with its digest on the way.

        Raises:
            IntegrityError: It is not what the descriptor says.
        """
        temporary, digest = self._folder / "copy", hashlib.sha256()
        with source.open("rb") as stream, temporary.open("wb") as copy:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        if digest.hexdigest() != descriptor.sha256:
            raise IntegrityError(
                f"{source} is not {descriptor.digest}: its sha256 is {digest.hexdigest()}. Fetch the base again."
            )
        self._take(temporary, descriptor.digest)
        return descriptor

    def attach(self, image: Descriptor, artifact_type: str, data: bytes) -> Descriptor:
        """Attach a document to an image, as the format does: a manifest whose subject the image is.

        Returns:
            The attachment's manifest.
        """
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": self.add(EMPTY, b"{}").to_json(),
            "layers": [self.add(artifact_type, data).to_json()],
            "subject": Descriptor(image.media_type, image.digest, image.size_bytes).to_json(),
        }
        added = self.add_document(MANIFEST, manifest)
        attached = Descriptor(MANIFEST, added.digest, added.size_bytes, artifact_type=artifact_type)
        self.entries.append(replace(attached, annotations={SUBJECT: image.digest}))
        return attached

    def add_image(self, config: Mapping[str, Any], layers: Sequence[Descriptor]) -> Descriptor:
        """Add an image's configuration and manifest; the layout's index is not told."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.add_document(CONFIG, config).to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
        return self.add_document(MANIFEST, manifest)

    def commit(self, index: bytes | None, index_path: Path) -> None:
        """Let everything appear; None where the index stays as it is."""
        if index is not None:
            self.put(self._folder / "index", index)
        blobs, named = self._root / "blobs" / "sha256", []
        try:
            for digest in sorted(self._blobs):
                name = digest.removeprefix("sha256:")
                known = (blobs / name).exists()
                (self._folder / name).replace(blobs / name)  # also over a damaged one
                if not known:
                    named.append(blobs / name)
            flush_folder(blobs)
        except BaseException:
            for path in named:
                path.unlink(missing_ok=True)
            raise
        if index is not None:
            (self._folder / "index").replace(index_path)
            flush_folder(self._root)

    def close(self) -> None:
        """Remove what did not get a name."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._hold)

    @staticmethod
    def put(path: Path, data: bytes) -> None:
        """Write a file and flush it, readable for all whatever the umask."""
        with path.open("wb") as stream:
            os.fchmod(stream.fileno(), 0o644)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    def _take(self, temporary: Path, digest: str) -> None:
        temporary.chmod(0o644)
        temporary.replace(self._folder / digest.removeprefix("sha256:"))
        self._blobs.add(digest)


@contextmanager
def writers_lock(root: Path) -> Iterator[None]:
    """Alone among the writers of a layout: its index is read, changed and exchanged."""
    with (root / ".lock").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def no_room(place: Path) -> Iterator[None]:
    """Say a full disk as one.

    Raises:
        DiskFullError: In place of the system's error.
    """
    try:
        yield
    except OSError as cause:
        if not is_no_room(cause):
            raise
        raise DiskFullError(
            f"the disk that holds {place} is full: the image was not written, and nothing of it is left there. "
            f"Make room, then build it again."
        ) from cause


def _remove_abandoned(root: Path) -> None:
    """Remove what killed writers left: nobody holds its lock."""
    for folder in root.glob(f"{_STAGING}*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # its writer has just ended
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue  # at work
        finally:
            os.close(descriptor)
