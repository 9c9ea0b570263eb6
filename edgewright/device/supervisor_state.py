"""Steps of the agent's state that the supervisor takes, and where it may go back to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from edgewright.device.agent_state import AgentState, Place, SlotName
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.errors import AgentStateError, DiskFullError

Step = Callable[[AgentState], AgentState]
_SLOT_NAMES: tuple[SlotName, SlotName] = ("A", "B")


class SupervisorEvents(Protocol):
    """What the supervisor tells: see ``edgewright.device.events``."""

    def count(self, name: str, value: float = 1) -> None:
        """Count up."""
        ...

    def event(self, kind: str, **facts: str | int | float | None) -> None:
        """Say what happened."""
        ...

    def answered(self, latency_ms: float, facts: dict[str, object]) -> None:
        """Count an answered request."""
        ...

    def sample(self, body: bytes, content_type: str, confidence: float) -> None:
        """Offer an input with the least probability that was answered on it; what is uncertain may be kept."""
        ...


def changed(holder: StateHolder, events: SupervisorEvents, step: Step) -> AgentState | None:
    """Take a step; None, and an event, where the state cannot be written: a full disk must not end what serves."""
    try:
        return holder.change(step)
    except (OSError, AgentStateError, DiskFullError) as error:
        events.event("state_unwritable", reason=str(error))
        return None


def empty_slot(slots: Slots, events: SupervisorEvents, slot: SlotName) -> None:
    """Delete what is in a slot that the state says is empty. Where that fails, the next installation does it."""
    try:
        slots.empty(slot)
    except OSError as error:
        events.event("slot_not_emptied", place=slot, reason=str(error))


def has_factory(slots: Slots) -> bool:
    """Say whether there is a factory bundle."""
    return slots.factory is not None and slots.factory.is_dir()


def is_usable(state: AgentState, slots: Slots, place: Place) -> bool:
    """Say whether a place has what it should have, by names and sizes: its bytes are verified by its worker.

    Raises:
        OSError: It cannot be looked at now.
    """
    if place == "factory":
        return has_factory(slots)
    held = state.held(place)
    return held is not None and slots.is_complete(place, held)


def fall_back_place(state: AgentState, slots: Slots) -> Place | None:
    """Give the place to go back to from what is active: a proved bundle in another slot, or the factory's."""
    for name in _SLOT_NAMES:
        held, on_trial = state.slots[name], state.trial is not None and state.trial.slot == name
        if name != state.active and held is not None and not on_trial:
            refused = state.is_refused(held.release.bundle_sha256)
            with suppress(OSError):  # what cannot be looked at now is no place to go back to
                if not refused and slots.is_complete(name, held):
                    return name
    return "factory" if state.active != "factory" and has_factory(slots) else None


def leaving(place: Place, to: Place | None, reason: str, at: str, refuse: bool) -> Step:
    """Give the step that goes from a place to another one, or to nothing. What is on trial stays on trial.

    Args:
        place: What is left; where it is not active any more, nothing changes.
        to: Where to go.
        reason: Why.
        at: When.
        refuse: Whether the bytes are to blame, or only what a disk made of them.
    """
    return lambda state: state.fallen_back(to, reason, at, refuse) if state.active == place else state


def without_trial(slot: SlotName, bundle_sha256: str, reason: str, at: str, refuse: bool) -> Step:
    """Give the step that ends a trial, if it is still this one."""
    on_trial = (slot, bundle_sha256)
    return lambda state: state.without_trial(reason, at, refuse) if trial_of(state) == on_trial else state


def trial_of(state: AgentState) -> tuple[SlotName, str] | None:
    """Give the slot and the identity of what is on trial."""
    if state.trial is None:
        return None
    held = state.slots[state.trial.slot]
    return None if held is None else (state.trial.slot, held.release.bundle_sha256)
