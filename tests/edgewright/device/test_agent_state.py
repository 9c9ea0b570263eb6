from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgewright.bundle_file import sha256_hex
from edgewright.device.agent_state import (
    AgentState,
    Floor,
    Held,
    Refusal,
    StateFile,
    Trial,
    parse_state,
)
from edgewright.device.state_holder import StateHolder, state_lock
from edgewright.errors import AgentLockedError, AgentStateError, DiskFullError
from edgewright.signed_release import SignedRelease
from edgewright.strict_json import dump_json
from tuf_repository import TufRepository

AT = "2030-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> list[SignedRelease]:
    repository = TufRepository(tmp_path_factory.mktemp("signed") / "store")
    return [repository.release(number) for number in (1, 2)]


@pytest.fixture
def one(releases: list[SignedRelease]) -> Held:
    return Held(releases[0], AT)


@pytest.fixture
def two(releases: list[SignedRelease]) -> Held:
    return Held(releases[1], AT)


# ---- the steps


def test_a_release_goes_through_trial_to_service(one: Held, two: Held) -> None:
    state = AgentState().with_slot("A", one).with_trial("A").with_trial_start()
    assert (state.active, state.trial) == (None, Trial("A", 1))
    state = state.committed()
    assert (state.active, state.trial, state.free_slot) == ("A", None, "B")
    state = state.with_slot("B", two).with_trial("B").with_trial_start().committed()
    assert state.held(state.active) == two
    assert state.held("A") == one, "the one before stays, to go back to"


def test_a_trial_that_ends_badly_leaves_nothing_but_the_refusal(one: Held, two: Held) -> None:
    state = AgentState(active="A", slots={"A": one, "B": None}).with_slot("B", two).with_trial("B")
    state = state.without_trial("answers wrongly", AT)
    assert (state.active, state.slots["B"], state.trial) == ("A", None, None)
    assert state.refused == (Refusal(two.release.bundle_sha256, 2, "answers wrongly", AT),)
    assert state.is_refused(two.release.bundle_sha256)
    assert not state.allowing(two.release.bundle_sha256).is_refused(two.release.bundle_sha256)


def test_falling_back_refuses_what_served(one: Held, two: Held) -> None:
    state = AgentState(active="B", slots={"A": one, "B": two}, failed_starts=3).fallen_back("A", "crashes", AT)
    assert (state.active, state.slots["B"], state.failed_starts) == ("A", None, 0)
    assert state.is_refused(two.release.bundle_sha256)
    assert AgentState(active="factory").fallen_back("A", "x", AT).refused == (), "the factory's bundle never is"


def test_what_serves_cannot_be_changed(one: Held) -> None:
    state = AgentState(active="A", slots={"A": one, "B": None})
    for step in (
        lambda: state.with_slot("A", None),
        lambda: state.with_trial("A"),
        lambda: state.with_trial("B"),
        state.with_trial_start,
        state.committed,
        lambda: state.without_trial("x", AT),
    ):
        with pytest.raises(AgentStateError):
            step()


def test_refusals_are_bounded_and_each_stands_once(one: Held) -> None:
    state = AgentState().refusing(one, "x" * 1_000, AT).refusing(one, "again", AT)
    assert [len(each.reason) for each in state.refused] == [300]
    for number in range(100):
        release = dataclasses.replace(one.release, files=one.release.files)
        held = dataclasses.replace(one, release=release)
        manifest = dataclasses.replace(release.manifest, sha256=f"{number:064x}")
        files = tuple(manifest if file.name == "manifest.json" else file for file in release.files)
        state = state.refusing(dataclasses.replace(held, release=dataclasses.replace(release, files=files)), "x", AT)
    assert len(state.refused) == 64


# ---- the file


@pytest.fixture
def full(one: Held, two: Held) -> AgentState:
    return AgentState(
        active="A",
        slots={"A": one, "B": two},
        trial=Trial("B", 2),
        failed_starts=1,
        refused=(Refusal("f" * 64, 7, "too slow", AT),),
        floors={"root": Floor(3, "k"), "digits.linux-x86": Floor(9, "l")},
        signed_at_s=1.9e9,
    )


def test_a_state_is_read_as_it_was_written(tmp_path: Path, full: AgentState) -> None:
    assert StateFile(tmp_path).read() == (AgentState(), None), "a device that never ran"
    StateFile(tmp_path).write(full)
    assert StateFile(tmp_path).read() == (full, None)


def test_every_flipped_bit_of_the_file_is_seen(full: AgentState) -> None:
    data = full.to_bytes()
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


# ---- the holder


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    holder = StateHolder(tmp_path)
    with pytest.raises(AgentStateError):
        holder.change(AgentState.committed)
    assert holder.state == AgentState()
    assert not (tmp_path / "state.json").exists()


def test_a_step_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    holder = StateHolder(tmp_path)
    holder.change(lambda state: state.with_failed_starts(1))
    before = (tmp_path / "state.json").stat()
    holder.change(lambda state: state.with_failed_starts(1))
    assert (tmp_path / "state.json").stat().st_ino == before.st_ino


def test_changes_from_many_threads_are_all_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    holder = StateHolder(tmp_path)

    def count() -> None:
        for _ in range(25):
            holder.change(lambda state: state.with_failed_starts(state.failed_starts + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert holder.state.failed_starts == StateHolder(tmp_path).state.failed_starts == 100


@pytest.mark.parametrize(
    ("number", "error", "rule"),
    [(errno.ENOSPC, DiskFullError, "is full: make room"), (errno.EIO, AgentStateError, "cannot be written")],
)
def test_a_disk_that_refuses_is_one_clear_error_and_the_next_change_flushes(
    number: int, error: type[Exception], rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = StateHolder(tmp_path)
    flushed: list[int] = []

    def fail(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(tmp_path):
            raise OSError(number, "the medium refuses")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error, match=rule):
        holder.change(lambda state: state.with_failed_starts(1))
    assert holder.state.failed_starts == 1, "the name is there already: what is seen is what is held"
    monkeypatch.setattr(os, "fsync", flushed.append)
    holder.change(lambda state: state.with_failed_starts(1))
    assert len(flushed) == 2, "it was not durable, and is written again"


def test_what_killed_writers_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".state.json.ab12_xyz").write_bytes(b"half")
    (tmp_path / ".keep").write_bytes(b"")
    StateHolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".keep"]


# ---- one agent a folder


LOCKER = """
import sys, time
from pathlib import Path
from edgewright.device.state_holder import StateHolder, state_lock
from edgewright.errors import AgentLockedError
try:
    with state_lock(Path(sys.argv[1])):
        StateHolder(Path(sys.argv[1]))
        print("won", flush=True)
        sys.stdin.read()
except AgentLockedError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


def test_of_eight_agents_on_one_folder_one_works(tmp_path: Path) -> None:
    words = [sys.executable, "-c", LOCKER, str(tmp_path / "state")]
    agents = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        for _ in range(8)
    ]
    try:
        told = {agent.pid: (agent.stdout.readline() if agent.stdout else "").strip() for agent in agents}
        (winner,) = [pid for pid, text in told.items() if text == "won"]
        for agent in agents:
            if agent.pid != winner:
                assert agent.wait(30) == AgentLockedError.exit_code == 3
                assert f"the agent with the process id {winner}" in told[agent.pid] or "unknown" in told[agent.pid]
        with pytest.raises(AgentLockedError, match=f"process id {winner}"), state_lock(tmp_path / "state"):
            pass
    finally:
        for agent in agents:
            agent.kill()
            agent.communicate()
    with state_lock(tmp_path / "state"):  # the lock ended with its holder
        assert StateHolder(tmp_path / "state").state == AgentState()


def test_the_file_is_plain_json_for_people(tmp_path: Path, full: AgentState) -> None:
    StateFile(tmp_path).write(full)
    document = json.loads((tmp_path / "state.json").read_text())
    assert (document["state"]["active"], document["state"]["trial"]) == ("A", {"slot": "B", "starts": 2})
