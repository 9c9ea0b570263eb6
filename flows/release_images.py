"""Container images of a release that is there: one per platform, proven where that is possible, under one index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from edgewright.errors import ImageError
from edgewright.pipeline.deployment_files import TARGETS_FILE
from edgewright.pipeline.images.engine_client import EngineFailedError
from edgewright.pipeline.images.proof import FAILED, PROVEN
from edgewright.pipeline.images.release_images import BuiltMember, ReleasePlan, images_folder
from edgewright.pipeline.images.release_record import ReleaseImages
from edgewright.pipeline.tracking import TrackingServer
from edgewright.pipeline.workspace import open_workspace
from flows.variants import call, submit
from tasks.build_image import build_image, check_registry, plan_images, push_images, put_together, record
from tasks.page import show_table, show_text

BUILT, PARTLY, NOTHING, REFUTED = "Images built", "Partly built", "No image", "Proof failed"
Model = Annotated[str, Field(min_length=1, max_length=100, description="name of the model, e.g. digits")]
TargetName = Annotated[str, Field(min_length=1, max_length=100, description="name of the target, e.g. linux-x86")]
Version = Annotated[int | None, Field(ge=1, description="number of the model version; empty for the champion")]
Push = Annotated[
    str | None,
    Field(
        max_length=300,
        description="registry that gets the images, e.g. registry.example:5000/team; http:// before it for one without TLS",
    ),
]
Base = Annotated[
    str,
    Field(
        max_length=300,
        description="what the images stand on, by its digest: python@sha256:… of a registry, oci:FOLDER@sha256:… of a "
        "layout; empty for the bases of docker/base.sh",
    ),
]
WithBundle = Annotated[
    bool, Field(description="the release's bundle is in the images: a device serves it before it was ever online")
]
Builder = Annotated[
    Literal["auto", "engine", "layout"],
    Field(
        description="a container engine where one answers (auto), for certain (engine), or none (layout); same digests"
    ),
]


@flow(name="release-images", flow_run_name="images-{model}.{target}", persist_result=False)
def release_images(
    model: Model,
    target: TargetName,
    version: Version = None,
    push: Push = None,
    base: Base = "",
    builder: Builder = "auto",
    with_bundle: WithBundle = True,
    targets_file: str = TARGETS_FILE,
) -> State[Any]:
    """Builds the images of a release, proves them, and puts them on record; devices are told nothing.

    Args:
        model: Name of the model.
        target: The target whose release it is; its build's other targets give the other platforms.
        version: Number of the version; None for the champion.
        push: Where they go beside the workspace's layout.
        base: What they stand on.
        builder: What builds them.
        with_bundle: Whether they hold the release's bundle; without it nothing can be proven.
        targets_file: Where targets are described, for releases that do not say.

    Returns:
        ``Images built``; ``Partly built`` or ``No image`` where parts are missing, or another platform's image failed its
        proof, which the run's page names; or, as a failed run, ``Proof failed``: nothing is recorded then.

    Raises:
        RegistryError: There is no such release, or the registry cannot be reached.
        ImageError: The registry of images refuses, which shows before anything is built, or broke off: run it again, it
            goes on.
    """
    workspace = open_workspace()
    with TrackingServer(workspace.home) as server:
        tracking = server.wait()
        plan: ReleasePlan = call(plan_images, tracking, model, target, version, targets_file)
        if push:
            call(check_registry, plan, push)
        futures = [
            submit(build_image, workspace, tracking, member, base, builder, with_bundle, member.platform.name)
            for member in plan.members
        ]
        members, missing = _results(plan, [future.wait() or future.state for future in futures])
        own = plan.members[0].platform.name
        refuted = {each.platform: each.proof.reason for each in members if each.proof.outcome == FAILED}
        missing += [f"{name}: its proof failed: {reason}" for name, reason in refuted.items() if name != own]
        left_out = tuple(each.rstrip(".") for each in (*plan.left_out, *missing))
        if members:
            _show(plan, members)
        if left_out:
            show_text(
                "\n".join(["## No image", *(f"- {each}" for each in left_out)]), "missing", "What has no image, and why"
            )
        if own in refuted:
            return _ended(Failed(name=REFUTED, message=f"nothing was recorded. {own}: {refuted[own]}"))
        members = [each for each in members if each.platform not in refuted]
        if not members or members[0].platform != own:
            return _ended(Completed(name=NOTHING, message="; ".join(left_out)))
        index = call(put_together, workspace, plan, members)
        pushed = call(push_images, workspace, plan, index, push) if push else None
        images = ReleaseImages(index, tuple(members), images_folder(workspace), pushed, left_out)
        call(record, tracking, plan, images)
    where = pushed.address.pull if pushed else f"{index.reference} in {images.layout}"
    unproven = [each.platform for each in members if each.proof.outcome != PROVEN]
    said = f"{where}: {', '.join(each.platform for each in members)}"
    said += f". Not proven here: {', '.join(unproven)}" if unproven else ""
    said += f". No image: {'; '.join(left_out)}" if left_out else ""
    return _ended(Completed(name=PARTLY if missing else BUILT, message=said))


def _results(plan: ReleasePlan, states: Sequence[Any]) -> tuple[list[BuiltMember], list[str]]:
    """What was built, and what parts are missing for the rest; any other error is the run's."""
    members, missing = [], []
    for member, state in zip(plan.members, states, strict=True):
        found = state.result(raise_on_failure=False)
        if isinstance(found, BuiltMember):
            members.append(found)
        elif isinstance(found, ImageError) and not isinstance(found, EngineFailedError):
            missing.append(f"{member.platform.name}: {found}")
        else:
            raise found
    return members, missing


def _show(plan: ReleasePlan, members: Sequence[BuiltMember]) -> None:
    rows = [
        {
            "platform": each.platform,
            "release": each.version,
            "size MiB": round(each.image.size_bytes / 1024**2, 1),
            "of it the model KiB": round(each.image.bundle_bytes / 1024, 1),
            "healthy after s": round(each.proof.figures.get("start_to_healthy_s", 0.0), 2) or "not measured",
            "proof": each.proof.describe(),
            "built by": each.built_by,
            "digest": each.image.manifest_digest,
        }
        for each in members
    ]
    show_table(rows, f"images-{plan.version.name}", f"Images of {plan.version.name} version {plan.version.version}")


def _ended(state: Any) -> State[Any]:
    ended: State[Any] = state
    return ended
