"""A function in a process of its own: its answer comes back, and whatever goes wrong there is one clear error here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import (
    CalibrationError,
    CrashError,
    DataError,
    DeadlineError,
    DiskFullError,
    EdgewrightError,
    EngineError,
    IntegrityError,
    MemoryBoundError,
    Problem,
    RecipeError,
    StageError,
)
from edgewright.pipeline.isolation import run_isolated
from edgewright.pipeline.progress import Progress

# The functions that run in the other process must be importable there: they stand in a module on its path.
_JOBS = """
import ctypes, json, os, pathlib, signal, subprocess, sys, threading, time
from edgewright import errors
from edgewright.pipeline.progress import Progress

def add(a, b, *, on_progress):
    return a + b

def count(steps, *, on_progress):
    for step in range(steps):
        on_progress(Progress("count", step + 1, steps, f"step {step + 1}"))
    return steps

def environment(*, on_progress):
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}

def fail(name, *args, on_progress):
    raise getattr(errors, name)(*args)

def fail_on_problems(*, on_progress):
    raise errors.RecipeError("mine.yaml", (errors.Problem("a", "is wrong."),))

def divide(a, b, *, on_progress):
    return a / b

def answer_unsendable(*, on_progress):
    return threading.Lock()

def write(path, *, on_progress):
    pathlib.Path(path).write_bytes(b"x")

def sleep(seconds, *, on_progress):
    time.sleep(seconds)

def crash(*, on_progress):
    print("about to fall", flush=True)
    ctypes.string_at(0)

def fall_while_litert_loads(last_words, *, on_progress):
    from edgewright.engines.litert_engine import _without_chatter

    with _without_chatter():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\n" + last_words.encode() + b"\\n")
        os.abort()

def end_by(number, *, on_progress):
    os.kill(os.getpid(), number)
    time.sleep(60)

def leave(code, *, on_progress):
    print("leaving early", flush=True)
    os._exit(code)

def leave_politely(*, on_progress):
    sys.exit(7)

def fall_when_full(mib, *, on_progress):
    held = bytearray(mib * 1024 * 1024)
    time.sleep(1.5)
    os.kill(os.getpid(), signal.SIGSEGV)

def take_memory(mib, *, on_progress):
    return len(bytearray(mib * 1024 * 1024))

def chatter(*, on_progress):
    print("noise on stdout")
    os.write(1, b"more noise\\n" * 100_000)
    sys.stderr.write("noise on stderr\\n")
    return "quiet answer"

def with_own_child(pid_file, then, *, on_progress):
    child = os.fork()
    if child == 0:
        time.sleep(120)
        os._exit(0)
    pathlib.Path(pid_file).write_text(json.dumps([os.getpid(), child]))
    if then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if then == "return":
        return child
    time.sleep(120)
"""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module of functions, importable here and in child processes."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "isolated_jobs.py").write_text(_JOBS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder))
        yield import_module("isolated_jobs")
        sys.modules.pop("isolated_jobs")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], deadline_s: float = 20) -> bool:
    ends = time.monotonic() + deadline_s
    while time.monotonic() < ends:
        if condition():
            return True
        time.sleep(0.02)
    return False


# --- answers ------------------------------------------------------------------------------------------------------


def test_the_result_comes_back(jobs: Any) -> None:
    assert run_isolated(jobs.add, 2, 3, work="sum", deadline_s=30) == 5


def test_a_full_disk_comes_back_as_such(jobs: Any) -> None:
    with pytest.raises(DiskFullError, match=r"^the disk that holds .* is full"):
        run_isolated(jobs.write, "/dev/full", work="writing", deadline_s=30)


def test_progress_is_heard_in_order(jobs: Any) -> None:
    heard: list[Progress] = []
    run_isolated(jobs.count, 3, work="count", deadline_s=30, on_progress=heard.append)
    assert heard == [Progress("count", step, 3, f"step {step}") for step in (1, 2, 3)]


def test_threads_of_numeric_libraries_are_bounded(jobs: Any) -> None:
    assert set(run_isolated(jobs.environment, work="look", deadline_s=30, threads=2).values()) == {"2"}


def test_noise_stays_out_of_the_callers_streams(jobs: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_isolated(jobs.chatter, work="chatter", deadline_s=30) == "quiet answer"
    assert capfd.readouterr() == ("", "")


def test_many_run_at_once_and_none_takes_anothers_answer(jobs: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: run_isolated(jobs.add, n, n, work=f"job {n}", deadline_s=60), range(16))
        assert list(answers) == [2 * n for n in range(16)]


# --- errors keep what they are ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [StageError, CalibrationError, EngineError, DataError, IntegrityError])
def test_an_error_keeps_its_class_and_message(jobs: Any, kind: type[EdgewrightError]) -> None:
    with pytest.raises(EdgewrightError) as caught:
        run_isolated(jobs.fail, kind.__name__, "node 'conv' is dead", work="w", deadline_s=30)
    assert type(caught.value) is kind
    assert str(caught.value) == "node 'conv' is dead"


def test_an_error_that_is_made_of_more_than_a_message_survives_too(jobs: Any) -> None:
    with pytest.raises(RecipeError, match="is wrong") as caught:
        run_isolated(jobs.fail_on_problems, work="w", deadline_s=30)
    assert caught.value.problems == (Problem("a", "is wrong."),)


def test_a_defect_is_a_stage_error_that_names_its_place(jobs: Any) -> None:
    with pytest.raises(
        StageError, match=r"ratio failed: ZeroDivisionError: division by zero \(at isolated_jobs\.py:\d+\)"
    ):
        run_isolated(jobs.divide, 1, 0, work="ratio", deadline_s=30)


def test_a_result_that_cannot_travel_is_an_error_and_no_hang(jobs: Any) -> None:
    with pytest.raises(StageError, match="lock failed: TypeError: cannot pickle"):
        run_isolated(jobs.answer_unsendable, work="lock", deadline_s=30)


# --- deaths -------------------------------------------------------------------------------------------------------


def test_a_deadline_ends_the_process(jobs: Any) -> None:
    started = time.monotonic()
    with pytest.raises(
        DeadlineError, match=r"nap ran longer than 1 s and was ended\. Raise its deadline, or do less\."
    ):
        run_isolated(jobs.sleep, 60, work="nap", deadline_s=1)
    assert time.monotonic() - started < 10


def test_a_crash_is_named_by_its_signal_and_shows_the_last_line_of_the_log(jobs: Any) -> None:
    with pytest.raises(CrashError) as caught:
        run_isolated(jobs.crash, work="export", deadline_s=30)
    assert str(caught.value).startswith(
        "export: its process was ended by SIGSEGV without an answer. Its last words: about to fall"
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "was ended by SIGKILL (the system kills a process that eats all memory)"),
        (signal.SIGRTMIN + 5, f"was ended by signal {signal.SIGRTMIN + 5}"),  # has no name
    ],
)
def test_a_kill_is_told_as_such(jobs: Any, number: int, words: str) -> None:
    with pytest.raises(CrashError) as caught:
        run_isolated(jobs.end_by, int(number), work="w", deadline_s=30)
    assert str(caught.value) == f"w: its process {words} without an answer."


def test_leaving_without_an_answer_is_a_crash(jobs: Any) -> None:
    with pytest.raises(
        CrashError, match=r"w: its process exited with 3 without an answer. Its last words: leaving early"
    ):
        run_isolated(jobs.leave, 3, work="w", deadline_s=30)
    with pytest.raises(CrashError, match="exited with 7 without an answer"):
        run_isolated(jobs.leave_politely, work="w", deadline_s=30)


def test_a_crash_is_noticed_although_a_grandchild_holds_the_pipe_open(jobs: Any, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(CrashError, match="SIGKILL"):
        run_isolated(jobs.with_own_child, str(tmp_path / "pids"), "die", work="w", deadline_s=60)
    assert time.monotonic() - started < 20
    _, grandchild = json.loads((tmp_path / "pids").read_text())
    assert wait_until(lambda: not alive(grandchild))


def test_what_the_process_started_ends_with_it(jobs: Any, tmp_path: Path) -> None:
    grandchild = run_isolated(jobs.with_own_child, str(tmp_path / "pids"), "return", work="w", deadline_s=30)
    assert wait_until(lambda: not alive(grandchild))


@pytest.mark.parametrize(
    ("last_words", "kind", "message"),
    [
        ("terminate called: std::bad_alloc", MemoryBoundError, "^load asked for more memory than its bound"),
        ("a tensor out of its bounds", CrashError, "SIGABRT without an answer. Its last words: a tensor out of its bounds$"),
    ],
)  # fmt: skip
def test_what_a_process_says_that_dies_while_litert_loads_is_heard(
    jobs: Any, last_words: str, kind: type[EdgewrightError], message: str
) -> None:
    with pytest.raises(kind, match=message) as raised:
        run_isolated(jobs.fall_while_litert_loads, last_words, work="load", deadline_s=30)
    assert raised.value.log == last_words


def test_more_memory_than_allowed_is_refused_to_the_process_alone(jobs: Any) -> None:
    assert run_isolated(jobs.take_memory, 50, work="w", deadline_s=30, memory_limit_mib=400) == 50 * 1024 * 1024
    with pytest.raises(MemoryBoundError, match="balloon asked for more memory than its bound: "):
        run_isolated(jobs.take_memory, 2000, work="balloon", deadline_s=30, memory_limit_mib=400)


def test_a_crash_near_the_memory_bound_says_how_near(jobs: Any) -> None:
    with pytest.raises(CrashError, match=r"SIGSEGV without an answer\. It held 3\d\d of the 400 MiB that it may take"):
        run_isolated(jobs.fall_when_full, 300, work="w", deadline_s=30, memory_limit_mib=400)
    with pytest.raises(CrashError, match=r"SIGSEGV without an answer\.$"):
        run_isolated(jobs.fall_when_full, 30, work="w", deadline_s=30, memory_limit_mib=4000)


def test_an_error_of_the_listener_ends_the_process(jobs: Any) -> None:
    def give_up(_: Progress) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run_isolated(jobs.count, 1000, work="count", deadline_s=30, on_progress=give_up)
    assert threading.active_count() == before


def test_when_the_caller_is_killed_the_process_and_its_own_children_end(jobs: Any, tmp_path: Path) -> None:
    pid_file = tmp_path / "pids"
    program = (
        "import isolated_jobs; from edgewright.pipeline.isolation import run_isolated;"
        f"run_isolated(isolated_jobs.with_own_child, {str(pid_file)!r}, 'sleep', work='w', deadline_s=100)"
    )
    caller = subprocess.Popen([sys.executable, "-c", program], env=os.environ)
    try:
        assert wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("]"))
        pids = json.loads(pid_file.read_text())
        assert all(alive(pid) for pid in pids)
    finally:
        caller.kill()
        caller.wait()
    assert wait_until(lambda: not any(alive(pid) for pid in pids))
