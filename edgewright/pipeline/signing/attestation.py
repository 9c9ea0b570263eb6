"""The workshop's own word about a bundle: what the gate said, and which files it is made of. By this it signs.

The registry says the same in tags, but whoever reaches an open registry may write tags and register versions. An
attestation lies in the workshop's own store, is found by the bundle's digest, and is written by whoever judged: a
build, a device's bench report that was recorded, a person who waives or vouches. A version whose bundle nobody
attested is not signed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgewright.bundle_file import MANIFEST_NAME, BundleFile
from edgewright.errors import RegistryError
from edgewright.pipeline.object_store import ObjectStore
from edgewright.pipeline.signing.draft import whole
from edgewright.signed_release import Budget, SignedRelease, role_name
from edgewright.strict_json import Fields, dump_json, load_json

FIRST_AGENT = "0.1.0"
"""The first agent that reads the bundle format of today."""
_FOLDER = "updates/attestations"
_FORMAT = 1


@dataclass(frozen=True)
class Attestation:
    """What the workshop knows of a bundle.

    Attributes:
        model: Name of the model.
        target: Name of the target.
        variant: How it was compressed.
        engine: What runs it.
        files: Its files, the manifest among them, in order of their names.
        outcome: The gate's word: ``pass``, ``fail`` or ``not_measurable``.
        waiver: Why it may go out all the same; empty where nobody said so.
        policy: The recipe's: ``auto`` lets an online key sign its releases; anything else an offline one.
        budget: What the target allows; whole milliseconds and MiB, rounded up.
    """

    model: str
    target: str
    variant: str
    engine: str
    files: tuple[BundleFile, ...]
    outcome: str
    waiver: str
    policy: str
    budget: Budget

    @property
    def name(self) -> str:
        """Name of the registered model."""
        return role_name(self.model, self.target)

    @property
    def bundle_sha256(self) -> str:
        """The bundle's identity: its manifest's digest."""
        return next(file.sha256 for file in self.files if file.name == MANIFEST_NAME)

    @property
    def may_go_out(self) -> bool:
        """Whether the gate, or a person, lets it."""
        return self.outcome == "pass" or bool(self.waiver)

    def release(self, version: int, source: str) -> SignedRelease:
        """Give what is signed of it.

        Args:
            version: Number of the model version.
            source: Folder of the bundle in the artifact store.
        """
        return SignedRelease(
            model=self.model,
            target=self.target,
            version=version,
            variant=self.variant,
            engine=self.engine,
            source=source,
            minimum_agent=FIRST_AGENT,
            budget=self.budget,
            files=self.files,
        )


def make_attestation(
    *,
    model: str,
    target: str,
    variant: str,
    engine: str,
    files: Iterable[BundleFile],
    outcome: str,
    policy: str,
    latency_p95_ms: float | None,
    peak_memory_mib: float | None,
    waiver: str = "",
) -> Attestation:
    """Make an attestation from a target's budgets, in any order of the files."""
    return Attestation(
        model=model,
        target=target,
        variant=variant,
        engine=engine,
        files=tuple(sorted(files, key=lambda file: file.name)),
        outcome=outcome,
        waiver=waiver,
        policy=policy,
        budget=Budget(whole(latency_p95_ms), whole(peak_memory_mib)),
    )


def attest(shared: ObjectStore, attestation: Attestation) -> Attestation:
    """Keep an attestation in place of an earlier one of the same bundle, whose waiver stays; returns what is kept."""
    earlier = find_attestation(shared, attestation.name, attestation.bundle_sha256)
    if earlier is not None and earlier.waiver and not attestation.waiver:
        attestation = dataclasses.replace(attestation, waiver=earlier.waiver)
    if attestation != earlier:
        shared.write(_key(attestation.name, attestation.bundle_sha256), _to_bytes(attestation))
    return attestation


def attest_again(
    shared: ObjectStore, name: str, bundle_sha256: str, *, outcome: str | None = None, waiver: str | None = None
) -> None:
    """Change what was attested: a device's report gave a new verdict, or a person waives. What nobody attested stays so."""
    found = find_attestation(shared, name, bundle_sha256)
    if found is not None:
        changes = {key: value for key, value in (("outcome", outcome), ("waiver", waiver)) if value is not None}
        attest(shared, dataclasses.replace(found, **changes))  # type: ignore[arg-type]


def find_attestation(shared: ObjectStore, name: str, bundle_sha256: str) -> Attestation | None:
    """Give what was attested of a bundle for a registered model; None where nobody did.

    Raises:
        RegistryError: What is kept is damaged, or written by a newer version.
    """
    content = shared.read(_key(name, bundle_sha256)) if bundle_sha256 else None
    return None if content is None else _from_bytes(content, f"{shared.location}: {_key(name, bundle_sha256)}")


def _key(name: str, bundle_sha256: str) -> str:
    return f"{_FOLDER}/{name}/{bundle_sha256}.json"


def _to_bytes(attestation: Attestation) -> bytes:
    return dump_json({"format": _FORMAT, **dataclasses.asdict(attestation)})


def _from_bytes(content: bytes, place: str) -> Attestation:
    fields = Fields(load_json(content, place, RegistryError), place, RegistryError)
    if (found := fields.integer("format", 1)) > _FORMAT:
        raise RegistryError(f"{place} has format {found}: a newer edgewright wrote it.")
    files, budget = [], fields.inner("budget")
    for entry in fields.array("files"):
        each = Fields(entry, f"{place}: files", RegistryError)
        files.append(BundleFile(each.text("name"), each.text("sha256"), each.integer("size_bytes", 1)))
    words: dict[str, Any] = {
        name: fields.text(name) for name in ("model", "target", "variant", "engine", "outcome", "waiver", "policy")
    }
    bounds = (budget.take(name) for name in ("latency_p95_ms", "peak_memory_mib"))
    kept = Attestation(files=tuple(files), budget=Budget(*(_bound(value) for value in bounds)), **words)
    fields.end()
    return kept


def _bound(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
