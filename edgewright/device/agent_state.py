"""What the agent must not forget: which slot serves, which one is on trial, what was refused, and its floors.

Every change is a pure function from one state to the next, written before what it speaks of happens: a start is counted
before it runs, a slot is emptied here before its files go.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgewright.errors import AgentStateError
from edgewright.signed_release import SignedRelease

SlotName = Literal["A", "B"]
Place = Literal["A", "B", "factory"]
STARTS_ALLOWED = 3
"""So many starts may fail before the agent goes back."""

_REFUSALS_KEPT = 64
_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Held:
    """A bundle in a slot.

    Attributes:
        release: As it was signed.
        installed_at: When it came here, UTC, by this device's clock.
    """

    release: SignedRelease
    installed_at: str


@dataclass(frozen=True)
class Trial:
    """A bundle that must prove itself before it serves.

    Attributes:
        slot: Where it is.
        starts: How often its worker was started, counted before each start.
    """

    slot: SlotName
    starts: int = 0


@dataclass(frozen=True)
class Refusal:
    """A bundle that misbehaved here; the same bytes are not installed again.

    Attributes:
        bundle_sha256: Its identity.
        version: Its version in the registry.
        reason: Why.
        at: When, UTC, by this device's clock.
    """

    bundle_sha256: str
    version: int
    reason: str
    at: str


@dataclass(frozen=True)
class Floor:
    """The lowest version of a metadata role that is still accepted.

    Attributes:
        version: The highest that was seen and verified.
        keys: Digest of the keys that the role had then: other keys, certified by the role above, begin anew. The root's
            is the digest of the root metadata that the device was enrolled with.
    """

    version: int
    keys: str


@dataclass(frozen=True)
class AgentState:
    """All of it.

    Attributes:
        active: What serves; None when nothing was ever installed and there is no factory bundle.
        slots: What is in A and B.
        trial: What is on trial.
        failed_starts: Starts of the active bundle in a row that failed.
        refused: What is not installed again, oldest first.
        floors: By role.
        signed_at_s: Latest time of signing that was verified, seconds since 1970: it is certainly later than that.
    """

    active: Place | None = None
    slots: Mapping[SlotName, Held | None] = field(default_factory=lambda: {"A": None, "B": None})
    trial: Trial | None = None
    failed_starts: int = 0
    refused: tuple[Refusal, ...] = ()
    floors: Mapping[str, Floor] = field(default_factory=dict)
    signed_at_s: float = 0.0

    def held(self, place: Place | None) -> Held | None:
        """Give what is in a slot; None for the factory, an empty slot or nothing."""
        return None if place is None or place == "factory" else self.slots[place]

    @property
    def free_slot(self) -> SlotName:
        """The slot that does not serve."""
        return "B" if self.active == "A" else "A"

    def is_refused(self, bundle_sha256: str) -> bool:
        """Say whether a bundle misbehaved here before."""
        return any(each.bundle_sha256 == bundle_sha256 for each in self.refused)

    def with_slot(self, slot: SlotName, held: Held | None) -> AgentState:
        """Say what a slot holds; the slot that serves cannot be changed."""
        if slot == self.active:
            raise AgentStateError(f"slot {slot} serves: it cannot be changed.")
        trial = None if self.trial and self.trial.slot == slot else self.trial
        return dataclasses.replace(self, slots={**self.slots, slot: held}, trial=trial)

    def with_trial(self, slot: SlotName) -> AgentState:
        """Put a slot's bundle on trial."""
        if self.slots[slot] is None or slot == self.active:
            raise AgentStateError(f"slot {slot} cannot go on trial: it is empty or serves.")
        return dataclasses.replace(self, trial=Trial(slot))

    def with_trial_start(self) -> AgentState:
        """Count a start of the trial, before it runs."""
        if self.trial is None:
            raise AgentStateError("nothing is on trial.")
        return dataclasses.replace(self, trial=dataclasses.replace(self.trial, starts=self.trial.starts + 1))

    def without_trial_start(self) -> AgentState:
        """Take a start of the trial back: its end says nothing about the bundle."""
        if self.trial is None:
            raise AgentStateError("nothing is on trial.")
        starts = max(0, self.trial.starts - 1)
        return dataclasses.replace(self, trial=dataclasses.replace(self.trial, starts=starts))

    def committed(self) -> AgentState:
        """Let what is on trial serve."""
        if self.trial is None:
            raise AgentStateError("nothing is on trial.")
        return dataclasses.replace(self, active=self.trial.slot, trial=None, failed_starts=0)

    def without_trial(self, reason: str, at: str, refuse: bool = True) -> AgentState:
        """End the trial against the bundle: its slot is empty.

        Args:
            reason: Why.
            at: When, UTC.
            refuse: Whether the bytes are to blame, which are refused then, or only what a disk made of them.
        """
        if self.trial is None:
            raise AgentStateError("nothing is on trial.")
        held, slot = self.slots[self.trial.slot], self.trial.slot
        state = self.refusing(held, reason, at) if refuse and held is not None else self
        return state.with_slot(slot, None)

    def with_failed_starts(self, count: int) -> AgentState:
        """Count starts of the active bundle, before they run; 0 once it is well."""
        return dataclasses.replace(self, failed_starts=count)

    def serving_factory(self) -> AgentState:
        """Let the factory bundle serve, where nothing does."""
        if self.active is not None:
            raise AgentStateError(f"{self.active} serves: the factory bundle cannot take its place.")
        return dataclasses.replace(self, active="factory")

    def fallen_back(self, to: Place | None, reason: str, at: str, refuse: bool = True) -> AgentState:
        """Go back from the active bundle, whose slot is empty then. What is on trial stays on trial.

        Args:
            to: Where to go; None: nothing serves.
            reason: Why.
            at: When, UTC.
            refuse: Whether the bytes are to blame, which are refused then, or only what a disk made of them. The
                factory's are never refused.
        """
        if self.trial is not None and to == self.trial.slot:
            raise AgentStateError(f"slot {to} is on trial: it is no place to go back to.")
        left = self.held(self.active)
        state = self.refusing(left, reason, at) if refuse and left is not None else self
        slots = {name: (None if name == self.active else held) for name, held in self.slots.items()}
        return dataclasses.replace(state, active=to, slots=slots, failed_starts=0)

    def refusing(self, held: Held, reason: str, at: str) -> AgentState:
        """Refuse a bundle's bytes from now on."""
        if self.is_refused(held.release.bundle_sha256):
            return self
        entry = Refusal(held.release.bundle_sha256, held.release.version, reason[:_REASON_CHARACTERS], at)
        return dataclasses.replace(self, refused=(*self.refused, entry)[-_REFUSALS_KEPT:])

    def allowing(self, bundle_sha256: str) -> AgentState:
        """Take a refusal back: a person's decision."""
        kept = tuple(each for each in self.refused if each.bundle_sha256 != bundle_sha256)
        return dataclasses.replace(self, refused=kept)

    def with_floors(self, floors: Mapping[str, Floor]) -> AgentState:
        """Say what is accepted of signed metadata from now on."""
        return dataclasses.replace(self, floors=floors)

    def with_signed_at(self, signed_at_s: float) -> AgentState:
        """Say that it is later than a time of signing, seconds since 1970."""
        return dataclasses.replace(self, signed_at_s=signed_at_s)
