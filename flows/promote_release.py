"""What a person decides about releases: promote one, or go back to the one before."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from edgewright.errors import UsageError
from edgewright.pipeline.signing.publisher import Signing
from edgewright.pipeline.tracking import Promotion, TrackingServer
from edgewright.pipeline.workspace import open_workspace
from flows.holding import PROMOTION_WAIT_S, holding
from tasks.decide_release import move_back, move_forward
from tasks.page import show_promotion
from tasks.sign_release import sign_release

Model = Annotated[str, Field(min_length=1, max_length=100, description="name of the model, e.g. digits")]
TargetName = Annotated[str, Field(min_length=1, max_length=100, description="name of the target, e.g. linux-x86")]
Version = Annotated[int, Field(ge=1, description="number of the model version, as the registry counts")]
Reason = Annotated[str, Field(min_length=3, max_length=500, description="why; stored with the version")]
Who = Annotated[str, Field(min_length=1, max_length=100, description="who decides; stored with the version")]
Waiver = Annotated[
    str,
    Field(max_length=500, description="only where the verdict is not `pass`: why it may go out all the same; stored"),
]
Seen = Annotated[
    int | None,
    Field(
        ge=0,
        description="the champion that you looked at before you decided, 0 for none; refused where it is another by now",
    ),
]


@flow(name="promote-release", flow_run_name="promote-{model}.{target}-{version}", persist_result=False)
def promote_release(
    model: Model,
    target: TargetName,
    version: Version,
    reason: Reason,
    who: Who,
    waiver: Waiver = "",
    champion_seen: Seen = None,
) -> State[Any]:
    """Makes a version the champion: what devices of the target shall run from now on.

    Args:
        model: Name of the model.
        target: Name of the target.
        version: Number of the version.
        reason: Why.
        who: Who decides.
        waiver: Needed where the verdict is not ``pass``: why it may go out all the same.
        champion_seen: The champion that was in office when this was decided; None does not ask.

    Raises:
        LeaseHeldError: Another promotion of this model is under way.
        ChampionMovedError: Another champion is in office by now.
        RegistryError: The version must not be champion, there is none of that number, or the registry cannot be reached.
    """
    _check_words(reason=reason, who=who)
    workspace = open_workspace()
    with TrackingServer(workspace.home) as server:
        tracking = server.wait()
        with holding(workspace, f"promotion.{model}", PROMOTION_WAIT_S):
            done: Promotion = move_forward(
                tracking, model, target, version, reason, who, waiver.strip() or None, champion_seen
            )
            signing: Signing = sign_release(workspace, tracking, model, target)
        return _ended(done, signing, "Promoted", f"{reason} ({who})", tracking.uri)


@flow(name="rollback-release", flow_run_name="rollback-{model}.{target}", persist_result=False)
def rollback_release(
    model: Model, target: TargetName, reason: Reason, who: Who, champion_seen: Seen = None
) -> State[Any]:
    """Gives the office back to the release that the champion replaced; the one that leaves is marked as withdrawn.

    Args:
        model: Name of the model.
        target: Name of the target.
        reason: Why.
        who: Who decides.
        champion_seen: The champion that is to leave; None takes whichever is in office.

    Raises:
        LeaseHeldError: A promotion of this model is under way.
        ChampionMovedError: Another champion is in office by now.
        RegistryError: There is nothing to go back to, or the registry cannot be reached.
    """
    _check_words(reason=reason, who=who)
    workspace = open_workspace()
    with TrackingServer(workspace.home) as server:
        tracking = server.wait()
        with holding(workspace, f"promotion.{model}", PROMOTION_WAIT_S):
            done: Promotion = move_back(tracking, model, target, reason, who, champion_seen)
            signing: Signing = sign_release(workspace, tracking, model, target)
        return _ended(done, signing, "Rolled back", f"{reason} ({who})", tracking.uri)


def _ended(done: Promotion, signing: Signing, name: str, why: str, uri: str) -> State[Any]:
    said = show_promotion(done, signing, why, uri)
    return Completed(name=name if done.changed else "Unchanged", message=said)


def _check_words(**words: str) -> None:
    for what, text in words.items():
        if not text.strip():
            raise UsageError(f"{what} is blank: say it in a few words, it is stored with the version")
