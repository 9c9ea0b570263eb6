"""An OCI image layout (image-spec 1.1): a folder of blobs named by their digests, and an index of what is in it.

What is read is compared with its digest; what is written appears whole or not at all (`LayoutWriter`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgewright.errors import ImageError, IntegrityError
from edgewright.pipeline.images.descriptor import (
    INDEX,
    INDEXES,
    MANIFESTS,
    Descriptor,
    check_digest,
    parse_descriptor,
    parse_json,
    to_bytes,
)
from edgewright.pipeline.images.layout_writer import LayoutWriter, no_room, writers_lock

_MARK_NAME, _MARK = "oci-layout", b'{"imageLayoutVersion":"1.0.0"}'
INDEX_NAME = "index.json"
_DOCUMENT_MOST_BYTES = 8 << 20


class OciLayout:
    """An image layout on this machine.

    Attributes:
        root: Its folder.
    """

    def __init__(self, root: Path) -> None:
        """Open a layout that is there.

        Raises:
            ImageError: There is none.
        """
        self.root = root
        if not (root / _MARK_NAME).is_file() or not (root / INDEX_NAME).is_file():
            raise ImageError(f"{root} is no OCI image layout: it has no {_MARK_NAME} and {INDEX_NAME}.")

    @classmethod
    def create(cls, root: Path) -> OciLayout:
        """Open a layout; make an empty one where there is none."""
        with no_room(root):
            (root / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            for name, content in ((INDEX_NAME, index_bytes(())), (_MARK_NAME, _MARK)):
                if not (root / name).exists():
                    LayoutWriter.put(root / name, content)
        return cls(root)

    def entries(self) -> tuple[Descriptor, ...]:
        """What the index names: images, indexes of images, and what is attached to them."""
        place = self.root / INDEX_NAME
        found = parse_json(place.read_bytes(), str(place)).get("manifests")
        if not isinstance(found, list):
            raise ImageError(f"{place} lists no manifests: it is no index of an image layout.")
        return tuple(parse_descriptor(value, str(place)) for value in found)

    def find(self, reference: str) -> Descriptor:
        """Find an entry by its name or digest, or an image by its digest within an index.

        Raises:
            ImageError: There is none.
        """
        entries = self.entries()
        for entry in entries:
            if reference in (entry.reference, entry.digest):
                return entry
        for entry in entries:
            for image in self.images(entry):
                if image.digest == reference:
                    return image
        raise ImageError(f"{self.root} holds nothing that is called {reference!r:.200}.")

    def images(self, entry: Descriptor) -> tuple[Descriptor, ...]:
        """The images of an index; none of anything else."""
        if entry.media_type not in INDEXES:
            return ()
        found = self.document(entry, "image index").get("manifests")
        place = f"index {entry.digest}"
        return tuple(parse_descriptor(each, place) for each in found) if isinstance(found, list) else ()

    def attached(self, digest: str) -> tuple[Descriptor, ...]:
        """What is attached to an image: bills of materials, provenance (the format's referrers)."""
        return tuple(entry for entry in self.entries() if self.subject(entry) == digest)

    def subject(self, entry: Descriptor) -> str | None:
        """Digest of what an entry is attached to; None of what is attached to nothing."""
        if entry.media_type not in MANIFESTS or entry.artifact_type is None:
            return None
        subject = self.document(entry, "attachment").get("subject")
        return str(subject.get("digest")) if isinstance(subject, dict) else None

    def blob_path(self, digest: str) -> Path:
        """Where a blob lies, if it is there."""
        return self.root / "blobs" / "sha256" / check_digest(digest, str(self.root)).removeprefix("sha256:")

    def document(self, descriptor: Descriptor, what: str) -> dict[str, Any]:
        """Read a JSON document.

        Raises:
            IntegrityError: It is missing, damaged or exchanged.
            ImageError: It is no JSON object.
        """
        return parse_json(self.read(descriptor, what), f"{what} {descriptor.digest}")

    def read(self, descriptor: Descriptor, what: str) -> bytes:
        """Read a small blob and compare it with its digest.

        Args:
            descriptor: Which one.
            what: What it is, for the message.

        Raises:
            IntegrityError: It is missing, damaged or exchanged.
        """
        if descriptor.size_bytes > _DOCUMENT_MOST_BYTES:
            raise ImageError(f"{what} {descriptor.digest} has {descriptor.size_bytes} bytes: it is no document.")
        path = self._present(descriptor, what)
        with path.open("rb") as stream:
            return descriptor.check(stream.read(descriptor.size_bytes + 1), f"{what} {path}")

    def check(self, descriptor: Descriptor, what: str) -> Path:
        """Compare a blob of any size with its digest.

        Returns:
            Where it lies.

        Raises:
            IntegrityError: It is missing, damaged or exchanged.
        """
        path = self._present(descriptor, what)
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
        if (digest, size) != (descriptor.sha256, descriptor.size_bytes):
            raise IntegrityError(
                f"{what} {path} is not what its name says: it has {size} bytes (promised: {descriptor.size_bytes}) and the "
                f"sha256 {digest}. It was damaged or exchanged: remove that file and build the image again."
            )
        return path

    def verify(self, descriptor: Descriptor) -> None:
        """Compare an image, or all of an index, with its digests: documents and layers.

        Raises:
            IntegrityError: A blob is missing, damaged or exchanged; the message names it.
        """
        if descriptor.media_type in INDEXES:
            for image in self.images(descriptor):
                self.verify(image)
            return
        document = self.document(descriptor, "manifest")
        self.check(parse_descriptor(document.get("config"), f"manifest {descriptor.digest}"), "configuration")
        layers = document.get("layers")
        for number, layer in enumerate(layers if isinstance(layers, list) else (), 1):
            self.check(parse_descriptor(layer, f"manifest {descriptor.digest}"), f"layer {number}")

    @contextmanager
    def writing(self) -> Iterator[LayoutWriter]:
        """Write blobs and entries: all of them are there afterwards or, if this raises, none.

        Raises:
            DiskFullError: There is no room.
        """
        writer = LayoutWriter(self.root)
        try:
            with no_room(self.root):
                yield writer
                with writers_lock(self.root):
                    merged = _merge(self.entries(), tuple(writer.entries))
                    writer.commit(index_bytes(merged) if writer.entries else None, self.root / INDEX_NAME)
        finally:
            writer.close()

    def _present(self, descriptor: Descriptor, what: str) -> Path:
        path = self.blob_path(descriptor.digest)
        if path.is_symlink() or not path.is_file():
            raise IntegrityError(f"{what} {path} is missing: the image is incomplete. Fetch or build it again.")
        return path


def index_bytes(entries: Sequence[Descriptor]) -> bytes:
    """The file that lists a layout's entries."""
    return to_bytes({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry.to_json() for entry in entries]})


def _merge(old: tuple[Descriptor, ...], new: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
    """Entries by digest and name; a name moves to what carries it last."""
    names = {entry.reference for entry in new if entry.reference}
    kept = {(entry.digest, entry.reference): entry for entry in old if entry.reference not in names}
    kept.update({(entry.digest, entry.reference): entry for entry in new})
    return tuple(kept[key] for key in sorted(kept, key=lambda key: (key[1] or "", key[0])))
