"""Where an image comes from: an in-toto statement with a SLSA provenance, attached to the image."""

from __future__ import annotations

import platform as python_platform
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgewright.pipeline.images.base import BaseImage
from edgewright.pipeline.images.bytecode import TAG
from edgewright.pipeline.images.descriptor import to_bytes
from edgewright.pipeline.images.layer import compressor
from edgewright.pipeline.images.wheel_lock import LockedWheel

MEDIA_TYPE = "application/vnd.in-toto+json"
_STATEMENT, _PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
_COMMIT, _DIRTY = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}"), "-dirty"
_BUILD_TYPE, _BUILDER = "urn:edgewright:image:1", "urn:edgewright:builder:1"


@dataclass(frozen=True)
class ProvenanceFacts:
    """What a release knows of itself; an empty text where it is not known.

    Attributes:
        build: Identity of the build.
        recipe: Name of the recipe.
        recipe_sha256: Digest of the recipe.
        training_commit: Commit of the code that trained, compressed and judged the model.
        data_sha256: Digest of the data snapshot.
        mlflow_run: Identity of the run that logged it.
        commit: Commit of the code that is in the image and builds it, with ``-dirty`` where files differ from it.
    """

    build: str = ""
    recipe: str = ""
    recipe_sha256: str = ""
    training_commit: str = ""
    data_sha256: str = ""
    mlflow_run: str = ""
    commit: str = ""


def write_statement(
    name: str,
    image_digest: str,
    asked: dict[str, str | int | None],
    facts: ProvenanceFacts,
    base: BaseImage,
    wheels: Sequence[LockedWheel],
    bundle_sha256: str | None,
    application_diff_id: str,
) -> bytes:
    """Write the statement about an image.

    Args:
        name: The image's name.
        image_digest: Digest of its manifest.
        asked: What was asked for: model, target, variant, platform and the like.
        facts: What the release knows of itself.
        base: What the image stands on.
        wheels: The wheels in it.
        bundle_sha256: Identity of the bundle in it, if there is one.
        application_diff_id: Digest of the content of the layer that holds edgewright: a commit does not say what a checkout
            adds to it.
    """
    materials = [_material(f"base:{base.name}", base.digest)]
    materials += [_material(f"pkg:pypi/{wheel.name}@{wheel.version}", f"sha256:{wheel.sha256}") for wheel in wheels]
    if bundle_sha256:
        materials.append(_material(f"bundle:{name}", f"sha256:{bundle_sha256}"))
    if facts.data_sha256:
        materials.append(_material("data", f"sha256:{facts.data_sha256}"))
    materials.append(_material("layer:application", application_diff_id))
    materials += _source("git:edgewright", facts.commit)
    materials += _source("git:edgewright:training", facts.training_commit)
    recipe = {"name": facts.recipe, "sha256": facts.recipe_sha256, "build": facts.build}
    # What of the building machine the bytes depend on.
    tools = {"bytecode": f"{TAG}, written by {python_platform.python_version()}", "compressor": compressor()}
    return to_bytes(
        {
            "_type": _STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": image_digest.removeprefix("sha256:")}}],
            "predicateType": _PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": _BUILD_TYPE,
                    "externalParameters": {**asked, "recipe": recipe},
                    "internalParameters": tools,
                    "resolvedDependencies": materials,
                },
                "runDetails": {"builder": {"id": _BUILDER}, "metadata": {"invocationId": facts.mlflow_run}},
            },
        }
    )


def _material(uri: str, digest: str) -> dict[str, object]:
    return {"uri": uri, "digest": {"sha256": digest.removeprefix("sha256:")}}


def _source(uri: str, described: str) -> list[dict[str, object]]:
    """The material of a commit: a digest where it is one, and beside it that files differed; nothing of what is not known."""
    commit = described.removesuffix(_DIRTY)
    if not _COMMIT.fullmatch(commit):
        return [{"uri": uri, "annotations": {"revision": described}}] if described else []
    found: dict[str, object] = {"uri": uri, "digest": {"gitCommit": commit}}
    if commit != described:
        found["annotations"] = {"dirty": True}
    return [found]
