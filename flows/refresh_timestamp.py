"""Keeps signed metadata fresh, so that devices can tell a registry that stands still from one that somebody holds back."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from edgewright.pipeline.signing.expiry import Refreshed
from edgewright.pipeline.tracking import TrackingServer
from edgewright.pipeline.workspace import open_workspace
from tasks.page import show_text
from tasks.sign_release import refresh_metadata

REFRESHED, NOTHING_SIGNED, ALARM = "Refreshed", "Nothing signed", "Expires soon"


@flow(name="refresh-timestamp", persist_result=False)
def refresh_timestamp() -> State[Any]:
    """Signs the timestamp anew, and whatever the workshop's own keys sign that has less than half of its life left.

    Returns:
        ``Refreshed``; ``Nothing signed`` before the first release; or, as a failed run that people are told of, ``Expires
        soon``, where a person must bring an offline key, or one that is missing here. The timestamp is fresh then, too.

    Raises:
        KeyringError: The timestamp's key is not here or does not open.
        RegistryError: The registry cannot be reached.
    """
    workspace = open_workspace()
    with TrackingServer(workspace.home) as server:
        done: Refreshed | None = refresh_metadata(workspace, server.wait())
    if done is None:
        return _ended(Completed(name=NOTHING_SIGNED, message="no release was signed yet"))
    said = f"signed anew: {', '.join(('timestamp', *done.renewed))}"
    if not done.alarms:
        return _ended(Completed(name=REFRESHED, message=said))
    alarms = ". ".join(done.alarms)
    get_run_logger().error(alarms)
    show_text("\n".join(["## Expires soon", *(f"- {each}" for each in done.alarms)]), "expiry", "What must be renewed")
    return _ended(Failed(name=ALARM, message=f"{alarms}. {said}"))


def _ended(state: Any) -> State[Any]:
    ended: State[Any] = state
    return ended
