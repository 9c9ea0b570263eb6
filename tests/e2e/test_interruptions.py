"""Ctrl-C, and the demo from start to end."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stages(workshop: Any, name: str) -> int:
    return len(list((workshop.home / "store" / "stages" / name).glob("*.json")))


def test_an_interrupt_in_the_middle_is_one_line_and_leaves_nothing(first_build: Any, make_workshop: Any) -> None:
    workshop = make_workshop(first_build.workshop)
    shutil.rmtree(workshop.home / "store")
    process = workshop.start("edgewright", *workshop.build_words())
    wait_for(lambda: stages(workshop, "train") == 1)  # two compressions begin, four more pieces of work wait
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted; the next build carries on from here.\n"
    assert "Traceback" not in out
    assert time.monotonic() - started < 15, "it does not wait for what computes"
    assert stages(workshop, "compress") < 2
    assert workshop.wait_until_quiet(10) == []
    done, _ = workshop.build()
    assert (done.status, done.err) == (0, "")
    assert " train       ✓ base                     unchanged" in done.out


def test_the_demo_ends_with_a_device_that_answers(first_build: Any, make_workshop: Any) -> None:
    workshop = make_workshop(first_build.workshop)
    code = (
        "import sys; from pathlib import Path; from edgewright.cli import demo; from edgewright.cli.main import main; "
        "demo.RECIPE = Path(sys.argv[1]); sys.exit(main(['demo', '--targets', sys.argv[2]]))"
    )
    done = workshop.run(os.path.basename(sys.executable), "-c", code, workshop.recipe, workshop.targets)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "edgewright demo: tiny on this machine"
    assert any(line.startswith(" device      ✓ installed: tiny.here version 1 (p50-i8)") for line in lines)
    (answered,) = [line for line in lines if "answered 200 images that it never saw" in line]
    assert int(answered.split(":")[1].split()[0]) > 60, "as right as its accuracy says"
    assert lines[-1].startswith("Look closer: ")
    assert workshop.described_processes() == []
