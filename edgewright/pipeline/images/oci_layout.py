"""An OCI image layout (image-spec 1.1): a folder of blobs named by their digests, and an index of what is in it.

What is read is compared with its digest; what is written appears whole or not at all (`LayoutWriter`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgewright.durable import replace_file
from edgewright.errors import ImageError, IntegrityError
from edgewright.pipeline.images.descriptor import (
    INDEX,
    INDEXES,
    MANIFESTS,
    REFERENCE,
    Descriptor,
    check_digest,
    parse_descriptor,
    parse_json,
    to_bytes,
)
from edgewright.pipeline.images.layout_writer import SUBJECT, LayoutWriter, no_room, writers_lock

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
        """Open a layout; make an empty one where there is none, or where making one did not end.

        Raises:
            ImageError: It holds blobs, but no list of what they are.
            DiskFullError: There is no room.
        """
        blobs, index, mark = root / "blobs" / "sha256", root / INDEX_NAME, root / _MARK_NAME
        with no_room(root):
            blobs.mkdir(parents=True, exist_ok=True)
            if not (_holds_something(index) and _holds_something(mark)):
                with writers_lock(root):  # another process may be making it, too, and write an image at once
                    if not _holds_something(index):
                        if any(blobs.iterdir()):
                            raise ImageError(
                                f"{index} is missing or empty, though {blobs} is not: what the blobs are is not known any "
                                f"more. Bring the file back, or remove {root} and build its images again."
                            )
                        replace_file(index, index_bytes(()))
                    if not _holds_something(mark):
                        replace_file(mark, _MARK)
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
        """The images of an index; none of anything else.

        Raises:
            IntegrityError: The index is missing, damaged or exchanged.
            ImageError: It is none.
        """
        if entry.media_type not in INDEXES:
            return ()
        return listed(self.document(entry, "image index"), "manifests", f"index {entry.digest}")

    def attached(self, digest: str) -> tuple[Descriptor, ...]:
        """What is attached to an image: bills of materials, provenance (the format's referrers).

        Nothing is read of what is attached to other images. The layout's own annotation is left out: it is not the
        attachment's.
        """
        return tuple(_without(entry, SUBJECT) for entry in self.entries() if self.subject(entry) == digest)

    def subject(self, entry: Descriptor) -> str | None:
        """Digest of what an entry is attached to; None of what is attached to nothing.

        The entry says it; the attachment itself is read only where another program wrote the entry.

        Raises:
            IntegrityError: The attachment must be read and is missing, damaged or exchanged.
        """
        if entry.media_type not in MANIFESTS or entry.artifact_type is None:
            return None
        if SUBJECT in entry.annotations:
            return entry.annotations[SUBJECT]
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
            ImageError: A document is none.
        """
        if descriptor.media_type in INDEXES:
            for image in self.images(descriptor):
                self.verify(image)
            return
        document = self.document(descriptor, "manifest")
        self.check(parse_descriptor(document.get("config"), f"manifest {descriptor.digest}"), "configuration")
        for number, layer in enumerate(listed(document, "layers", f"manifest {descriptor.digest}"), 1):
            self.check(layer, f"layer {number}")

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


def listed(document: Mapping[str, Any], key: str, place: str) -> tuple[Descriptor, ...]:
    """Read the blobs that a manifest's ``layers`` or an index's ``manifests`` are.

    Raises:
        ImageError: It has no such list, or a member of it is no descriptor.
    """
    found = document.get(key)
    if not isinstance(found, list):
        raise ImageError(
            f"{place} has no list of {key}, found {found!r:.100}: it is damaged, or no document of an image."
        )
    return tuple(parse_descriptor(each, f"{place}, {key}") for each in found)


def blobs_of(manifest: Mapping[str, Any], place: str) -> tuple[Descriptor, ...]:
    """Read what an image consists of: its configuration, then its layers.

    Raises:
        ImageError: The manifest is none of an image.
    """
    return (parse_descriptor(manifest.get("config"), place), *listed(manifest, "layers", place))


def _merge(old: tuple[Descriptor, ...], new: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
    """Entries by digest and name; a name moves to what carries it last.

    What had the name stays without it: a version's tags may still name its digest. The sweep takes it when none does.
    """
    names = {entry.reference for entry in new if entry.reference}
    moved = [_without(entry, REFERENCE) if entry.reference in names else entry for entry in old]
    kept = {(entry.digest, entry.reference): entry for entry in (*moved, *new)}
    named = {digest for digest, reference in kept if reference}
    stays = [key for key in kept if key[1] or key[0] not in named]
    return tuple(kept[key] for key in sorted(stays, key=lambda key: (key[1] or "", key[0])))


def _without(entry: Descriptor, annotation: str) -> Descriptor:
    return replace(entry, annotations={key: text for key, text in entry.annotations.items() if key != annotation})


def _holds_something(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
