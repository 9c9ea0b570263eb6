"""How python-tuf reaches the registry: through the device's own client, which bounds time, rate and length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from tuf.api.exceptions import DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient import FetcherInterface

from edgewright.device.registry_client import (
    OversizeError,
    RegistryClient,
    ResourceMissingError,
    TransferError,
    TransferStoppedError,
)
from edgewright.errors import RegistryError

ROOT_MAX_BYTES, TIMESTAMP_MAX_BYTES, SNAPSHOT_MAX_BYTES, TARGETS_MAX_BYTES = 1 << 15, 1 << 14, 1 << 17, 1 << 20
"""Longest metadata by role: two thousand delegated roles take 800 kB of targets and 80 kB of snapshot."""
_MOST_BYTES = {
    "root.json": ROOT_MAX_BYTES,
    "timestamp.json": TIMESTAMP_MAX_BYTES,
    "snapshot.json": SNAPSHOT_MAX_BYTES,
}
# Lists, objects and further values: two thousand delegated roles, each with a key of its own, take 26,000.
_MOST_PARTS = {"root.json": 1 << 11, "timestamp.json": 1 << 10, "snapshot.json": 1 << 13}
_TARGETS_MOST_PARTS = 40_000
_NOT_FOUND = 404
_UPPER_SIGNATURE = re.compile(rb'"sig"\s*:\s*"[0-9a-f]*[A-F]')


class MetadataFetcher(FetcherInterface):
    """Fetches by path in the artifact store: what python-tuf calls a URL has the store's folder for its base.

    What the registry refuses or breaks off passes python-tuf as a TransferError, so that it is never taken for an
    answer; only a missing file is one (python-tuf learns from it that there is no newer root).

    python-tuf takes a length that is signed for the bound, and parses what it has not verified yet: whoever stole one key
    could fill the memory. So each role has bounds here that nobody can sign away, on its length and on what it holds.
    """

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Fetch a file into memory; the original goes by way of a temporary file on the device's disk.

        Raises:
            DownloadHTTPError: There is none.
            DownloadLengthMismatchError: It is longer than allowed, or nothing that could rightly be signed.
            TransferError: It cannot be fetched.
            TransferStoppedError: This process shall stop.
        """
        path = unquote(url)
        role = _role_file(path)
        try:
            data = self._client.read_artifact(path, min(max_length, _MOST_BYTES.get(role, TARGETS_MAX_BYTES)))
        except ResourceMissingError as cause:
            raise DownloadHTTPError(str(cause), _NOT_FOUND) from cause
        except OversizeError as cause:
            raise DownloadLengthMismatchError(str(cause)) from cause
        except (TransferError, TransferStoppedError):
            raise
        except RegistryError as cause:
            raise TransferError(str(cause)) from cause
        _check_parts(data, _MOST_PARTS.get(role, _TARGETS_MOST_PARTS), path)
        return data

    def _fetch(self, url: str) -> Iterator[bytes]:
        """What python-tuf's other ways of fetching begin with; the same bounds hold."""
        yield self.download_bytes(url, TARGETS_MAX_BYTES)


def _role_file(path: str) -> str:
    """Give a file's name without the number of its version: ``snapshot.json`` of ``7.snapshot.json``."""
    number, _, rest = path.rpartition("/")[2].partition(".")
    return rest if number.isdigit() else f"{number}.{rest}"


def _check_parts(data: bytes, most: int, path: str) -> None:
    """Refuse, before it is parsed, what would take many times its length in memory.

    Raises:
        DownloadLengthMismatchError: It is not ASCII, has more parts than signed metadata has, or a signature that
            nobody writes so.
    """
    parts = sum(map(data.count, (b"[", b"{", b",")))
    if parts > most or not data.isascii():
        raise DownloadLengthMismatchError(f"{path} has {parts} parts in {len(data)} bytes: it is no signed metadata")
    # A signature is a number: python-tuf takes its digits in either case. One form alone leaves no bit to flip.
    if _UPPER_SIGNATURE.search(data):
        raise DownloadLengthMismatchError(f"{path} has a signature in upper-case digits: nobody signs so")
