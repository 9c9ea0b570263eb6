"""The state on the disk: whatever is damaged is seen, and the state before takes its place."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
from pathlib import Path

import pytest

from edgewright.bundle_file import sha256_hex
from edgewright.device.agent_state import AgentState, Floor, Held, Refusal, Trial
from edgewright.device.state_file import StateFile, parse_state, state_bytes
from edgewright.device.state_holder import StateHolder
from edgewright.errors import AgentStateError
from edgewright.strict_json import dump_json


@pytest.fixture
def full(held_pair: tuple[Held, Held]) -> AgentState:
    return AgentState(
        active="A",
        slots=dict(zip(("A", "B"), held_pair, strict=True)),
        trial=Trial("B", 2),
        failed_starts=1,
        refused=(Refusal("f" * 64, 7, "too slow", "2030-01-01T00:00:00Z"),),
        floors={"root": Floor(3, "k"), "digits.linux-x86": Floor(9, "l")},
        signed_at_s=1.9e9,
    )


def test_a_state_is_read_as_it_was_written(tmp_path: Path, full: AgentState) -> None:
    assert StateFile(tmp_path).read() == (AgentState(), None), "a device that never ran"
    StateFile(tmp_path).write(full)
    assert StateFile(tmp_path).read() == (full, None)


def test_every_flipped_bit_of_the_file_is_seen(full: AgentState) -> None:
    data = state_bytes(full)
    for at in range(0, len(data), 7):
        flipped = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        try:
            assert parse_state(flipped, "state.json") == full, "only what lies between the values may differ"
        except AgentStateError:
            continue


@pytest.mark.parametrize("damage", [b"", b"{}", b"\0" * 300, None])
def test_the_state_before_takes_the_place_of_a_damaged_one(
    damage: bytes | None, tmp_path: Path, full: AgentState
) -> None:
    holder = StateHolder(tmp_path)
    holder.change(lambda state: full)
    holder.change(lambda state: state.with_failed_starts(2))
    path = tmp_path / "state.json"
    path.unlink() if damage is None else path.write_bytes(damage)
    again = StateHolder(tmp_path)
    assert again.state == full
    assert again.damage is not None and "state.json" in again.damage
    again.change(lambda state: state.with_failed_starts(3))
    assert StateHolder(tmp_path).damage is None
    assert parse_state((tmp_path / "state.previous.json").read_bytes(), "previous") == full, "not the damaged bytes"


@pytest.mark.parametrize("value", [b"1e999", b"-1e999", b"[" * 400 + b"]" * 400])
def test_what_json_cannot_say_again_is_damage_too(value: bytes, tmp_path: Path, full: AgentState) -> None:
    for state in (full, full.with_failed_starts(2)):
        StateFile(tmp_path).write(state)
    path = tmp_path / "state.json"
    damaged = path.read_bytes().replace(b"1900000000.0", value)
    path.write_bytes(damaged)
    found, damage = StateFile(tmp_path).read()
    assert value in damaged and found == full
    assert damage is not None and re.search(r"state\.json is (damaged|not valid JSON)", damage)


def test_two_damaged_files_are_an_error_and_nothing_is_guessed(tmp_path: Path, full: AgentState) -> None:
    for name in ("state.json", "state.previous.json"):
        (tmp_path / name).write_bytes(b"torn")
    with pytest.raises(AgentStateError, match="Enrol this device again"):
        StateHolder(tmp_path)


def test_a_newer_agents_state_is_left_alone(tmp_path: Path) -> None:
    body = {"format": 2}
    (tmp_path / "state.json").write_bytes(dump_json({"sha256": sha256_hex(dump_json(body)), "state": body}))
    with pytest.raises(AgentStateError, match="a newer agent was here"):
        StateHolder(tmp_path)


def test_what_could_not_be_read_back_is_never_written(tmp_path: Path, full: AgentState) -> None:
    holder = StateHolder(tmp_path)
    holder.change(lambda state: full)
    with pytest.raises(AgentStateError):
        holder.change(lambda state: dataclasses.replace(state, floors={"root": Floor(2**60, "k")}))
    with pytest.raises(AgentStateError, match="more than"):
        holder.change(lambda state: dataclasses.replace(state, floors={"root": Floor(1, "k" * (1 << 20))}))
    assert holder.state == StateHolder(tmp_path).state == full


def test_the_state_before_is_kept_where_a_file_system_has_no_links(
    tmp_path: Path, full: AgentState, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    holder = StateHolder(tmp_path)
    holder.change(lambda state: full)
    holder.change(lambda state: state.with_failed_starts(2))
    assert parse_state((tmp_path / "state.previous.json").read_bytes(), "previous") == full


def test_the_file_is_plain_json_for_people(tmp_path: Path, full: AgentState) -> None:
    StateFile(tmp_path).write(full)
    document = json.loads((tmp_path / "state.json").read_text())
    assert (document["state"]["active"], document["state"]["trial"]) == ("A", {"slot": "B", "starts": 2})
