"""The agent's state on the disk: one file, replaced in one durable step, with a checksum; the one before stays beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from edgewright.bundle_file import SHA256_PATTERN, BundleFile, sha256_hex
from edgewright.device.agent_state import AgentState, Floor, Held, Place, Refusal, Trial
from edgewright.durable import keep_beside, replace_file
from edgewright.errors import AgentStateError, IntegrityError
from edgewright.signed_release import custom_files, release_from_signed
from edgewright.strict_json import Fields, dump_json, load_json

STATE_NAME, PREVIOUS_NAME = "state.json", "state.previous.json"
_FORMAT = 1
_STATE_MAX_BYTES = 1 << 20


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
        data = state_bytes(state)
        if len(data) > _STATE_MAX_BYTES:
            raise AgentStateError(f"{self.path} would have {len(data)} bytes, more than {_STATE_MAX_BYTES}.")
        parse_state(data, f"the state to write to {self.path}")
        if self.path.exists() and _is_whole(_read(self.path)):
            keep_beside(self.path, PREVIOUS_NAME)
        replace_file(self.path, data)


def state_bytes(state: AgentState) -> bytes:
    """Give the file's contents."""
    body: dict[str, Any] = {
        "format": _FORMAT,
        "active": state.active,
        "slots": {name: None if held is None else _held_json(held) for name, held in state.slots.items()},
        "trial": None if state.trial is None else dataclasses.asdict(state.trial),
        "failed_starts": state.failed_starts,
        "refused": [dataclasses.asdict(each) for each in state.refused],
        "floors": {role: dataclasses.asdict(floor) for role, floor in state.floors.items()},
        "signed_at_s": state.signed_at_s,
    }
    return dump_json({"sha256": sha256_hex(dump_json(body)), "state": body})


def parse_state(data: bytes, place: str) -> AgentState:
    """Read a state strictly.

    Raises:
        AgentStateError: The bytes are damaged, of a newer format, or not such a state.
    """
    outer = Fields(load_json(data, place, AgentStateError), place, AgentStateError)
    promised, body = outer.text("sha256"), outer.take("state")
    outer.end()
    try:
        found_sha256 = sha256_hex(dump_json(body))
    except (ValueError, RecursionError) as cause:  # a number beyond all that JSON has, lists in lists in lists
        raise AgentStateError(f"{place} is damaged: {cause}.") from cause
    if found_sha256 != promised:
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
