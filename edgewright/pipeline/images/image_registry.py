"""Images to and from a registry, by oras-py: every blob by its digest, none twice, and what was pushed is read back.

A push that broke off goes on where it was: what the registry has is not sent again. Tags come last, so that nobody pulls half
an image. Credentials are ``$EDGEWRIGHT_REGISTRY_USERNAME`` and ``$EDGEWRIGHT_REGISTRY_PASSWORD``, else what ``docker login``
left.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
    parse_descriptor,
    parse_json,
    to_bytes,
)
from edgewright.pipeline.images.layout_writer import no_room
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import Platform
from edgewright.pipeline.images.registry_address import Address
from edgewright.pipeline.images.registry_session import open_session

_ACCEPTED = ", ".join((*MANIFESTS, *INDEXES))
_DOCUMENT_MOST_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 20
_GOOD = (200, 201, 202)


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
    """One repository of a registry."""

    def __init__(self, address: Address, environment: Mapping[str, str] = os.environ) -> None:
        """Prepare, and settle how it wants to be asked.

        Raises:
            ImageError: It does not answer, or is no registry.
        """
        self.address = address
        self._sent = self._known = 0
        with self._errors("asked"):
            self._session = open_session(address, environment)

    def push(self, layout: OciLayout, reference: str, tag: str) -> Pushed:
        """Bring an image or an index there with all that belongs to it, then name it, then read it back.

        Args:
            layout: Where it lies.
            reference: Its name or digest there.
            tag: What the registry shall call it.

        Raises:
            IntegrityError: A blob of it is damaged here, or something else came back.
            ImageError: The registry refuses, or broke off: push again, it goes on.
        """
        entry, self._sent, self._known = layout.find(reference), 0, 0
        with self._errors(f"pushing {reference}"):
            for image in layout.images(entry) or (entry,):
                self._push_manifest(layout, image)
                for attached in layout.attached(image.digest):
                    has_referrers = self._push_manifest(layout, attached)
                    if not has_referrers:
                        self._list_referrer(image, attached)
            data = layout.read(entry, "index")
            self._put(entry.digest, entry.media_type, data)
            self.verify(entry)
            self._put(tag, entry.media_type, data)
        return Pushed(replace(self.address, tag="", digest=entry.digest), tag, self._sent, self._known)

    def verify(self, entry: Descriptor) -> None:
        """Read an image or an index back, and ask for every blob of it.

        Raises:
            IntegrityError: Something else came back, or a blob is not there.
        """
        document = parse_json(self._get(entry.digest, entry), "manifest")
        if entry.media_type in INDEXES:
            for each in document.get("manifests", ()):
                self.verify(parse_descriptor(each, f"index {entry.digest}"))
            return
        for each in (document.get("config"), *document.get("layers", ())):
            blob = parse_descriptor(each, f"manifest {entry.digest}")
            if not self._has(blob):
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
        with self._errors(f"pulling {self.address.pull}"):
            top = self._get(self.address.digest or self.address.tag or "latest")
            if self.address.digest and digest_of_bytes(top) != self.address.digest:
                raise IntegrityError(f"{self.address.pull} came with the digest {digest_of_bytes(top)}: do not use it.")
            document, data = parse_json(top, self.address.pull), top
            if "manifests" in document:
                found = [parse_descriptor(each, self.address.pull) for each in document["manifests"]]
                chosen = next((each for each in found if platform.matches(each.platform or {})), None)
                if chosen is None:
                    raise ImageError(f"{self.address.pull} has no image for {platform.name}.")
                data = self._get(chosen.digest, chosen)
                document = parse_json(data, chosen.digest)
            with layout.writing() as writer, tempfile.TemporaryDirectory(prefix="edgewright-pull-") as folder:
                for each in (document.get("config"), *document.get("layers", ())):
                    blob = parse_descriptor(each, self.address.pull)
                    if not _is_here(layout, blob):
                        writer.add_copy(self._fetch(blob, Path(folder) / "blob"), blob)
                added = writer.add(str(document.get("mediaType") or MANIFESTS[0]), data)
                name = f"{self.address.pull}, {platform.name}"
                entry = replace(added, platform=platform.oci, annotations={REFERENCE: name})
                writer.entries.append(entry)
        return entry

    def _push_manifest(self, layout: OciLayout, entry: Descriptor) -> bool:
        """Push an image's or an attachment's blobs and its manifest; whether the registry lists attachments itself."""
        document = layout.document(entry, "manifest")
        for each in (document.get("config"), *document.get("layers", ())):
            self._push_blob(layout, parse_descriptor(each, f"manifest {entry.digest}"))
        answer = self._put(entry.digest, entry.media_type, layout.read(entry, "manifest"))
        return "OCI-Subject" in answer.headers

    def _push_blob(self, layout: OciLayout, blob: Descriptor) -> None:
        path = layout.check(blob, "blob")
        if self._has(blob):
            self._known += blob.size_bytes
            return
        place = self._location(self._ask("POST", "blobs/uploads/", headers={"Content-Length": "0"}))
        joint = "&" if "?" in place else "?"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size_bytes)}
        self._asked("PUT", f"{place}{joint}digest={blob.digest}", headers=headers, body=lambda: path.open("rb"))
        self._sent += blob.size_bytes

    def _list_referrer(self, image: Descriptor, attached: Descriptor) -> None:
        """List an attachment under the tag that the format names for registries that do not know of attachments."""
        tag = image.digest.replace(":", "-")
        answer = self._session.ask("GET", f"manifests/{tag}", {"Accept": INDEX})
        known = parse_json(answer.content, tag).get("manifests", []) if answer.status_code == 200 else []
        entry = attached.to_json()
        if entry not in known:
            listed = sorted([*known, entry], key=lambda each: str(each.get("digest")))
            self._put(tag, INDEX, to_bytes({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}))

    def _has(self, blob: Descriptor) -> bool:
        answer = self._session.ask("HEAD", f"blobs/{blob.digest}")
        return answer.status_code == 200 and int(answer.headers.get("Content-Length", -1)) == blob.size_bytes

    def _put(self, name: str, media_type: str, data: bytes) -> Any:
        self._sent += len(data)
        return self._ask("PUT", f"manifests/{name}", headers={"Content-Type": media_type}, body=lambda: data)

    def _get(self, name: str, promised: Descriptor | None = None) -> bytes:
        data: bytes = self._ask("GET", f"manifests/{name}", headers={"Accept": _ACCEPTED}).content
        if len(data) > _DOCUMENT_MOST_BYTES:
            raise ImageError(f"{self.address.pull}: {name} has {len(data)} bytes: it is no manifest.")
        return data if promised is None else promised.check(data, f"{self.address.pull}: {name}")

    def _fetch(self, blob: Descriptor, path: Path) -> Path:
        answer = self._ask("GET", f"blobs/{blob.digest}", stream=True)
        left = blob.size_bytes
        with answer, path.open("wb") as file, no_room(path.parent):
            for chunk in answer.iter_content(_CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    raise IntegrityError(f"{self.address.pull}: blob {blob.digest} is longer than promised.")
                file.write(chunk)
        return path

    def _ask(self, method: str, place: str, **more: Any) -> Any:
        return self._checked(method, place, self._session.ask(method, place, **more))

    def _asked(self, method: str, url: str, headers: dict[str, str], body: Callable[[], Any]) -> Any:
        return self._checked(method, url, self._session.ask_url(method, url, headers, body))

    def _checked(self, method: str, place: str, answer: Any) -> Any:
        if answer.status_code in _GOOD:
            return answer
        said = answer.text.strip()[:200]
        remedy = ""
        if answer.status_code in (401, 403):
            remedy = " Set EDGEWRIGHT_REGISTRY_USERNAME and EDGEWRIGHT_REGISTRY_PASSWORD, or docker login."
        raise ImageError(
            f"the registry of {self.address.pull} answered {answer.status_code} to {method} {place.partition('?')[0]}: "
            f"{said}.{remedy}"
        )

    def _location(self, answer: Any) -> str:
        place = str(answer.headers.get("Location", ""))
        if not place:
            raise ImageError(f"the registry of {self.address.pull} did not say where to upload to.")
        return self._session.absolute(place)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        from requests.exceptions import RequestException

        try:
            yield
        except RequestException as cause:
            reason = (str(cause).splitlines() or [type(cause).__name__])[0][:300]
            raise ImageError(
                f"the registry of {self.address.pull} broke off while it was {doing}: {reason}. Do it again: what it has is "
                f"not sent twice."
            ) from cause


def _is_here(layout: OciLayout, blob: Descriptor) -> bool:
    try:
        layout.check(blob, "blob")
    except IntegrityError:
        return False
    return True
