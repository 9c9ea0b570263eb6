"""Reading the registry: model versions with their tags and aliases, and the files behind them.

A registered model is ``<model>.<target>``; a version of it is what one build released for that target.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgewright.errors import IntegrityError, RegistryError
from edgewright.pipeline.tracking.client import (
    NAME,
    Tracking,
    artifact_repository,
    is_missing,
    open_client,
    registry_errors,
)

CHAMPION, CANDIDATE, PREVIOUS, BASELINE = "champion", "candidate", "previous", "baseline"
COMPLETE, TRUE = "edgewright.complete", "true"
PAGE = 200


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model, as it was when it was read.

    Attributes:
        name: The registered model, ``<model>.<target>``.
        version: Its number, counted by the registry.
        run_id: The run whose artifacts it points to.
        source: URI of its bundle folder.
        tags: All its tags.
        aliases: Its aliases, sorted.
        description: What a person reads on its page.
        created_ms: When it was created, milliseconds since the epoch.
    """

    name: str
    version: int
    run_id: str
    source: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    description: str
    created_ms: int

    @property
    def model(self) -> str:
        """The model's name without the target."""
        return self.name.partition(".")[0]

    @property
    def target(self) -> str:
        """The target that it was built for."""
        return self.name.partition(".")[2]

    @property
    def build(self) -> str:
        """The build that made it; empty for a version that edgewright did not make."""
        return self.tags.get("edgewright.build", "")

    @property
    def variant(self) -> str:
        """The variant that was chosen."""
        return self.tags.get("edgewright.variant", "")

    @property
    def verdict(self) -> str:
        """``pass``, ``fail`` or ``not_measurable``; empty while half registered."""
        return self.tags.get("edgewright.verdict", "")

    @property
    def bundle_sha256(self) -> str:
        """Digest of its bundle."""
        return self.tags.get("edgewright.bundle_sha256", "")

    @property
    def reference_bundle_sha256(self) -> str:
        """Digest of the bundle of the uncompressed reference beside it; empty when there is none."""
        return self.tags.get("edgewright.reference_bundle_sha256", "")

    @property
    def is_complete(self) -> bool:
        """Whether its registration was finished."""
        return self.tags.get(COMPLETE) == TRUE

    @property
    def waiver(self) -> str:
        """Why a person let it pass against its verdict; empty when nobody did."""
        return self.tags.get("edgewright.waiver", "")

    @property
    def withdrawn(self) -> str:
        """Why it was rolled back; empty when it was not. Nothing automatic may promote it again."""
        return self.tags.get("edgewright.withdrawn", "")

    @property
    def replaced(self) -> int | None:
        """The version that it replaced as champion; None when it replaced none or never was champion."""
        value = self.tags.get("edgewright.replaced", "")
        return int(value) if value.isdecimal() else None

    @property
    def is_champion(self) -> bool:
        """Whether devices run it."""
        return CHAMPION in self.aliases


def registered_name(model: str, target: str) -> str:
    """``<model>.<target>``.

    Raises:
        RegistryError: A part holds a character that the registry, an alias or a URL cannot carry.
    """
    for part in (model, target):
        if not NAME.fullmatch(part):
            raise RegistryError(
                f"{part!r} cannot name a model or a target in the registry: it must match {NAME.pattern}"
            )
    return f"{model}.{target}"


@registry_errors("reading the registry")
def registered_names(tracking: Tracking, model: str | None = None) -> tuple[str, ...]:
    """Names of the registered models of ``model``, or of all models, sorted; those without a target are not ours."""
    found: list[str] = []
    token = None
    while True:
        page = open_client(tracking).search_registered_models(max_results=PAGE, page_token=token)
        found += [str(each.name) for each in page]
        token = page.token
        if not token:
            ours = [name for name in found if all(NAME.fullmatch(part) for part in name.partition(".")[::2])]
            return tuple(sorted(name for name in ours if model is None or name.partition(".")[0] == model))


@registry_errors("reading the registry")
def versions(tracking: Tracking, model: str, target: str) -> tuple[ModelVersion, ...]:
    """All versions of a model on a target, newest first; empty when there is none."""
    return tuple(_search(tracking, f"name = '{registered_name(model, target)}'"))


@registry_errors("reading the registry")
def get_version(tracking: Tracking, model: str, target: str, version: int) -> ModelVersion:
    """One version by its number.

    Raises:
        RegistryError: There is no such version.
    """
    name = registered_name(model, target)
    found = _or_none(lambda: open_client(tracking).get_model_version(name, str(version)))
    if found is None:
        raise RegistryError(f"{name} has no version {version}: `edgewright compare {model}` lists those it has")
    return found


def champion(tracking: Tracking, model: str, target: str) -> ModelVersion | None:
    """The release that devices run; None before the first promotion."""
    return by_alias(tracking, model, target, CHAMPION)


def candidate(tracking: Tracking, model: str, target: str) -> ModelVersion | None:
    """The release that awaits a measurement or a promotion."""
    return by_alias(tracking, model, target, CANDIDATE)


def baseline(tracking: Tracking, model: str, target: str) -> ModelVersion | None:
    """The release that slow drift is judged against: the first champion, or what a person pinned."""
    return by_alias(tracking, model, target, BASELINE)


@registry_errors("reading the registry")
def by_alias(tracking: Tracking, model: str, target: str, alias: str) -> ModelVersion | None:
    """The version that ``alias`` points to; None when nobody set it."""
    name = registered_name(model, target)
    return _or_none(lambda: open_client(tracking).get_model_version_by_alias(name, alias))


@registry_errors("reading the registry")
def find_by_bundle(tracking: Tracking, bundle_sha256: str) -> tuple[ModelVersion, ...]:
    """All versions that deliver the bundle with this digest, newest first.

    Raises:
        RegistryError: ``bundle_sha256`` is no sha256.
    """
    check_sha256(bundle_sha256, "bundle")
    return tuple(_search(tracking, f"tag.`edgewright.bundle_sha256` = '{bundle_sha256}'"))


@registry_errors("downloading from the registry")
def download(tracking: Tracking, version: ModelVersion, artifact_path: str, into: Path) -> Path:
    """Fetch a file or folder of a version's run, e.g. ``predictions.npz``, ``verdict.json`` or ``bundle``.

    The result appears in one piece, in place of an older one. A bundle's manifest is checked against the version's tag.

    Returns:
        The path below ``into``.

    Raises:
        RegistryError: The run has no such artifact.
        IntegrityError: The store holds another bundle than the one that was registered.
    """
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=into) as folder:
        fetched = fetch_artifact(tracking, version.run_id, artifact_path, Path(folder))
        promised = {"bundle": version.bundle_sha256, "reference": version.reference_bundle_sha256}.get(artifact_path)
        if promised:
            check_bundle(fetched, promised, f"{version.name} version {version.version}: {artifact_path}")
        final = into / artifact_path
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.is_dir():
            shutil.rmtree(final)
        return fetched.replace(final)


def fetch_artifact(tracking: Tracking, run_id: str, artifact_path: str, into: Path) -> Path:
    """Fetch one artifact of a run into an empty folder."""
    repository = artifact_repository(tracking, open_client(tracking).get_run(run_id).info.artifact_uri)
    parent, _, leaf = artifact_path.rstrip("/").rpartition("/")
    if leaf not in [Path(each.path).name for each in repository.list_artifacts(parent or None)]:
        raise RegistryError(f"run {run_id} has no artifact {artifact_path}: it was logged without it, or was removed")
    return Path(repository.download_artifacts(artifact_path, dst_path=str(into)))


def check_bundle(path: Path, promised: str, what: str) -> None:
    """A bundle's digest is that of its manifest.

    Raises:
        IntegrityError: ``path``, a bundle folder or its manifest, has another digest than ``promised``.
    """
    manifest = path / "manifest.json" if path.is_dir() else path
    found = hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.is_file() else "no manifest"
    if found != promised:
        raise IntegrityError(f"{what}: the store has {found}, {promised} was promised: do not use it, build again")


def check_sha256(value: str, what: str) -> None:
    """Refuse anything but 64 lower-case hexadecimal digits.

    Raises:
        RegistryError: ``value`` is something else.
    """
    if len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise RegistryError(f"{what} {value!r} is no sha256: 64 hexadecimal digits are expected")


def _search(tracking: Tracking, query: str) -> Iterable[ModelVersion]:
    client = open_client(tracking)
    aliases: dict[str, Mapping[str, str]] = {}
    token = None
    while True:
        page = client.search_model_versions(
            query, max_results=PAGE, order_by=["creation_timestamp DESC", "version_number DESC"], page_token=token
        )
        for each in page:
            # A search answers without aliases; they are read from the registered model, once per name.
            if each.name not in aliases:
                aliases[each.name] = client.get_registered_model(each.name).aliases
            yield _value(
                each, [alias for alias, number in aliases[each.name].items() if int(number) == int(each.version)]
            )
        token = page.token
        if not token:
            return


def _or_none(read: Any) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        found = read()
    except MlflowException as error:
        if is_missing(error):
            return None
        raise
    return _value(found, found.aliases)


def _value(found: Any, aliases: Iterable[str]) -> ModelVersion:
    return ModelVersion(
        name=str(found.name),
        version=int(found.version),
        run_id=str(found.run_id),
        source=str(found.source),
        tags=MappingProxyType(dict(found.tags)),
        aliases=tuple(sorted(aliases)),
        description=str(found.description or ""),
        created_ms=int(found.creation_timestamp),
    )
