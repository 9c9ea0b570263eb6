"""Where an image comes from: an in-toto statement with a SLSA provenance, attached to the image."""

from __future__ import annotations

import platform as python_platform
from collections.abc import Sequence
from dataclasses import dataclass

from edgewright.pipeline.images.base import BaseImage
from edgewright.pipeline.images.bytecode import TAG
from edgewright.pipeline.images.descriptor import to_bytes
from edgewright.pipeline.images.layer import compressor
from edgewright.pipeline.images.wheel_lock import LockedWheel

MEDIA_TYPE = "application/vnd.in-toto+json"
_STATEMENT, _PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
_BUILD_TYPE, _BUILDER = "urn:edgewright:image:1", "urn:edgewright:builder:1"


@dataclass(frozen=True)
class ProvenanceFacts:
    """What a release knows of itself; an empty text where it is not known.

    Attributes:
        build: Identity of the build.
        recipe: Name of the recipe.
        recipe_sha256: Digest of the recipe.
        commit: Commit of the code.
        data_sha256: Digest of the data snapshot.
        mlflow_run: Identity of the run that logged it.
    """

    build: str = ""
    recipe: str = ""
    recipe_sha256: str = ""
    commit: str = ""
    data_sha256: str = ""
    mlflow_run: str = ""


def write_statement(
    name: str,
    image_digest: str,
    asked: dict[str, str | int | None],
    facts: ProvenanceFacts,
    base: BaseImage,
    wheels: Sequence[LockedWheel],
    bundle_sha256: str | None,
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
    """
    materials = [_material(f"base:{base.name}", base.digest)]
    materials += [_material(f"pkg:pypi/{wheel.name}@{wheel.version}", f"sha256:{wheel.sha256}") for wheel in wheels]
    if bundle_sha256:
        materials.append(_material(f"bundle:{name}", f"sha256:{bundle_sha256}"))
    if facts.data_sha256:
        materials.append(_material("data", f"sha256:{facts.data_sha256}"))
    if facts.commit:
        materials.append({"uri": "git:edgewright", "digest": {"gitCommit": facts.commit}})
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
