"""Taking in is killed at every step that it takes on disk: nothing is lost, and the next call ends as if nothing had been."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# What changes something that a killed process leaves behind.
STEPS = ("rename", "replace", "unlink", "mkdir", "rmdir", "link")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digests_below(folder: Path) -> Counter[str]:
    """Of all files, those that are hidden too."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".reason.txt")]
    return Counter(digest(path.read_bytes()) for path in found)


def outcome(workshop: Any) -> Any:
    """What a call left behind, but for times."""
    ledger = [{key: value for key, value in record.items() if key != "taken_at"} for record in workshop.ledger()]
    reasons = {name: text.split("\n", 1)[1] for name, text in workshop.set_aside().items()}
    return ledger, reasons, [name.split("Z-", 1)[-1] for name in workshop.lying()]


def run_killed(workshop: Any, at: int) -> int:
    """Takes in, in a child that kills itself before its n-th step; returns how many steps it took where it survived."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        taken = 0

        def instrumented(real: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any, **named: Any) -> Any:
                nonlocal taken
                taken += 1
                if taken == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **named)

            return step

        for name in STEPS:
            setattr(os, name, instrumented(getattr(os, name)))
        try:
            workshop.take_in()
            os.write(writing, b"%d" % taken)
        finally:
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as file:
        told = file.read()
    if told:
        return int(told)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, "the child failed before it was killed"
    return 0


def deliver_files(workshop: Any, rows: Callable[..., dict[str, Any]]) -> None:
    first = rows(20, 2)
    workshop.deliver("a-good.npz", **first)
    workshop.deliver("b-again.npz", **{key: np.concatenate([first[key][:5], rows(6, 3)[key]]) for key in first})
    (workshop.incoming / "c-junk.npz").write_bytes(b"junk")
    os.symlink(workshop.folder / "own.npz", workshop.incoming / "d-link.npz")


def deliver_pictures(workshop: Any, rows: Callable[..., dict[str, Any]]) -> None:
    from PIL import Image

    for place, count in ((workshop.folder / "pictures", 12), (workshop.incoming, 3)):
        for index in range(count):
            noise = np.random.default_rng((count, index)).integers(0, 256, (4, 5), dtype=np.uint8)
            file = place / ("whole" if index % 2 else "cracked") / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise).save(file)
    (workshop.incoming / "whole" / "z-junk.png").write_bytes(b"junk")
    workshop.make({"dataset": "image_folder", "path": str(workshop.folder / "pictures"), "mode": "grey"})


@pytest.mark.parametrize("deliver", [deliver_files, deliver_pictures])
def test_killed_at_any_step_the_next_call_ends_as_if_nothing_had_been(
    workshop: Any, more_rows: Any, deliver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a killed process loses nothing that it wrote; a power cut would
    deliver(workshop, more_rows)
    sound = workshop.folder / "sound"
    shutil.copytree(workshop.incoming, sound, symlinks=True)
    delivered = digests_below(workshop.incoming)

    def begin_again() -> None:
        shutil.rmtree(workshop.incoming)
        shutil.rmtree(workshop.workspace.home, ignore_errors=True)
        shutil.copytree(sound, workshop.incoming, symlinks=True)

    steps = run_killed(workshop, 0)
    expected = outcome(workshop)
    assert steps > 15
    for at in range(1, steps + 1):
        begin_again()
        run_killed(workshop, at)
        kept = {source["sha256"] for record in workshop.ledger() for source in record["sources"] if record["taken"]}
        lying = digests_below(workshop.incoming)
        assert not [name for name in delivered if name not in kept and lying[name] < delivered[name]], f"lost at {at}"
        workshop.take_in()
        assert outcome(workshop) == expected, f"killed at step {at} of {steps}"
        before_more = workshop.ledger()
        report = workshop.take_in()
        assert (report.taken, report.rejected, report.known) == ((), (), ()) and workshop.ledger() == before_more


def test_killed_from_outside_at_any_moment_it_carries_on(workshop: Any, more_rows: Any) -> None:
    for index in range(40):
        workshop.deliver(f"{index:02}.npz", **more_rows(10, 100 + index))
    (workshop.folder / "recipe.json").write_text(workshop.recipe.model_dump_json())
    script = (
        "import pathlib, sys; from edgewright.pipeline.intake import incoming, take_in; incoming.QUIET_S = 0.0;"
        "from edgewright.pipeline.recipe import Recipe; from edgewright.pipeline.workspace import Workspace;"
        "recipe = Recipe.model_validate_json(pathlib.Path('recipe.json').read_text());"
        "take_in(Workspace(pathlib.Path('home').resolve()), recipe, lambda heard: print(heard.done, flush=True))"
    )
    for until in (3, 9, 20):
        running = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert running.stdout is not None
        for line in running.stdout:
            if float(line) >= until:
                time.sleep(0.003 * until)
                running.kill()
        running.wait()
        running.stdout.close()
    workshop.take_in()
    assert workshop.lying() == []
    assert sum(batch.taken for batch in workshop.collection().pending) == 400
    assert len(workshop.ledger()) == 40
