"""What the agent must not forget: which slot serves, which one is on trial, what was refused, and its floors.

One file, ``state.json``, replaced in one durable step, with a checksum; the file before it stays as
``state.previous.json``. Every change is a pure function from one state to the next, written before what it speaks of
happens: a start is counted before it runs, a slot is emptied here before its files go.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgewright.bundle_file import SHA256_PATTERN, BundleFile, sha256_hex
from edgewright.durable import keep_beside, replace_file
from edgewright.errors import AgentStateError, IntegrityError
from edgewright.signed_release import SignedRelease, custom_files, release_from_signed
from edgewright.strict_json import Fields, dump_json, load_json

SlotName = Literal["A", "B"]
Place = Literal["A", "B", "factory"]
STARTS_ALLOWED = 3
"""So many starts may fail before the agent goes back."""

STATE_NAME, PREVIOUS_NAME = "state.json", "state.previous.json"
_FORMAT = 1
_REFUSALS_KEPT = 64
_REASON_CHARACTERS = 300
_STATE_MAX_BYTES = 1 << 20


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

    def committed(self) -> AgentState:
        """Let what is on trial serve."""
        if self.trial is None:
            raise AgentStateError("nothing is on trial.")
        return dataclasses.replace(self, active=self.trial.slot, trial=None, failed_starts=0)

    def without_trial(self, reason: str, at: str) -> AgentState:
        """End the trial against the bundle: its slot is empty, the same bytes are refused."""
        if self.trial is None:
            raise AgentStateError("nothing is on trial.")
        held, slot = self.slots[self.trial.slot], self.trial.slot
        state = self if held is None else self.refusing(held, reason, at)
        return state.with_slot(slot, None)

    def with_failed_starts(self, count: int) -> AgentState:
        """Count starts of the active bundle, before they run; 0 once it is well."""
        return dataclasses.replace(self, failed_starts=count)

    def fallen_back(self, to: Place, reason: str, at: str) -> AgentState:
        """Go back from the active bundle, whose bytes are refused, to another place. The factory's are never refused."""
        left = self.held(self.active)
        state = self if left is None else self.refusing(left, reason, at)
        slots = {name: (None if name == self.active else held) for name, held in self.slots.items()}
        return dataclasses.replace(state, active=to, slots=slots, trial=None, failed_starts=0)

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

    def to_bytes(self) -> bytes:
        """Give the file's contents."""
        body: dict[str, Any] = {
            "format": _FORMAT,
            "active": self.active,
            "slots": {name: None if held is None else _held_json(held) for name, held in self.slots.items()},
            "trial": None if self.trial is None else dataclasses.asdict(self.trial),
            "failed_starts": self.failed_starts,
            "refused": [dataclasses.asdict(each) for each in self.refused],
            "floors": {role: dataclasses.asdict(floor) for role, floor in self.floors.items()},
            "signed_at_s": self.signed_at_s,
        }
        return dump_json({"sha256": sha256_hex(dump_json(body)), "state": body})


class StateFile:
    """The state in one folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / STATE_NAME
        self._previous = folder / PREVIOUS_NAME

    def read(self) -> tuple[AgentState, str | None]:
        """Give the state, and what was wrong with its file where the one before it had to be taken.

        A device that never ran has no file: its state is empty.

        Raises:
            AgentStateError: Neither file can be read. Serving nothing unproved is safer than guessing.
        """
        if not self.path.exists() and not self._previous.exists():
            return AgentState(), None
        try:
            return parse_state(_read(self.path), str(self.path)), None
        except (AgentStateError, OSError) as damage:
            try:
                return parse_state(_read(self._previous), str(self._previous)), str(damage)
            except (AgentStateError, OSError) as second:
                raise AgentStateError(
                    f"{damage} {self._previous.name} cannot take its place: {second} Enrol this device again."
                ) from damage

    def write(self, state: AgentState) -> None:
        """Replace the state, durably; the one before stays beside it.

        Raises:
            AgentStateError: It could not be read back: it is not written, since a device cannot go on without its state.
            OSError: The disk is full or broken.
        """
        data = state.to_bytes()
        if len(data) > _STATE_MAX_BYTES:
            raise AgentStateError(f"{self.path} would have {len(data)} bytes, more than {_STATE_MAX_BYTES}.")
        parse_state(data, f"the state to write to {self.path}")
        if self.path.exists() and _is_whole(_read(self.path)):
            keep_beside(self.path, PREVIOUS_NAME)
        replace_file(self.path, data)


def parse_state(data: bytes, place: str) -> AgentState:
    """Read a state strictly.

    Raises:
        AgentStateError: The bytes are damaged, of a newer format, or not such a state.
    """
    outer = Fields(load_json(data, place, AgentStateError), place, AgentStateError)
    promised, body = outer.text("sha256"), outer.take("state")
    outer.end()
    if sha256_hex(dump_json(body)) != promised:
        raise AgentStateError(f"{place} is damaged: its checksum does not fit.")
    fields = Fields(body, place, AgentStateError)
    if (found := fields.integer("format", 1)) > _FORMAT:
        raise AgentStateError(f"{place} has the format {found}, newer than {_FORMAT}: a newer agent was here.")
    try:
        return _parse_body(fields, place)
    except IntegrityError as damage:
        raise AgentStateError(f"{place}: {damage}") from damage


def _parse_body(fields: Fields, place: str) -> AgentState:
    slots, trial = fields.inner("slots"), fields.take("trial")
    return AgentState(
        active=_place(fields),
        slots={name: _read_held(slots.take(name), place) for name in ("A", "B")},
        trial=None if trial is None else _read_trial(trial, place),
        failed_starts=fields.integer("failed_starts"),
        refused=tuple(_read_refusal(each, place) for each in fields.array("refused")),
        floors=_read_floors(fields.take("floors"), place),
        signed_at_s=fields.number("signed_at_s"),
    )


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_STATE_MAX_BYTES)


def _is_whole(data: bytes) -> bool:
    try:
        parse_state(data, STATE_NAME)
    except AgentStateError:
        return False
    return True


def _place(fields: Fields) -> Place | None:
    value = fields.take("active")
    if value not in (None, "A", "B", "factory"):
        raise fields.fail("active", "A, B, factory or null", value)
    return value


def _held_json(held: Held) -> dict[str, Any]:
    files = [dataclasses.asdict(file) for file in held.release.files]
    return {"release": held.release.custom(), "files": files, "installed_at": held.installed_at}


def _read_held(value: object, place: str) -> Held | None:
    if value is None:
        return None
    fields = Fields(value, place, AgentStateError)
    custom, files = fields.take("release"), []
    for entry in fields.array("files"):
        each = Fields(entry, place, AgentStateError)
        files.append(BundleFile(each.text("name"), each.text("sha256"), each.integer("size_bytes", 1)))
    if custom_files(custom) != tuple(sorted(file.name for file in files)):
        raise AgentStateError(f"{place}: a slot's files are not those of its release.")
    return Held(release_from_signed(custom, files), fields.text("installed_at"))


def _read_trial(value: object, place: str) -> Trial:
    fields = Fields(value, place, AgentStateError)
    slot = fields.take("slot")
    if slot != "A" and slot != "B":
        raise fields.fail("slot", "A or B", slot)
    return Trial(slot, fields.integer("starts"))


def _read_refusal(value: object, place: str) -> Refusal:
    fields = Fields(value, place, AgentStateError)
    sha256 = fields.text("bundle_sha256")
    if not SHA256_PATTERN.fullmatch(sha256):
        raise fields.fail("bundle_sha256", "64 hexadecimal digits", sha256)
    return Refusal(sha256, fields.integer("version", 1), fields.text("reason"), fields.text("at"))


def _read_floors(value: object, place: str) -> dict[str, Floor]:
    if not isinstance(value, dict):
        raise AgentStateError(f"{place}: floors must be an object.")
    floors = {}
    for role, entry in value.items():
        fields = Fields(entry, place, AgentStateError)
        floors[str(role)] = Floor(fields.integer("version", 1), fields.text("keys"))
    return floors
