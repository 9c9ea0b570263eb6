"""Processes that are known for life, found by their mark, and ended with what they started."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import psutil

from edgewright.pipeline.live_process import (
    Mark,
    bind_loopback,
    end,
    folder_mark,
    free_port,
    listening_ports,
    process_tag,
    start_detached,
    with_environment,
)

SLEEPER = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(600)"]
# One that has a child, and does not end when asked to.
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print('begun', flush=True); time.sleep(600)",
]


def start(tmp_path: Path, command: list[str], **variables: str) -> Mark:
    log = tmp_path / "log"
    mark = start_detached(command, folder=tmp_path, environment={**os.environ, **variables}, log=log)
    while "begun" not in log.read_text():
        time.sleep(0.02)
    return mark


def test_a_process_is_known_by_its_id_and_its_creation() -> None:
    mine = Mark.of(os.getpid())
    assert mine is not None
    assert mine.is_alive()
    assert not Mark(mine.pid, mine.created - 60).is_alive(), "the same id, another process"


def test_what_was_started_has_a_session_of_its_own_and_ends_when_told(tmp_path: Path) -> None:
    mark = start(tmp_path, SLEEPER)
    assert os.getsid(mark.pid) == mark.pid
    end([psutil.Process(mark.pid)], 5.0)
    assert not mark.is_alive()
    assert not psutil.pid_exists(mark.pid), "reaped, not a zombie"


def test_a_child_that_was_killed_by_somebody_else_is_dead_and_reaped(tmp_path: Path) -> None:
    mark = start(tmp_path, SLEEPER)
    os.kill(mark.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while mark.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not psutil.pid_exists(mark.pid)


def test_a_mark_in_the_environment_finds_a_process_and_its_children_and_nobody_else(tmp_path: Path) -> None:
    value = folder_mark(tmp_path)
    mark = start(tmp_path, STUBBORN, EDGEWRIGHT_TRIAL=value)
    other = start(tmp_path, SLEEPER, EDGEWRIGHT_TRIAL="another")
    try:
        family = with_environment("EDGEWRIGHT_TRIAL", value)
        assert mark.pid in {process.pid for process in family}
        assert len(family) == 2
        begun = time.monotonic()
        end(family, 0.5)
        assert time.monotonic() - begun >= 0.5, "it was asked first"
        assert with_environment("EDGEWRIGHT_TRIAL", value) == []
        assert {process.pid for process in with_environment("EDGEWRIGHT_TRIAL")} == {other.pid}
    finally:
        end([psutil.Process(other.pid)], 5.0)


def test_a_folder_is_marked_by_more_than_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    before = folder_mark(folder)
    folder.rename(tmp_path / "away")
    folder.mkdir()
    assert folder_mark(folder) != before


def test_a_wanted_port_is_kept_while_it_is_free() -> None:
    with bind_loopback(0) as listener:
        port = int(listener.getsockname()[1])
        assert port in listening_ports(psutil.Process())
        assert free_port(port) != port
        assert 15_000 <= port < 30_000, "not one that the system gives to whoever connects somewhere"
        with bind_loopback(port) as other:
            assert other.getsockname()[1] != port
    assert free_port(port) == port
    assert port not in listening_ports(psutil.Process())


def test_a_process_names_itself_by_machine_id_and_creation() -> None:
    mine = Mark.of(os.getpid())
    assert mine is not None
    assert process_tag() == f"process:{socket.gethostname()}:{mine.pid}:{mine.created:.2f}"
