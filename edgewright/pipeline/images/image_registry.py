"""Images to and from a registry: every blob by its digest, none twice, and what was pushed is read back.

A push that broke off goes on where it was: what the registry has is not sent again. Tags come last, so that nobody pulls half
an image. Who asks is said by who pushes (`account_of_environment`), else by what ``docker login`` left for that registry: an
account for one registry is nobody's at another.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgewright.errors import ImageError, IntegrityError
from edgewright.pipeline.images.descriptor import (
    INDEX,
    INDEXES,
    MANIFESTS,
    REFERENCE,
    Descriptor,
    digest_of_bytes,
    parse_json,
    to_bytes,
)
from edgewright.pipeline.images.oci_layout import OciLayout, blobs_of, listed
from edgewright.pipeline.images.platform import Platform
from edgewright.pipeline.images.registry_account import Account
from edgewright.pipeline.images.registry_address import Address
from edgewright.pipeline.images.registry_answer import Answer
from edgewright.pipeline.images.registry_repository import RegistryRepository


@dataclass(frozen=True)
class Pushed:
    """What a push came to.

    Attributes:
        address: What to pull, by digest.
        tag: The tag that leads there, too.
        sent_bytes: What was sent: blobs and documents that the registry did not have.
        known_bytes: Blobs that it had.
    """

    address: Address
    tag: str
    sent_bytes: int
    known_bytes: int


class ImageRegistry:
    """Images in one repository of a registry."""

    def __init__(self, address: Address, account: Account | None = None) -> None:
        """Prepare, and find out whether a registry is there.

        Args:
            address: The repository.
            account: Who asks; None for whom ``docker login`` left for that registry, or nobody.

        Raises:
            ImageError: It does not answer, or is no registry.
        """
        self.address = address
        self._sent = self._known = 0
        self._fresh: list[Descriptor] = []
        self._repository = RegistryRepository(address, account)

    def check_may_push(self) -> None:
        """Begin an upload and give it up again: so it shows before hours of work whether the registry takes any.

        Raises:
            ImageError: The registry refuses, or broke off.
        """
        with self._repository.errors("asked"):
            self._repository.begin_and_give_up()

    def push(self, layout: OciLayout, reference: str, tag: str) -> Pushed:
        """Bring an image or an index there with all that belongs to it, read it back, then name it.

        Documents are read back, and the blobs that were sent; of those that were there their size is asked.

        Args:
            layout: Where it lies.
            reference: Its name or digest there.
            tag: What the registry shall call it.

        Raises:
            IntegrityError: A blob of it is damaged here, or something else came back.
            ImageError: The registry refuses, or broke off: push again, it goes on.
        """
        entry, self._sent, self._known, self._fresh = layout.find(reference), 0, 0, []
        attachments: list[Descriptor] = []
        with self._repository.errors(f"pushing {reference}"):
            for image in layout.images(entry) or (entry,):
                self._push_manifest(layout, image)
                for attached in layout.attached(image.digest):
                    attachments.append(attached)
                    has_referrers = self._push_manifest(layout, attached)
                    if not has_referrers:
                        self._list_referrer(image, attached)
            data = layout.read(entry, "index")
            self._put(entry.digest, entry.media_type, data)
            for each in (entry, *attachments):
                self.verify(each)
            for blob in self._fresh:
                self._repository.check(blob)
            self._put(tag, entry.media_type, data)
        return Pushed(replace(self.address, tag="", digest=entry.digest), tag, self._sent, self._known)

    def verify(self, entry: Descriptor) -> None:
        """Read an image or an index back, and ask for every blob of it.

        Raises:
            IntegrityError: Something else came back, or a blob is not there.
        """
        document = parse_json(self._repository.document(entry.digest, entry), "manifest")
        if entry.media_type in INDEXES:
            for each in listed(document, "manifests", f"index {entry.digest}"):
                self.verify(each)
            return
        for blob in blobs_of(document, f"manifest {entry.digest}"):
            if not self._repository.has(blob):
                raise IntegrityError(f"{self.address.pull} holds no blob {blob.digest} by now: push again.")

    def pull(self, layout: OciLayout, platform: Platform) -> Descriptor:
        """Bring the image of a platform here: the address's digest decides, else its tag.

        Args:
            layout: Where to; blobs that are there are not fetched.
            platform: Which one of an index.

        Returns:
            The image's entry in the layout, which has a name there.

        Raises:
            IntegrityError: What came is not what its digest says.
            ImageError: The registry refuses, or has none for the platform.
            DiskFullError: There is no room.
        """
        with self._repository.errors(f"pulling {self.address.pull}"):
            top = self._repository.document(self.address.digest or self.address.tag or "latest")
            if self.address.digest and digest_of_bytes(top) != self.address.digest:
                raise IntegrityError(f"{self.address.pull} came with the digest {digest_of_bytes(top)}: do not use it.")
            document, data = parse_json(top, self.address.pull), top
            if "manifests" in document:
                found = listed(document, "manifests", self.address.pull)
                chosen = next((each for each in found if platform.matches(each.platform or {})), None)
                if chosen is None:
                    raise ImageError(f"{self.address.pull} has no image for {platform.name}.")
                data = self._repository.document(chosen.digest, chosen)
                document = parse_json(data, chosen.digest)
            with layout.writing() as writer, tempfile.TemporaryDirectory(prefix="edgewright-pull-") as folder:
                for blob in blobs_of(document, self.address.pull):
                    if not _is_here(layout, blob):
                        writer.add_copy(self._repository.fetch(blob, Path(folder) / "blob"), blob)
                added = writer.add(str(document.get("mediaType") or MANIFESTS[0]), data)
                name = f"{self.address.pull}, {platform.name}"
                entry = replace(added, platform=platform.oci, annotations={REFERENCE: name})
                writer.entries.append(entry)
        return entry

    def _push_manifest(self, layout: OciLayout, entry: Descriptor) -> bool:
        """Push an image's or an attachment's blobs and its manifest; whether the registry lists attachments itself."""
        for blob in blobs_of(layout.document(entry, "manifest"), f"manifest {entry.digest}"):
            self._push_blob(layout, blob)
        answer = self._put(entry.digest, entry.media_type, layout.read(entry, "manifest"))
        return "OCI-Subject" in answer.headers

    def _push_blob(self, layout: OciLayout, blob: Descriptor) -> None:
        path = layout.check(blob, "blob")
        if self._repository.has(blob):
            self._known += blob.size_bytes if blob not in self._fresh else 0
            return
        self._repository.upload(blob, path)
        self._sent += blob.size_bytes
        self._fresh.append(blob)

    def _put(self, name: str, media_type: str, data: bytes) -> Answer:
        self._sent += len(data)
        return self._repository.put_document(name, media_type, data)

    def _list_referrer(self, image: Descriptor, attached: Descriptor) -> None:
        """List an attachment under the tag that the format names for registries that do not know of attachments."""
        tag = image.digest.replace(":", "-")
        there = self._repository.document_if_any(tag)
        document: dict[str, Any] = {"manifests": []} if there is None else parse_json(there, tag)
        if attached.digest not in {each.digest for each in listed(document, "manifests", tag)}:
            entries = sorted([*document["manifests"], attached.to_json()], key=lambda each: str(each["digest"]))
            self._put(tag, INDEX, to_bytes({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))


def _is_here(layout: OciLayout, blob: Descriptor) -> bool:
    try:
        layout.check(blob, "blob")
    except IntegrityError:
        return False
    return True
