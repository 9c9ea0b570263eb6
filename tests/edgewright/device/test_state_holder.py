"""The holder of the state in a process, and the lock that makes it the only one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgewright.device.agent_state import AgentState
from edgewright.device.state_holder import StateHolder, state_lock
from edgewright.errors import AgentLockedError, AgentStateError, DiskFullError


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
    with pytest.raises(error, match=rule) as caught:
        holder.change(lambda state: state.with_failed_starts(1))
    assert caught.value.exit_code == 4  # type: ignore[attr-defined]
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
