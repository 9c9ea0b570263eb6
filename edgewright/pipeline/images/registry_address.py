"""What people call an image in a registry: host, repository, tag and digest in one word."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from edgewright.errors import ImageError
from edgewright.pipeline.images.descriptor import check_digest

_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PLAIN, _WITH_TLS = "http://", "https://"


@dataclass(frozen=True)
class Address:
    """A repository of a registry, or an image in it.

    Attributes:
        host: The registry, with its port; empty for the one that engines ask when a name has no host.
        repository: The repository.
        tag: A name that may move; empty for none.
        digest: What is meant, whatever moves; empty for none.
        is_plain: Whether it is asked by HTTP without TLS, as ``http://`` before the host says.
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""
    is_plain: bool = False

    @property
    def pull(self) -> str:
        """What an engine pulls: by digest where it is known."""
        name = f"{self.host}/{self.repository}" if self.host else self.repository
        return f"{name}@{self.digest}" if self.digest else f"{name}:{self.tag}" if self.tag else name

    def below(self, name: str) -> Address:
        """A repository below this one."""
        return replace(self, repository=f"{self.repository}/{name}" if self.repository else name, tag="", digest="")


def parse_address(text: str) -> Address:
    """Read an image's address: ``[http://][host[:port]/]repository[:tag][@sha256:…]``.

    Raises:
        ImageError: It is none.
    """
    return _parse(text, may_be_host=False, needed="[http://][host[:port]/]repository[:tag][@sha256:…], in lower case")


def parse_push_address(text: str) -> Address:
    """Read where repositories are pushed to: ``[http://]host[:port][/path]``; each gets its own below, with its tag.

    Raises:
        ImageError: It is none, or names an image.
    """
    needed = "[http://]host[:port][/path], in lower case: repository, tag and digest come with each image"
    address = _parse(text, may_be_host=True, needed=needed)
    if address.tag or address.digest:
        raise ImageError(f"{text!r:.200} names one image, and no place to push images to: needed is {needed}.")
    return address


def _parse(text: str, *, may_be_host: bool, needed: str) -> Address:
    rest = text.removeprefix(_PLAIN if text.startswith(_PLAIN) else _WITH_TLS).rstrip("/")
    rest, at, digest = rest.partition("@")
    first, slash, below = rest.partition("/")
    is_host = bool(slash or may_be_host) and ("." in first or ":" in first or first == "localhost" or may_be_host)
    host, path = (first, below) if is_host else ("", rest)
    repository, colon, tag = path.partition(":")
    is_right = (
        (not host or _is_host(host))
        and (host or not may_be_host)
        and (_REPOSITORY.fullmatch(repository) or (may_be_host and not repository))
        and (not colon or _TAG.fullmatch(tag))
    )
    if not is_right:
        raise ImageError(f"{text!r:.200} names no image of a registry, nor a place there: needed is {needed}.")
    if at:
        check_digest(digest, text)
    return Address(host, repository, tag, digest, text.startswith(_PLAIN))


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    port = (found[1] or found[2]) if found else None
    return found is not None and (port is None or 1 <= int(port[1:]) <= 65_535)
