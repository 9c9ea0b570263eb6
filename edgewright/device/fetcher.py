"""How python-tuf reaches the registry: through the device's own client, which bounds time, rate and length."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

from tuf.api.exceptions import DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient import FetcherInterface

from edgewright.device.registry_client import OversizeError, RegistryClient, ResourceMissingError, TransferError
from edgewright.errors import RegistryError

_NOT_FOUND = 404


class MetadataFetcher(FetcherInterface):
    """Fetches by path in the artifact store: what python-tuf calls a URL has the store's folder for its base.

    What the registry refuses or breaks off passes python-tuf as a TransferError, so that it is never taken for an
    answer; only a missing file is one (python-tuf learns from it that there is no newer root).
    """

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Fetch a file into memory; the original goes by way of a temporary file on the device's disk.

        Raises:
            DownloadHTTPError: There is none.
            DownloadLengthMismatchError: It is longer than allowed.
            TransferError: It cannot be fetched.
        """
        path = unquote(url)
        try:
            return self._client.read_artifact(path, max_length)
        except ResourceMissingError as cause:
            raise DownloadHTTPError(str(cause), _NOT_FOUND) from cause
        except OversizeError as cause:
            raise DownloadLengthMismatchError(str(cause)) from cause
        except TransferError:
            raise
        except RegistryError as cause:
            raise TransferError(str(cause)) from cause

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Not used: targets are downloaded by the device itself, with resume."""
        raise NotImplementedError(f"{url}: only metadata comes this way.")
