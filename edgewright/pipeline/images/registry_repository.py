"""One repository of a registry: its blobs and documents, each by its digest, and what to do where it refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgewright.errors import ImageError, IntegrityError
from edgewright.pipeline.images.descriptor import INDEXES, MANIFESTS, Descriptor
from edgewright.pipeline.images.layout_writer import no_room
from edgewright.pipeline.images.registry_account import PASSWORD, USERNAME, Account
from edgewright.pipeline.images.registry_address import Address
from edgewright.pipeline.images.registry_answer import Answer, PacedFile, blob_parts
from edgewright.pipeline.images.registry_session import AGAIN, GOOD, open_session

_ACCEPTED = ", ".join((*MANIFESTS, *INDEXES))
_LOST = 404  # of an upload: the registry forgot it, or it ended with its line
_ON = "Do it again: what it has is not sent twice."


class RegistryRepository:
    """Asks it, and names it in every error."""

    def __init__(self, address: Address, account: Account | None = None) -> None:
        """Prepare, and find out whether a registry is there; see `open_session`.

        Raises:
            ImageError: It does not answer, or is no registry.
        """
        self.name = address.pull
        with self.errors("asked"):
            self._session = open_session(address, account)

    def begin_and_give_up(self) -> None:
        """Begin an upload, which only who may push can, and give it up.

        Raises:
            ImageError: The registry refuses.
        """
        begun = self._checked(self._session.ask("POST", "blobs/uploads/"))
        self._session.once("DELETE", self._location(begun))

    def has(self, blob: Descriptor) -> bool:
        """Whether it says that it holds a blob, of that size."""
        answer = self._session.ask("HEAD", f"blobs/{blob.digest}")
        return answer.status == 200 and answer.headers.get("Content-Length") == str(blob.size_bytes)

    def upload(self, blob: Descriptor, path: Path) -> None:
        """Send a blob.

        Args:
            blob: Which.
            path: Where it lies here.

        Raises:
            ImageError: The registry refuses.
        """

        def begin_and_send() -> Answer:
            """An upload that broke off is begun anew: the registry may not know it any more."""
            begun = self._session.once("POST", "blobs/uploads/")
            if begun.status not in GOOD:
                return begun
            place = self._location(begun)
            place += f"{'&' if '?' in place else '?'}digest={blob.digest}"
            headers = {"Content-Type": "application/octet-stream"}
            return self._session.once("PUT", place, headers, lambda: PacedFile(path, blob.size_bytes))

        self._checked(self._session.patiently(begin_and_send, (*AGAIN, _LOST)))

    def fetch(self, blob: Descriptor, path: Path) -> Path:
        """Bring a blob here; its digest is still to be compared.

        Raises:
            IntegrityError: It is longer than promised.
            ImageError: The registry refuses.
            DiskFullError: There is no room.
        """

        def write(response: Any) -> bytes:
            with path.open("wb") as file, no_room(path.parent):
                for part in self._limited(response, blob):
                    file.write(part)
            return b""

        self._checked(self._session.ask("GET", f"blobs/{blob.digest}", read=write))
        return path

    def check(self, blob: Descriptor) -> None:
        """Compare a blob that was sent with its digest, as the registry gives it now.

        Raises:
            IntegrityError: It gives something else.
            ImageError: The registry refuses.
        """

        def digest(response: Any) -> bytes:
            found = hashlib.sha256()
            for part in self._limited(response, blob):
                found.update(part)
            return found.digest()

        answer = self._checked(self._session.ask("GET", f"blobs/{blob.digest}", read=digest))
        if answer.content.hex() != blob.sha256:
            raise IntegrityError(
                f"{self.name} gives other bytes for blob {blob.digest} than it was sent: nothing was named. Look after the "
                f"registry's disk, remove the blob there, and push again."
            )

    def put_document(self, name: str, media_type: str, data: bytes) -> Answer:
        """Put a manifest or an index under its digest or a tag.

        Raises:
            ImageError: The registry refuses.
        """
        headers = {"Content-Type": media_type}
        return self._checked(self._session.ask("PUT", f"manifests/{name}", headers, lambda: data))

    def document(self, name: str, promised: Descriptor | None = None) -> bytes:
        """Get a manifest or an index.

        Args:
            name: Its digest or a tag.
            promised: What it must be.

        Raises:
            IntegrityError: It is something else.
            ImageError: There is none.
        """
        data = self._checked(self._session.ask("GET", f"manifests/{name}", {"Accept": _ACCEPTED})).content
        return data if promised is None else promised.check(data, f"{self.name}: {name}")

    def document_if_any(self, name: str) -> bytes | None:
        """Get a manifest or an index; None where there is none.

        Raises:
            ImageError: The registry refuses.
        """
        answer = self._session.ask("GET", f"manifests/{name}", {"Accept": _ACCEPTED})
        return None if answer.status == 404 else self._checked(answer).content

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Say a line that broke off as an error of this repository.

        Raises:
            ImageError: In place of the line's error.
        """
        from requests.exceptions import RequestException

        try:
            yield
        except RequestException as cause:
            reason = (str(cause).splitlines() or [type(cause).__name__])[0][:300]
            raise ImageError(f"the registry of {self.name} broke off while it was {doing}: {reason}. {_ON}") from cause

    def _limited(self, response: Any, blob: Descriptor) -> Iterator[bytes]:
        """A blob's parts, no more of them than were promised."""
        left = blob.size_bytes
        for part in blob_parts(response):
            left -= len(part)
            if left < 0:
                raise IntegrityError(f"{self.name}: blob {blob.digest} is longer than promised.")
            yield part

    def _checked(self, answer: Answer) -> Answer:
        if answer.status in GOOD:
            return answer
        remedy = ""
        if answer.status in (401, 403):
            remedy = f" Set {USERNAME} and {PASSWORD} for the registry that is pushed to, or docker login."
        elif answer.method in ("PUT", "POST"):
            remedy = f" {_ON}"
        raise ImageError(
            f"the registry of {self.name} answered {answer.status} to {answer.method} {answer.url.partition('?')[0]}: "
            f"{answer.text}.{remedy}"
        )

    def _location(self, answer: Answer) -> str:
        place = answer.headers.get("Location", "")
        if not place:
            raise ImageError(f"the registry of {self.name} did not say where to upload to.")
        return self._session.settled(place)
