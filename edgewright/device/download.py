"""One file over an unreliable line: resumed where it broke off, never longer than promised, proved by its digest."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from edgewright.bundle_file import BundleFile
from edgewright.device.registry_client import (
    RegistryClient,
    ResourceMissingError,
    TransferError,
    TransferStoppedError,
)
from edgewright.durable import flush_file, resumed_file
from edgewright.errors import DiskFullError, IntegrityError

RESERVE_BYTES = 16 << 20
"""So much of the disk is left to everybody else."""

_FRUITLESS_ATTEMPTS = 4  # tries in a row that bring not a single new byte
_CONNECTING_S = 60.0  # beside the time that the client's minimum rate gives to the bytes
_READ_BYTES = 1 << 16
_RETRY_DELAY_S = 0.5  # after an attempt that brought something; it doubles with each that did not
_SLICE_S = 0.25


@dataclass
class Traffic:
    """What a pull cost.

    Attributes:
        downloaded_bytes: Contents that came over the line.
        resumed_bytes: Contents that an earlier, interrupted pull had left here.
    """

    downloaded_bytes: int = 0
    resumed_bytes: int = 0


def check_room(folder: Path, needed_bytes: int) -> None:
    """Refuse to begin what would fill the disk.

    Raises:
        DiskFullError: There is less room than needed and the reserve.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + RESERVE_BYTES:
        raise DiskFullError(
            f"{folder} has {free >> 20} MiB free, this release needs {needed_bytes >> 20} MiB and "
            f"{RESERVE_BYTES >> 20} MiB in reserve: make room there. What serves goes on."
        )


def download_file(
    client: RegistryClient,
    artifact_path: str,
    promise: BundleFile,
    folder: Path,
    traffic: Traffic,
) -> None:
    """Bring one promised file into a folder; an interrupted call leaves a ``.part`` file, from which the next goes on.

    The file's contents are flushed before it gets its name; the caller flushes the folder once all files are there.

    Args:
        client: The registry; its minimum rate bounds the time.
        artifact_path: Path of the file in the artifact store.
        promise: Name, digest and size that the manifest promises.
        folder: Where to put it.
        traffic: Counted up.

    Raises:
        IntegrityError: The registry sends other bytes than promised, or more of them.
        TransferStoppedError: The client shall stop.
        RegistryError: It cannot be reached, or breaks off again and again.
    """
    final, part = folder / promise.name, folder / f"{promise.name}.part"
    if final.exists():
        if _is_promised(final, promise):
            traffic.resumed_bytes += promise.size_bytes
            return
        final.unlink()
    inherited = _size(part)
    if inherited > promise.size_bytes:
        part.unlink()
        inherited = 0
    traffic.resumed_bytes += inherited
    _fill(client, artifact_path, promise, part, traffic)
    if not _is_promised(part, promise) and inherited:
        # What an earlier pull left may be torn by a power cut: only bytes that all came now can accuse the registry.
        traffic.resumed_bytes -= inherited
        part.unlink()
        _fill(client, artifact_path, promise, part, traffic)
    if not _is_promised(part, promise):
        part.unlink()
        raise IntegrityError(
            f"{artifact_path} from {client.url} does not have the sha256 {promise.sha256} that its manifest promises: "
            f"it was damaged or exchanged in the registry."
        )
    flush_file(part)
    part.rename(final)


def _fill(client: RegistryClient, artifact_path: str, promise: BundleFile, part: Path, traffic: Traffic) -> None:
    """Attempt until the part has the promised size."""
    give_up_at = time.monotonic() + _CONNECTING_S + promise.size_bytes / client.minimum_bytes_per_s
    fruitless, furthest = 0, _size(part)
    while (have := _size(part)) < promise.size_bytes:
        try:
            _attempt(client, artifact_path, promise, part, traffic, give_up_at)
            broken = TransferError(
                f"{artifact_path} from {client.url} ended after {_size(part)} of {promise.size_bytes} promised bytes."
            )
        except TransferError as error:
            broken = error
        except ResourceMissingError:
            if not have:
                raise
            part.unlink()  # the registry has fewer bytes than we do: start again
            broken = TransferError(f"{artifact_path} from {client.url} is shorter than promised.")
        if _size(part) >= promise.size_bytes:
            return
        if time.monotonic() > give_up_at:
            raise TransferError(
                f"{artifact_path} comes slower than {client.minimum_bytes_per_s:g} bytes/s: ask again to go on."
            )
        # Against the furthest ever: a file that is too short in the store would else be fetched again and again.
        fruitless = 0 if _size(part) > furthest else fruitless + 1
        furthest = max(furthest, _size(part))
        if fruitless >= _FRUITLESS_ATTEMPTS:
            raise broken
        _pause(client, _RETRY_DELAY_S * 2**fruitless)


def _attempt(
    client: RegistryClient, artifact_path: str, promise: BundleFile, part: Path, traffic: Traffic, give_up_at: float
) -> None:
    have = _size(part)
    with (
        client.open_artifact(artifact_path, have, promise.size_bytes) as answer,
        # A registry that ignores the wish to start later sends everything again.
        resumed_file(part, answer.start) as append,
    ):
        at = answer.start
        for chunk in answer.chunks():
            at += len(chunk)
            if at > promise.size_bytes:
                part.unlink()
                raise IntegrityError(
                    f"{artifact_path} from {client.url} is longer than the {promise.size_bytes} bytes that its "
                    f"manifest promises: it was exchanged in the registry."
                )
            append(chunk)
            traffic.downloaded_bytes += len(chunk)
            if time.monotonic() > give_up_at:
                return


def _pause(client: RegistryClient, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if client.should_stop():
            raise TransferStoppedError("the download was broken off: this program shall stop.")
        time.sleep(min(left, _SLICE_S))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_promised(path: Path, promise: BundleFile) -> bool:
    if _size(path) != promise.size_bytes:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest() == promise.sha256
