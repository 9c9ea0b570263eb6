"""What a state says, for reports and the status: the same words from a running agent and from its folder."""

from __future__ import annotations

import dataclasses
from typing import Any

from edgewright.device.agent_state import AgentState, Place


def describe_place(state: AgentState, place: Place | None) -> dict[str, Any] | None:
    """Say what is in a place; None for nothing."""
    if place is None:
        return None
    held = state.held(place)
    if held is None:
        return {"place": place}
    release = held.release
    return {
        "place": place,
        "name": release.name,
        "version": release.version,
        "variant": release.variant,
        "bundle_sha256": release.bundle_sha256,
        "installed_at": held.installed_at,
    }


def describe_state(state: AgentState) -> dict[str, Any]:
    """Say all that a state says and that does not concern the agent alone."""
    trial = state.trial
    return {
        "active": state.active,
        "failed_starts": state.failed_starts,
        "trial": None
        if trial is None
        else {**(describe_place(state, trial.slot) or {}), "slot": trial.slot, "starts": trial.starts},
        "slots": {name: describe_place(state, name) if held else None for name, held in state.slots.items()},
        "refused": [dataclasses.asdict(each) for each in state.refused],
        "floors": {role: floor.version for role, floor in state.floors.items()},
        "signed_at_s": state.signed_at_s,
    }
