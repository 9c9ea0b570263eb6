"""Where a device keeps its bundles: by digest, with one link that says which of them serves.

```
DIR/bundles/<sha256>/    verified bundles
DIR/partial/<sha256>/    what an interrupted pull has brought so far
DIR/records/<sha256>.json  where a bundle came from and since when, or why it was refused
DIR/current, reference   links to bundles; replacing one is the only step that changes what serves
```
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from edgewright.bundle import Bundle, read_bundle
from edgewright.bundle_file import SHA256_PATTERN
from edgewright.durable import flush_folder, replace_file, replace_link
from edgewright.errors import BundleError
from edgewright.machine_lock import exclusive_lock
from edgewright.strict_json import Fields, dump_json, load_json

CURRENT = "current"
REFERENCE = "reference"
_LOCK_DEADLINE_S = 60.0
_REFUSALS_KEPT = 10
_RECORD_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Record:
    """What the device knows about a bundle beside its contents.

    Attributes:
        bundle_sha256: The bundle's identity.
        outcome: ``installed`` or ``refused``.
        reason: Why it was refused; or what proved it.
        model: Name of the model.
        target: The target.
        version: Version in the registry.
        alias: The alias or number that was asked for.
        registry_url: Where it came from.
        at: When, in UTC, ``2030-01-31T12:00:00Z``.
    """

    bundle_sha256: str
    outcome: str
    reason: str
    model: str
    target: str
    version: str
    alias: str
    registry_url: str
    at: str


class BundleStore:
    """The bundles in one folder of a device."""

    def __init__(self, root: Path) -> None:
        """Look at a folder, which need not exist yet."""
        self.root = root
        self._bundles = root / "bundles"
        self._partial = root / "partial"
        self._records = root / "records"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other pulls off this folder; reading needs no lock.

        Raises:
            BundleError: Another pull has been at work for too long.
        """
        for folder in (self._bundles, self._partial, self._records):
            folder.mkdir(parents=True, exist_ok=True)
        lock = self.root / ".lock"
        with exclusive_lock(
            lock,
            _LOCK_DEADLINE_S,
            lambda holder: BundleError(
                f"{self.root} is being changed by process {holder}, waited {_LOCK_DEADLINE_S:.0f} s: try again later."
            ),
        ):
            yield

    def linked_sha256(self, link: str = CURRENT) -> str | None:
        """Give the digest of the bundle that a link points at, or None without such a link."""
        path = self.root / link
        if not path.is_symlink():
            return None
        name = path.readlink().name
        return name if SHA256_PATTERN.fullmatch(name) else None

    def open_linked(self, link: str = CURRENT) -> Bundle:
        """Read and verify the bundle that a link points at.

        Raises:
            BundleError: There is none, or it is damaged.
        """
        sha256 = self.linked_sha256(link)
        if sha256 is None:
            raise BundleError(f"{self.root} has no {link} bundle: pull one first (edgewright-agent pull).")
        return read_bundle(self._bundles / sha256, sha256)

    def find_intact(self, sha256: str) -> Bundle | None:
        """Give an installed bundle, or None when it is not here or was damaged."""
        try:
            return read_bundle(self._bundles / sha256, sha256)
        except BundleError:
            return None  # the caller fetches it anew, which is the remedy

    def staging_folder(self, sha256: str) -> Path:
        """Give the folder in which a bundle grows while it is pulled."""
        folder = self._partial / sha256
        folder.mkdir(exist_ok=True)
        return folder

    def install(self, sha256: str) -> Bundle:
        """Verify a grown bundle as a whole and move it to its place.

        Raises:
            BundleError: It breaks its manifest; what was brought is deleted.
        """
        staging, final = self._partial / sha256, self._bundles / sha256
        try:
            read_bundle(staging, sha256)
        except BundleError:
            shutil.rmtree(staging)
            raise
        flush_folder(staging)
        if final.exists():  # damaged, or it would not have been pulled again
            shutil.rmtree(final)
        staging.rename(final)
        flush_folder(self._bundles)
        return read_bundle(final, sha256)

    def switch(self, link: str, sha256: str) -> None:
        """Let a link point at an installed bundle: one atomic step."""
        replace_link(self.root / link, f"bundles/{sha256}")

    def discard(self, sha256: str) -> None:
        """Delete a bundle that was refused, and what was brought of it, unless it serves."""
        shutil.rmtree(self._partial / sha256, ignore_errors=True)
        if sha256 not in (self.linked_sha256(CURRENT), self.linked_sha256(REFERENCE)):
            shutil.rmtree(self._bundles / sha256, ignore_errors=True)

    def write_record(self, record: Record) -> None:
        """Remember where a bundle came from, or why it was refused."""
        replace_file(self._records / f"{record.bundle_sha256}.json", dump_json(asdict(record)))

    def read_record(self, sha256: str) -> Record | None:
        """Give what is remembered about a bundle.

        Raises:
            BundleError: The record is damaged.
        """
        path = self._records / f"{sha256}.json"
        if not path.exists():
            return None
        with path.open("rb") as stream:
            fields = Fields(load_json(stream.read(_RECORD_MAX_BYTES), str(path), BundleError), str(path), BundleError)
        record = Record(**{name: fields.text(name) for name in Record.__dataclass_fields__})
        fields.end()
        return record

    def refusals(self) -> tuple[Record, ...]:
        """Give what was refused, the latest first."""
        names = sorted(path.stem for path in self._records.glob("*.json")) if self._records.is_dir() else []
        records = [record for name in names if (record := self.read_record(name)) and record.outcome == "refused"]
        return tuple(sorted(records, key=lambda record: record.at, reverse=True))

    def interrupted(self) -> tuple[str, ...]:
        """Give the digests of bundles whose pull was interrupted."""
        return tuple(sorted(path.name for path in self._partial.iterdir())) if self._partial.is_dir() else ()

    def tidy(self, *keep: str | None) -> None:
        """Delete everything but some bundles and the latest refusals' records: a device's disk is small."""
        for path in (*self._bundles.iterdir(), *self._partial.iterdir()):
            if path.name not in keep:
                shutil.rmtree(path)
        refused = [record.bundle_sha256 for record in self.refusals()[:_REFUSALS_KEPT]]
        for path in self._records.glob("*.json"):
            if path.stem not in (*keep, *refused):
                path.unlink()
