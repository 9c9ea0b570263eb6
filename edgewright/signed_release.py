"""What a release's signed metadata says: the workshop writes it, a device reads and obeys nothing else.

Metadata is The Update Framework's (TUF 1.0). The role ``<model>.<target>`` names the bundle's files as
``<model>.<target>/<file>`` with length and SHA-256; what a device must know beside that is the ``custom`` field of the
manifest's target and is signed with it. Where the files lie in the registry's artifact store is signed too, though the
store itself is not trusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgewright.bundle_file import FILE_NAME_PATTERN, MANIFEST_MAX_BYTES, MANIFEST_NAME, BundleFile
from edgewright.errors import IntegrityError
from edgewright.strict_json import Fields

REPOSITORY = "edgewright-updates"
"""Folder of the metadata in the registry's artifact store; the files are ``<REPOSITORY>/<version>.<role>.json``."""
SIGNED_AT = "x-edgewright-signed-at"
"""Field of a timestamp's and a root's signed part: when it was signed, UTC, ``2030-01-31T12:00:00Z``; a floor of time."""

_FORMAT = 1
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_NUMBERS = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}")
_SOURCE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}){0,15}")
_MOST_FILES = 16


def role_name(model: str, target: str) -> str:
    """Give the name of a registered model, which is also its role's."""
    return f"{model}.{target}"


@dataclass(frozen=True)
class Budget:
    """What a target allows its model; None where it sets no bound.

    Attributes:
        latency_p95_ms: 95th percentile of one answer's time.
        peak_memory_mib: Greatest resident memory of the process that answers.
    """

    latency_p95_ms: float | None = None
    peak_memory_mib: float | None = None


@dataclass(frozen=True)
class SignedRelease:
    """One release of a registered model, as signed.

    Attributes:
        model: Name of the model, e.g. ``digits``.
        target: Class of device, e.g. ``linux-x86``.
        version: Number of the model version in the registry.
        variant: How it was compressed.
        engine: Name of the engine that runs it.
        source: Folder of the bundle in the artifact store.
        minimum_agent: Oldest version of the agent that may install it, ``major.minor.patch``.
        budget: What the target allows.
        files: All files of the bundle, the manifest too, in order of their names.
    """

    model: str
    target: str
    version: int
    variant: str
    engine: str
    source: str
    minimum_agent: str
    budget: Budget
    files: tuple[BundleFile, ...]

    def __post_init__(self) -> None:
        """Refuse what no honest publisher writes.

        Raises:
            IntegrityError: A value breaks its rule.
        """
        for name in ("model", "target", "variant", "engine"):
            if not _WORD.fullmatch(getattr(self, name)):
                raise IntegrityError(f"signed release: {name} {getattr(self, name)!r} is no plain word.")
        if not _NUMBERS.fullmatch(self.minimum_agent):
            raise IntegrityError(f"signed release: minimum_agent {self.minimum_agent!r} is no version like 1.2.3.")
        if not _SOURCE.fullmatch(self.source) or ".." in self.source:
            raise IntegrityError(f"signed release: source {self.source[:80]!r} is no plain path in the artifact store.")
        names = [file.name for file in self.files]
        if names != sorted(set(names)) or MANIFEST_NAME not in names or len(names) > _MOST_FILES:
            raise IntegrityError(f"signed release: files must be in order, each once, with {MANIFEST_NAME}: {names}.")
        for file in self.files:
            if (objection := file.objection()) is not None:
                raise IntegrityError(f"signed release: {objection}.")
        if self.manifest.size_bytes > MANIFEST_MAX_BYTES:
            raise IntegrityError(f"signed release: the manifest is larger than {MANIFEST_MAX_BYTES} bytes.")

    @property
    def name(self) -> str:
        """Name of the registered model, and of the role."""
        return role_name(self.model, self.target)

    @property
    def manifest(self) -> BundleFile:
        """The promise about the manifest."""
        return next(file for file in self.files if file.name == MANIFEST_NAME)

    @property
    def bundle_sha256(self) -> str:
        """The bundle's identity: the manifest's digest."""
        return self.manifest.sha256

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(file.size_bytes for file in self.files)

    def target_path(self, file: str) -> str:
        """Give the name of a file among the role's targets."""
        return f"{self.name}/{file}"

    def custom(self) -> dict[str, Any]:
        """Give the ``custom`` field of the manifest's target."""
        return {
            "format": _FORMAT,
            "model": self.model,
            "target": self.target,
            "version": self.version,
            "variant": self.variant,
            "engine": self.engine,
            "source": self.source,
            "minimum_agent": self.minimum_agent,
            "budget": {
                "latency_p95_ms": self.budget.latency_p95_ms,
                "peak_memory_mib": self.budget.peak_memory_mib,
            },
            "files": [file.name for file in self.files],
        }


def custom_files(custom: object) -> tuple[str, ...]:
    """Give the names of the files that a manifest's target lists, to look their promises up.

    Raises:
        IntegrityError: There is no such list of plain names.
    """
    names = Fields(custom, "signed release", IntegrityError).texts("files")
    if len(names) > _MOST_FILES or not all(FILE_NAME_PATTERN.fullmatch(name) for name in names):
        raise IntegrityError(f"signed release: files must be at most {_MOST_FILES} plain names, found {names!r:.200}.")
    return names


def release_from_signed(custom: object, files: Iterable[BundleFile]) -> SignedRelease:
    """Read a release from the manifest's ``custom`` field and the promises about its files.

    Raises:
        IntegrityError: A key is missing, unknown or wrong, or the format is newer than this program.
    """
    fields = Fields(custom, "signed release", IntegrityError)
    if (found := fields.integer("format", 1)) > _FORMAT:
        raise IntegrityError(f"signed release: format {found} is newer than {_FORMAT}: update this agent first.")
    budget = fields.inner("budget")
    release = SignedRelease(
        model=fields.text("model"),
        target=fields.text("target"),
        version=fields.integer("version", 1),
        variant=fields.text("variant"),
        engine=fields.text("engine"),
        source=fields.text("source"),
        minimum_agent=fields.text("minimum_agent"),
        budget=Budget(_bound(budget, "latency_p95_ms"), _bound(budget, "peak_memory_mib")),
        files=tuple(sorted(files, key=lambda file: file.name)),
    )
    fields.texts("files")
    for part in (budget, fields):
        part.end()
    return release


def _bound(fields: Fields, key: str) -> float | None:
    value = fields.take(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise fields.fail(key, "a number above 0, or null", value)
    return float(value)
