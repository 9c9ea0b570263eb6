"""Repairs what a kill left behind, in Prefect, the registry and the store; safe at any time, twice, or beside a build."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from edgewright.pipeline.tracking import Tracking, TrackingServer, registered_names
from edgewright.pipeline.workspace import Workspace, open_workspace
from tasks.page import show_text
from tasks.repair import crash_stale, find_contradictions, mend_model, note_unanswered, sweep_images, sweep_store
from tasks.sign_release import mend_updates

Sweep = Annotated[
    bool,
    Field(
        description="also remove files of the store that no result names, and images that no release names, older than a day"
    ),
]


@flow(name="reconcile", persist_result=False)
def reconcile(sweep: Sweep = True) -> State[Any]:
    """Ends stale runs, finishes or removes half-registered versions, mends aliases and signed metadata, removes orphans.

    Args:
        sweep: Also remove files of the store that no result names, and images that no release names.

    Returns:
        ``Repaired`` or ``In order``; what was done, and what only a person can decide, is on the run's page.

    Raises:
        RegistryError: The registry cannot be reached.
    """
    workspace = open_workspace()
    with TrackingServer(workspace.home) as server:
        done, open_ = repair_all(workspace, server.wait(), sweep)
    lines = ["## Repaired", *(f"- {each}" for each in done or ["nothing had to be"])]
    lines += ["", "## For a person to decide", *(f"- {each}" for each in open_ or ["nothing"])]
    show_text("\n".join(lines), "reconcile", "What a kill had left behind")
    said = f"{len(done)} repaired" if done else "everything is in order"
    if open_:
        said += f"; {len(open_)} for a person to decide: {'; '.join(open_)}"
    return Completed(name="Repaired" if done else "In order", message=said)


def repair_all(workspace: Workspace, tracking: Tracking, sweep: bool) -> tuple[list[str], list[str]]:
    """Repairs everything.

    Returns:
        One sentence for each thing that was done, and for each that only a person can decide.
    """
    done: list[str] = crash_stale()
    models = sorted({name.partition(".")[0] for name in registered_names(tracking)})
    open_: list[str] = []
    for model in models:
        done += mend_model(tracking, model)
        done += note_unanswered(tracking, model)
    signed, unsigned = mend_updates(workspace, tracking)
    done += signed
    open_ += unsigned
    for model in models:  # what the mending left
        open_ += find_contradictions(tracking, model)
    if sweep:
        done += sweep_store(workspace)
        done += sweep_images(workspace, tracking)
    return done, open_
