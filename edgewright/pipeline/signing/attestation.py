"""The workshop's own word about a bundle: what the gate said, its files and its place in the registry. By this it signs.

The registry says the same in tags, but whoever reaches an open registry may write tags and register versions. An
attestation lies in the workshop's own store, is found by the bundle's digest, and is written by whoever judged: a
build, a device's bench report that was recorded, a person who waives, vouches or withdraws. A version whose bundle
nobody attested, or attested as another version, is not signed: whoever registers an old bundle anew replays nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from edgewright.bundle_file import MANIFEST_NAME, BundleFile
from edgewright.errors import RegistryError
from edgewright.pipeline.object_store import ObjectStore
from edgewright.signed_release import Budget, SignedRelease, role_name
from edgewright.strict_json import Fields, dump_json, load_json

FIRST_AGENT = "0.1.0"
"""The first agent that reads the bundle format of today."""
_FOLDER = "updates/attestations"
_STAYS = ("waiver", "withdrawn", "version", "source")
_ARTIFACTS = "mlflow-artifacts"
_FORMAT = 2


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
        version: Number of the model version as which it was registered; 0 before that.
        source: URI of the bundle's folder, as it was registered; empty before that.
        withdrawn: Why it was rolled back; empty where it was not, or a person promoted it again.
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
    version: int = 0
    source: str = ""
    withdrawn: str = ""

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

    @property
    def place(self) -> str:
        """Folder of the bundle in the artifact store; empty where it lies elsewhere, or is not registered."""
        parts = urlsplit(self.source)
        return parts.path.strip("/") if parts.scheme == _ARTIFACTS else ""

    def release(self) -> SignedRelease:
        """Give what is signed of it.

        Raises:
            RegistryError: Devices could not fetch it from where it lies.
            IntegrityError: A value breaks a rule of signed releases.
        """
        if not self.place:
            raise RegistryError(
                f"its bundle is at {self.source!r:.200}; devices fetch {_ARTIFACTS}:/ addresses alone. Start the "
                f"registry with --serve-artifacts, and build it again."
            )
        return SignedRelease(
            model=self.model,
            target=self.target,
            version=self.version,
            variant=self.variant,
            engine=self.engine,
            source=self.place,
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
    version: int = 0,
    source: str = "",
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
        budget=Budget(_whole(latency_p95_ms), _whole(peak_memory_mib)),
        version=version,
        source=source,
    )


def attest(shared: ObjectStore, attestation: Attestation) -> Attestation:
    """Keep an attestation in place of an earlier one of the same bundle; returns what is kept.

    What it does not say itself of a waiver, a withdrawal and the place in the registry stays.
    """
    earlier = find_attestation(shared, attestation.name, attestation.bundle_sha256)
    if earlier is not None:
        stays = {key: getattr(attestation, key) or getattr(earlier, key) for key in _STAYS}
        attestation = dataclasses.replace(attestation, **stays)
    _keep(shared, attestation, earlier)
    return attestation


def attest_again(shared: ObjectStore, name: str, bundle_sha256: str, **changes: Any) -> None:
    """Change fields of what was attested, for a report, a person's word, a registration; what nobody attested stays so."""
    found = find_attestation(shared, name, bundle_sha256)
    if found is not None:
        _keep(shared, dataclasses.replace(found, **changes), found)


def find_attestation(shared: ObjectStore, name: str, bundle_sha256: str) -> Attestation | None:
    """Give what was attested of a bundle for a registered model; None where nobody did.

    Raises:
        RegistryError: What is kept is damaged, or written by another version.
    """
    content = shared.read(_key(name, bundle_sha256)) if bundle_sha256 else None
    return None if content is None else _from_bytes(content, f"{shared.location}: {_key(name, bundle_sha256)}")


def _keep(shared: ObjectStore, attestation: Attestation, earlier: Attestation | None) -> None:
    if attestation != earlier:
        shared.write(_key(attestation.name, attestation.bundle_sha256), _to_bytes(attestation))


def _key(name: str, bundle_sha256: str) -> str:
    return f"{_FOLDER}/{name}/{bundle_sha256}.json"


def _to_bytes(attestation: Attestation) -> bytes:
    return dump_json({"format": _FORMAT, **dataclasses.asdict(attestation)})


def _from_bytes(content: bytes, place: str) -> Attestation:
    fields = Fields(load_json(content, place, RegistryError), place, RegistryError)
    if (found := fields.integer("format", 1)) != _FORMAT:
        raise RegistryError(
            f"{place} has format {found}, and this edgewright reads {_FORMAT}: use the version that wrote it."
        )
    files, budget = [], fields.inner("budget")
    for entry in fields.array("files"):
        each = Fields(entry, f"{place}: files", RegistryError)
        files.append(BundleFile(each.text("name"), each.text("sha256"), each.integer("size_bytes", 1)))
    words: dict[str, Any] = {
        name: fields.text(name)
        for name in ("model", "target", "variant", "engine", "outcome", "waiver", "policy", "source", "withdrawn")
    }
    words["version"] = fields.integer("version")
    bounds = (budget.take(name) for name in ("latency_p95_ms", "peak_memory_mib"))
    kept = Attestation(files=tuple(files), budget=Budget(*(_bound(value) for value in bounds)), **words)
    fields.end()
    return kept


def _whole(bound: float | None) -> float | None:
    """Round a budget up to what can be signed: canonical JSON has no fractions."""
    return None if bound is None else float(math.ceil(bound))


def _bound(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
