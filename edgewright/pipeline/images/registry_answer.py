"""What a registry answers and is sent, within bounds: no document grows or lasts for ever, and no blob trickles."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.errors import ImageError

DOCUMENT_MOST_BYTES = 8 << 20
DOCUMENT_MOST_S = 60.0
LEAST_BYTES_PER_S = 1024
WINDOW_S = 30.0
_READ_BYTES = 1 << 16


@dataclass(frozen=True)
class Answer:
    """An answer that was read.

    Attributes:
        method: What was asked.
        url: Who answered, after redirections.
        status: HTTP's number.
        headers: Headers, whatever the case of their names.
        content: The body; empty where somebody else took it.
    """

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body's beginning for people."""
        return self.content[:1000].decode("utf-8", "replace").strip()[:200]


class _Pace:
    """Counts what moves, and ends what moves too slowly."""

    def __init__(self) -> None:
        self._since_s, self._bytes = time.monotonic(), 0

    def moved(self, count: int) -> None:
        """Count.

        Raises:
            requests.exceptions.Timeout: It was less than a registry's line must carry.
        """
        from requests.exceptions import Timeout

        self._bytes += count
        if (took_s := time.monotonic() - self._since_s) < WINDOW_S:
            return
        if self._bytes < LEAST_BYTES_PER_S * took_s:
            raise Timeout(f"{self._bytes} bytes in {took_s:.0f} s are less than {LEAST_BYTES_PER_S} bytes per second")
        self._since_s, self._bytes = time.monotonic(), 0


class PacedFile:
    """A file that is sent; a registry that takes it too slowly ends it."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._file, self._size_bytes, self._pace = path.open("rb"), size_bytes, _Pace()

    def __len__(self) -> int:
        return self._size_bytes

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(_READ_BYTES):
            yield data

    def read(self, size: int = -1) -> bytes:
        """Give the next part."""
        data = self._file.read(size)
        self._pace.moved(len(data))
        return data

    def close(self) -> None:
        """Close it."""
        self._file.close()


def read_document(response: Any) -> bytes:
    """Read an answer's whole body.

    Raises:
        ImageError: It is longer than any document.
        requests.exceptions.RequestException: It broke off, or takes longer than `DOCUMENT_MOST_S`.
    """
    from requests.exceptions import Timeout

    data, until_s = bytearray(), time.monotonic() + DOCUMENT_MOST_S
    for part in _parts(response):
        data += part
        if len(data) > DOCUMENT_MOST_BYTES:
            raise ImageError(
                f"{response.url.partition('?')[0]} answers with more than {DOCUMENT_MOST_BYTES} bytes: no document of a "
                f"registry is so long. Look at what is at that address."
            )
        if time.monotonic() > until_s:
            raise Timeout(f"{len(data)} bytes came in {DOCUMENT_MOST_S:.0f} s, and no end of the document")
    return bytes(data)


def blob_parts(response: Any) -> Iterator[bytes]:
    """Give a blob's parts as they come.

    Raises:
        requests.exceptions.RequestException: It broke off, or comes slower than `LEAST_BYTES_PER_S`.
    """
    pace = _Pace()
    for part in _parts(response):
        pace.moved(len(part))
        yield part


def _parts(response: Any) -> Iterator[bytes]:
    """What has arrived, at once: who waits for full parts cannot look at the clock."""
    from requests.exceptions import ConnectionError as BrokenError
    from urllib3.exceptions import HTTPError

    if (coding := response.headers.get("Content-Encoding", "identity").lower()) != "identity":
        raise ImageError(f"{response.url.partition('?')[0]} answers in {coding!r:.50}, which was not asked for.")
    try:
        while part := response.raw.read1(_READ_BYTES, decode_content=False):
            yield part
    except (HTTPError, OSError) as cause:
        raise BrokenError(str(cause)) from cause
