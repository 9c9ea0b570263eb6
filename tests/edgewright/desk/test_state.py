"""What the desk remembers survives, a torn file loses nothing but itself, and one command at a time is at work."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from edgewright.desk.state import Deployed, DeskState, desk_folder, desk_lock, read_state, write_state
from edgewright.pipeline.live_process import Mark

HOLDER = """
import sys, time
from pathlib import Path
from edgewright.desk.state import desk_lock
with desk_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(home: Path, seconds: float) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_what_is_remembered_is_read_again(tmp_path: Path) -> None:
    assert read_state(tmp_path) == DeskState()
    desk_folder(tmp_path).mkdir()
    state = DeskState(
        4201,
        {"prefect": Mark(12, 34.5)},
        keeps_mlflow=True,
        deployed=Deployed("ab", ["flow/name"], {"flow/name": {"paused": False}}, {"notice": "cd"}),
    )
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state


def test_a_file_that_cannot_be_read_is_an_empty_memory(tmp_path: Path) -> None:
    desk_folder(tmp_path).mkdir()
    for content in ("", "{torn", "[]", '{"parts": {}}', '{"parts": {}, "deployed": {}, "another": "version"}', "null"):
        (desk_folder(tmp_path) / "desk.json").write_text(content)
        assert read_state(tmp_path) == DeskState()


def test_a_second_command_waits_and_says_so_once(tmp_path: Path) -> None:
    holder = hold(tmp_path, 1.0)
    told: list[str] = []
    begun = time.monotonic()
    with desk_lock(tmp_path, lambda: told.append("waiting")):
        waited = time.monotonic() - begun
    assert told == ["waiting"]
    assert waited > 0.2
    holder.communicate()


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    holder = hold(tmp_path, 600)
    holder.kill()
    holder.communicate()
    with desk_lock(tmp_path):
        pass
