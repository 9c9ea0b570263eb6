"""Which images a release has: one per platform, each with the bundle that was judged for it, and what each is made from.

A release is what one build put into the registry, one version per target. Its images share an index: that of the target that
was asked for and, for the other platforms, those of the build's other targets. Where two targets share a platform the one
that was asked for is taken, else the first by name: an index has one image per platform.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgewright
from edgewright.bundle import read_bundle
from edgewright.errors import ImageError, IntegrityError, RecipeError, RegistryError
from edgewright.pipeline.document import parse_fields
from edgewright.pipeline.images.builder import ImageParts, build_image
from edgewright.pipeline.images.confinement import Limits, limits_of
from edgewright.pipeline.images.descriptor import Descriptor, check_digest, parse_json
from edgewright.pipeline.images.engine_builder import build_image_with_engine
from edgewright.pipeline.images.engine_client import find_engine
from edgewright.pipeline.images.engine_leftovers import remove_leftovers
from edgewright.pipeline.images.image_registry import ImageRegistry
from edgewright.pipeline.images.image_spec import BuiltImage, ImageSpec
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.platform import Platform, platform_named, why_not
from edgewright.pipeline.images.proof import Proof, prove_image
from edgewright.pipeline.images.provenance import ProvenanceFacts
from edgewright.pipeline.images.registry_address import Address, parse_address
from edgewright.pipeline.images.wheel_lock import LOCKS
from edgewright.pipeline.run_logging import CONTEXT, git_commit
from edgewright.pipeline.settled_json import digest_of
from edgewright.pipeline.targets import Target, load_targets
from edgewright.pipeline.tracking import (
    ModelVersion,
    Tracking,
    champion,
    download,
    fetch_present,
    get_version,
    registered_names,
    run_tags,
    versions,
)
from edgewright.pipeline.workspace import Workspace

WITHOUT_ENGINE = "edgewright, without an engine"
_LAYOUT = "oci:"


@dataclass(frozen=True)
class Member:
    """One image of a release, before it is built.

    Attributes:
        version: The model version whose bundle it holds.
        target: The target, as it was when that was built.
        platform: The target's platform.
        recipe_sha256: Digest of the recipe that it was built by; empty where its run does not say.
    """

    version: ModelVersion
    target: Target
    platform: Platform
    recipe_sha256: str

    @property
    def limits(self) -> Limits:
        """What the target grants."""
        return limits_of(self.target.budgets.peak_memory_mib, self.target.threads)


@dataclass(frozen=True)
class ReleasePlan:
    """What is to be built.

    Attributes:
        version: The version that was asked for.
        members: One per platform, that of the version first.
        left_out: Why targets of the build have no image, in words.
    """

    version: ModelVersion
    members: tuple[Member, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class BuiltMember:
    """One image of a release.

    Attributes:
        platform: Its platform.
        version: The model version whose bundle it holds, as ``digits.linux-x86:4``.
        image: What it came to.
        built_by: What built it.
        proof: What running it came to.
    """

    platform: str
    version: str
    image: BuiltImage
    built_by: str
    proof: Proof


def images_folder(workspace: Workspace) -> Path:
    """The layout that holds a workspace's images, by their digests."""
    return workspace.home / "images"


def plan_images(tracking: Tracking, model: str, target: str, version: int | None, targets_file: str) -> ReleasePlan:
    """Find what a release's images are.

    Args:
        tracking: The registry.
        model: Name of the model.
        target: The target that is asked for.
        version: Its version; None for the champion.
        targets_file: Where targets are described, for runs that do not say.

    Raises:
        RegistryError: There is no such version, it is half registered, or the gate refused it.
        ImageError: The target can have no image.
    """
    asked = champion(tracking, model, target) if version is None else get_version(tracking, model, target, version)
    if asked is None:
        raise RegistryError(f"{model}.{target} has no champion: name a version, or promote one (edgewright promote).")
    if (why := _refusal(asked)) is not None:
        raise RegistryError(f"{asked.name} version {asked.version} gets no image: {why}.")
    members = {}
    first = _member(tracking, asked, targets_file)
    members[first.platform.name] = first
    left_out = []
    for name in registered_names(tracking, model):
        for other in versions(tracking, model, name.partition(".")[2]):
            if name == asked.name or other.build != asked.build:
                continue
            if (why := _refusal(other)) is not None:
                left_out.append(f"{name} version {other.version}: {why}.")
                continue
            try:
                member = _member(tracking, other, targets_file)
            except ImageError as error:
                left_out.append(f"{name} version {other.version}: {error}")
                continue
            taken = members.setdefault(member.platform.name, member)
            if taken is not member:
                left_out.append(
                    f"{name} version {other.version}: {taken.version.name} is the index's {member.platform.name}."
                )
    return ReleasePlan(asked, tuple(members.values()), tuple(left_out))


def image_parts(workspace: Workspace, platform: Platform, base: str) -> ImageParts:
    """Find what an image of a platform is made from.

    Args:
        workspace: Keeps bases and wheels.
        platform: The platform.
        base: An image of a registry by its digest, ``python@sha256:…``, or of a layout on this machine,
            ``oci:FOLDER@sha256:…``; empty for what ``docker/base.sh`` made.

    Raises:
        ImageError: There is no base; the message says how to make one.
    """
    cache = workspace.home / "cache"
    found: Path | tuple[Path, str]
    if base.startswith(_LAYOUT):
        folder, _, digest = base.removeprefix(_LAYOUT).rpartition("@")
        found = (Path(folder), check_digest(digest, f"the base {base!r:.200}"))
    elif base:
        address = parse_address(base)
        if not address.digest:
            raise ImageError(f"a base is named by its digest, found {base!r:.200}: python@sha256:…, for example.")
        bases = OciLayout.create(cache / "bases" / "layout")
        entry = _whole_base(bases, address, platform) or ImageRegistry(address).pull(bases, platform)
        found = (bases.root, entry.reference or entry.digest)
    else:
        found = cache / "bases" / f"debian-{platform.debian}.tar"
        if not found.is_file():
            raise ImageError(
                f"there is no base for {platform.name}: make one (docker/base.sh {platform.debian} {found}, as root), or "
                f"name an image by its digest."
            )
    return ImageParts(LOCKS, cache / "wheels", {platform.name: found})


def _whole_base(bases: OciLayout, address: Address, platform: Platform) -> Descriptor | None:
    """A base that was pulled before and is as it was then; None where there is none, or it must be pulled again."""
    for entry in bases.entries():
        if entry.reference == f"{address.pull}, {platform.name}":
            try:
                bases.verify(entry)
            except (ImageError, IntegrityError):
                return None
            return entry
    return None


def build_member(
    workspace: Workspace,
    tracking: Tracking,
    member: Member,
    base: str = "",
    builder: str = "auto",
    with_bundle: bool = True,
) -> BuiltMember:
    """Build one image of a release, and prove it.

    Args:
        workspace: Its layout gets the image.
        tracking: The registry, which has the bundle.
        member: Which one.
        base: See `image_parts`.
        builder: ``engine``, ``layout`` (without one), or ``auto``: an engine where one answers.
        with_bundle: Whether the release's bundle is in it, as the device's factory bundle; without it nothing can be proven.

    Raises:
        ImageError: A part is missing or does not fit.
        EngineFailedError: The engine refuses or dies.
        IntegrityError: A part is not what its digest says.
        DiskFullError: There is no room.
    """
    with ExitStack() as stack:
        found = find_engine()
        if found is not None:
            stack.callback(found.close)
            remove_leftovers(found)
        if builder == "engine" and found is None:
            raise ImageError("no container engine answers: start one (DOCKER_HOST names it), or build without.")
        engine = None if builder == "layout" else found
        parts = image_parts(workspace, member.platform, base)
        layout = OciLayout.create(images_folder(workspace))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgewright-image-"))
        folder = download(tracking, member.version, "bundle", Path(scratch))
        spec = _spec(tracking, member, folder, with_bundle)
        image = build_image_with_engine(spec, layout, parts, engine) if engine else build_image(spec, layout, parts)
        entry = layout.find(image.manifest_digest)
        budget_mib = member.target.budgets.peak_memory_mib
        proof = prove_image(layout, entry, member.platform, spec.bundle, member.limits, budget_mib, found)
    name = f"{member.version.name}:{member.version.version}"
    return BuiltMember(member.platform.name, name, image, engine.facts.name if engine else WITHOUT_ENGINE, proof)


def _refusal(version: ModelVersion) -> str | None:
    """Why a version gets no image; None where it may have one."""
    if not version.is_complete:
        return "it is half registered: run its build again"
    return "the gate refused it" if version.verdict == "fail" and not version.waiver else None


def _member(tracking: Tracking, version: ModelVersion, targets_file: str) -> Member:
    context = _context(tracking, version)
    target = _target(context, version, targets_file)
    for engine in target.engines:
        if (reason := why_not(target.platform, engine)) is not None:
            raise ImageError(reason)
    recipe = context.get("recipe")
    return Member(version, target, platform_named(target.platform), digest_of(recipe) if recipe else "")


def _context(tracking: Tracking, version: ModelVersion) -> dict[str, Any]:
    """What a version's run remembers of its recipe and its target; nothing where it has no such file."""
    with tempfile.TemporaryDirectory(prefix="edgewright-context-") as scratch:
        found = fetch_present(tracking, version.run_id, [CONTEXT], Path(scratch))
        return parse_json(found[CONTEXT].read_bytes(), f"{CONTEXT} of run {version.run_id}") if CONTEXT in found else {}


def _target(context: Mapping[str, Any], version: ModelVersion, targets_file: str) -> Target:
    """The target as it was built for; else as the file describes it today."""
    described = context.get("target")
    if described is not None:
        target, problems = parse_fields(Target, described)
        if target is None:
            raise RecipeError(f"{CONTEXT} of run {version.run_id}", tuple(problems))
        return target
    known = load_targets(Path(targets_file))
    if version.target not in known:
        raise ImageError(f"{targets_file} has no target {version.target!r}: {', '.join(known)}.")
    return known[version.target]


def _spec(tracking: Tracking, member: Member, folder: Path, with_bundle: bool) -> ImageSpec:
    version = member.version
    manifest = read_bundle(folder, version.bundle_sha256).manifest
    tags = run_tags(tracking, version.run_id)
    others = tuple(engine for engine in member.target.engines if engine != manifest.engine)
    facts = ProvenanceFacts(
        build=version.build,
        recipe=version.model,
        recipe_sha256=member.recipe_sha256,
        training_commit=_known(tags.get("edgewright.git_commit", "")),
        data_sha256=tags.get("edgewright.data_sha256", "") or manifest.data_sha256,
        mlflow_run=version.run_id,
        commit=_known(git_commit(Path(edgewright.__file__).parent)),
    )
    return ImageSpec(
        model=version.model,
        target=version.target,
        variant=version.variant,
        version=version.version,
        platform=member.platform,
        engine=manifest.engine,
        threads=member.target.threads,
        bundle=folder if with_bundle else None,
        verdict=version.verdict,
        provenance=facts,
        source_date_epoch=version.created_ms // 1000,
        more_engines=others,
    )


def _known(commit: str) -> str:
    return "" if commit == "unknown" else commit
