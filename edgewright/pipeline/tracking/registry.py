"""Registering releases: one model version per build and target, whole or not at all.

A version is created with all its tags in one call; ``edgewright.complete`` follows as the last write. A version without
it is half registered: nothing may point to it, and the next call for the same build, or ``repair``, finishes or removes
it. What devices run is decided elsewhere (``promotion``): registering never moves the champion.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewright.errors import IntegrityError, RegistryError
from edgewright.pipeline.tracking.client import Tracking, alias_lock, is_missing, open_client, registry_errors
from edgewright.pipeline.tracking.model_version import (
    CANDIDATE,
    COMPLETE,
    TRUE,
    ModelVersion,
    check_bundle,
    check_sha256,
    fetch_artifact,
    get_version,
    registered_name,
    registered_names,
    versions,
)
from edgewright.pipeline.tracking.pages import refresh_pages
from edgewright.pipeline.tracking.promotion import mend_aliases

VERDICTS = ("pass", "fail", "not_measurable")
NEEDED_TAGS = ("edgewright.build", "edgewright.bundle_sha256", "edgewright.verdict", "edgewright.variant")

MODEL_NOTE = """{model} on devices of the target {target}. The alias `champion` is what they run.

Pull it: `edgewright-agent pull --registry URL --model {model} --target {target} --into DIR`
"""


@registry_errors("registering a version")
def register(
    tracking: Tracking,
    model: str,
    target: str,
    *,
    run_id: str,
    build: str,
    bundle_sha256: str,
    verdict: str,
    variant: str,
    reference_bundle_sha256: str = "",
    description: str = "",
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """Register the bundle of a run as a version of ``<model>.<target>``.

    A second call for the same build and bundle returns the version that is there, with the verdict that it has by now:
    a verdict changes through ``set_verdict`` alone. What a killed call left is finished.

    Args:
        tracking: Where the registry is.
        model: The model's name.
        target: The target's name.
        run_id: A complete run of the same build, with the bundle as its artifact folder ``bundle``.
        build: Identity of the build.
        bundle_sha256: Digest of that bundle.
        verdict: ``pass``, ``fail`` or ``not_measurable``.
        variant: The variant that was chosen.
        reference_bundle_sha256: Digest of the bundle in the run's artifact folder ``reference``; empty for none.
        description: Markdown for the version's page.
        tags: More tags.

    Raises:
        RegistryError: A value breaks a rule, or the run is incomplete or of another build.
        IntegrityError: The run's bundle has another digest.
    """
    name = registered_name(model, target)
    _check_verdict(verdict)
    check_sha256(bundle_sha256, "bundle")
    promised = {"bundle": bundle_sha256}
    if reference_bundle_sha256:
        check_sha256(reference_bundle_sha256, "reference bundle")
        promised["reference"] = reference_bundle_sha256
    wanted = {
        **(tags or {}),
        "edgewright.build": build,
        "edgewright.bundle_sha256": bundle_sha256,
        "edgewright.verdict": verdict,
        "edgewright.variant": variant,
        "edgewright.target": target,
        **({"edgewright.reference_bundle_sha256": reference_bundle_sha256} if reference_bundle_sha256 else {}),
    }
    with alias_lock(tracking, name):
        known = _registered(tracking, model, target, build, bundle_sha256, run_id)
        if known is not None and known.is_complete:
            return known
        source = _check_run(tracking, run_id, build, promised)
        client = open_client(tracking)
        if known is None:
            _create_model(client, name, model, target)
            created = client.create_model_version(name, source, run_id, tags=wanted, description=description)
            number = int(created.version)
        else:
            number = known.version
            for key in sorted(wanted.keys() - known.tags.keys()):
                client.set_model_version_tag(name, str(number), key, wanted[key])
        client.set_model_version_tag(name, str(number), COMPLETE, TRUE)
        return get_version(tracking, model, target, number)


@registry_errors("setting a verdict")
def set_verdict(
    tracking: Tracking,
    model: str,
    target: str,
    version: int,
    verdict: str,
    *,
    reason: str,
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """Give a version the verdict that new evidence, e.g. a device's bench report, led to.

    A version that fails is no candidate any longer. Promoting one that passes is a step of its own.

    Raises:
        RegistryError: The verdict is none of the three, the version is half registered, or it is the champion and
            would not pass.
    """
    _check_verdict(verdict)
    name = registered_name(model, target)
    with alias_lock(tracking, name):
        found = get_version(tracking, model, target, version)
        if not found.is_complete:
            raise RegistryError(f"{name} version {version} is half registered: run its build again, which repairs it")
        if found.is_champion and verdict != "pass" and not found.waiver:
            raise RegistryError(
                f"{name} version {version} is the champion and its verdict would become {verdict}: "
                f"roll back first (`edgewright rollback {model} --target {target} --reason …`)"
            )
        client = open_client(tracking)
        written = {**(tags or {}), "edgewright.verdict_reason": reason, "edgewright.verdict": verdict}
        for key, value in written.items():
            if found.tags.get(key) != value:
                client.set_model_version_tag(name, str(version), key, value)
        if verdict == "fail" and CANDIDATE in found.aliases:
            client.delete_registered_model_alias(name, CANDIDATE)
        refresh_pages(tracking, model, target, version)
        return get_version(tracking, model, target, version)


@registry_errors("repairing the registry")
def repair(tracking: Tracking, model: str) -> list[str]:
    """Finish or remove what a kill left behind in all registered models of ``model``; the champion is never moved.

    Pages for people that are out of date are written anew on the way.

    Returns:
        One sentence for each thing that was mended; empty when nothing was.
    """
    mended: list[str] = []
    for name in registered_names(tracking, model):
        target = name.partition(".")[2]
        with alias_lock(tracking, name):
            for version in versions(tracking, model, target):
                # A version without a build is not ours.
                if version.build and not version.is_complete:
                    mended.append(_finish_or_delete(tracking, version))
            mended += mend_aliases(tracking, model, target)
            refresh_pages(tracking, model, target)
    return mended


def _registered(
    tracking: Tracking, model: str, target: str, build: str, bundle_sha256: str, run_id: str
) -> ModelVersion | None:
    """The version of this build and bundle, complete or to be finished; one whose run was logged anew is deleted."""
    unfinished: ModelVersion | None = None
    for version in versions(tracking, model, target):
        if (version.build, version.bundle_sha256) != (build, bundle_sha256):
            continue
        if version.is_complete:
            return version
        if version.run_id == run_id and unfinished is None:
            unfinished = version
        else:
            open_client(tracking).delete_model_version(version.name, str(version.version))
    return unfinished


def _check_run(tracking: Tracking, run_id: str, build: str, promised: Mapping[str, str]) -> str:
    """The URI of the run's bundle, once the run and its bundles are what the registration says."""
    run = open_client(tracking).get_run(run_id)
    found = run.data.tags.get("edgewright.build", "")
    if run.data.tags.get(COMPLETE) != TRUE or found != build:
        raise RegistryError(
            f"run {run_id} is {'of build ' + found if found != build else 'incomplete'}: a version of build {build} "
            "points to a complete run of that build; log it first"
        )
    for folder, sha256 in promised.items():
        with tempfile.TemporaryDirectory(prefix="edgewright-check-") as scratch:
            manifest = fetch_artifact(tracking, run_id, f"{folder}/manifest.json", Path(scratch))
            check_bundle(manifest, sha256, f"run {run_id}: {folder}")
    return f"{str(run.info.artifact_uri).rstrip('/')}/bundle"


def _create_model(client: Any, name: str, model: str, target: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if not is_missing(error):
            raise
        client.create_registered_model(name, description=MODEL_NOTE.format(model=model, target=target))


def _finish_or_delete(tracking: Tracking, version: ModelVersion) -> str:
    client = open_client(tracking)
    what = f"{version.name} version {version.version}"
    if all(version.tags.get(key) for key in NEEDED_TAGS):
        promised = {"bundle": version.bundle_sha256, "reference": version.reference_bundle_sha256}
        try:
            _check_run(tracking, version.run_id, version.build, {k: v for k, v in promised.items() if v})
        except (RegistryError, IntegrityError) as error:
            client.delete_model_version(version.name, str(version.version))
            return f"{what}: removed, it was half registered and {error}"
        client.set_model_version_tag(version.name, str(version.version), COMPLETE, TRUE)
        return f"{what}: its registration is finished"
    client.delete_model_version(version.name, str(version.version))
    return f"{what}: removed, it was half registered"


def _check_verdict(verdict: str) -> None:
    if verdict not in VERDICTS:
        raise RegistryError(f"verdict {verdict!r} is none of {', '.join(VERDICTS)}")
