"""The tasks of a release's images: build and prove each, put them together, push, record."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger, task

from edgewright.pipeline.images.builder import build_index
from edgewright.pipeline.images.image_registry import ImageRegistry, Pushed
from edgewright.pipeline.images.image_spec import BuiltIndex
from edgewright.pipeline.images.oci_layout import OciLayout
from edgewright.pipeline.images.proof import PROVEN
from edgewright.pipeline.images.registry_account import account_of_environment
from edgewright.pipeline.images.registry_address import parse_push_address
from edgewright.pipeline.images.release_images import BuiltMember, Member, ReleasePlan, build_member, images_folder
from edgewright.pipeline.images.release_images import plan_images as find_plan
from edgewright.pipeline.images.release_record import ReleaseImages, record_images
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.tracking import ModelVersion, Tracking
from edgewright.pipeline.workspace import Workspace
from tasks.progress import Reporter
from tasks.stage import STAGE_OPTIONS


@task(name="plan-images", **STAGE_OPTIONS)
def plan_images(tracking: Tracking, model: str, target: str, version: int | None, targets_file: str) -> ReleasePlan:
    """Finds which images the release has."""
    return find_plan(tracking, model, target, version, targets_file)


@task(name="check-registry", **STAGE_OPTIONS)
def check_registry(plan: ReleasePlan, registry: str) -> None:
    """Finds out whether a registry answers and takes images, before any is built for it."""
    _repository(plan, registry).check_may_push()


@task(name="build-image", task_run_name="build-image-{work}", **STAGE_OPTIONS)
def build_image(
    workspace: Workspace, tracking: Tracking, member: Member, base: str, builder: str, with_bundle: bool, work: str
) -> BuiltMember:
    """Builds and proves the image of one platform."""
    reporter = Reporter("image", work)
    reporter(Progress(work, 0, 1, "building"))
    built = build_member(workspace, tracking, member, base, builder, with_bundle)
    log = get_run_logger()
    told = f"{work}: {built.image.size_bytes / 1024**2:.1f} MiB, built by {built.built_by}. {built.proof.describe()}"
    (log.info if built.proof.outcome == PROVEN else log.warning)(told)
    reporter(Progress(work, 1, 1, built.proof.outcome))
    return built


@task(name="build-index", **STAGE_OPTIONS)
def put_together(workspace: Workspace, plan: ReleasePlan, members: Sequence[BuiltMember]) -> BuiltIndex:
    """Puts the images under one digest."""
    name = f"{plan.version.name}:{plan.version.version}"
    return build_index([each.image for each in members], OciLayout(images_folder(workspace)), name)


@task(name="push-images", **STAGE_OPTIONS)
def push_images(workspace: Workspace, plan: ReleasePlan, index: BuiltIndex, registry: str) -> Pushed:
    """Brings the index and all that belongs to it to a registry, and reads it back."""
    reporter = Reporter("push", plan.version.name)
    reporter(Progress(plan.version.name, 0, 1, f"to {registry}"))
    layout = OciLayout(images_folder(workspace))
    pushed = _repository(plan, registry).push(layout, index.digest, str(plan.version.version))
    reporter(
        Progress(
            plan.version.name,
            1,
            1,
            f"{pushed.sent_bytes / 1024**2:.1f} MiB sent, {pushed.known_bytes / 1024**2:.1f} MiB were there",
        )
    )
    return pushed


@task(name="record-images", **STAGE_OPTIONS)
def record(tracking: Tracking, plan: ReleasePlan, images: ReleaseImages) -> ModelVersion:
    """Puts digests, sizes, bills and proofs on record; the version's tag of the index comes last."""
    return record_images(tracking, plan.version, images)


def _repository(plan: ReleasePlan, registry: str) -> ImageRegistry:
    address = parse_push_address(registry).below(plan.version.name.lower())
    return ImageRegistry(address, account_of_environment())
