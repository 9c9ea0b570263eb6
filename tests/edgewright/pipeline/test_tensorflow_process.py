"""TensorFlow in a process of its own: set up as pruning needs it, bounded, and never here."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

import tensorflow_jobs
from edgewright.errors import CrashError, DeadlineError, MemoryBoundError, StageError
from edgewright.pipeline.tensorflow_process import run_with_tensorflow, start_tensorflow


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return run_with_tensorflow(tensorflow_jobs.describe, work="look", deadline_s=120)


def test_keras_2_stands_behind_every_name(described: dict[str, Any]) -> None:
    assert described["keras"].startswith("2.") and described["tf_keras_is_keras_2"]


def test_the_same_seed_draws_the_same_numbers(described: dict[str, Any]) -> None:
    assert run_with_tensorflow(tensorflow_jobs.describe, work="look", deadline_s=120)["drawn"] == described["drawn"]


def test_the_process_that_asks_never_imports_it(described: dict[str, Any]) -> None:
    assert described["process"] != os.getpid()
    assert not described["torch"], "one framework per process"
    asking = (
        "import sys, tensorflow_jobs\n"
        "from edgewright.pipeline.tensorflow_process import run_with_tensorflow\n"
        "run_with_tensorflow(tensorflow_jobs.describe, work='look', deadline_s=120)\n"
        "print(sorted({'tensorflow', 'tf_keras', 'keras'} & set(sys.modules)))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    asked = subprocess.run(
        [sys.executable, "-c", asking], capture_output=True, text=True, check=True, timeout=240, env=environment
    )
    assert asked.stdout.strip() == "[]"


def test_it_is_refused_where_nobody_set_the_process_up(described: dict[str, Any]) -> None:
    with pytest.raises(StageError, match="must be started by run_with_tensorflow"):
        start_tensorflow(threads=1, seed=0)
    with pytest.raises(StageError, match="must be started by run_with_tensorflow"):
        run_with_tensorflow(tensorflow_jobs.start_twice, work="twice", deadline_s=120)


def test_a_crash_is_one_line_and_its_log_is_kept() -> None:
    with pytest.raises(CrashError) as caught:
        run_with_tensorflow(tensorflow_jobs.crash, work="tfl-i8", deadline_s=120)
    assert str(caught.value) == (
        "tfl-i8: its process was ended by SIGSEGV without an answer. Its last words: a kernel is about to fall"
    )
    assert "a kernel is about to fall" in caught.value.log


def test_a_hang_ends_at_its_deadline() -> None:
    with pytest.raises(DeadlineError, match=r"^tfl-i8 ran longer than 12 s and was ended"):
        run_with_tensorflow(tensorflow_jobs.hang, work="tfl-i8", deadline_s=12)


def test_more_memory_than_the_bound_is_told_as_that() -> None:
    with pytest.raises(MemoryBoundError, match=r"^tfl-i8 asked for more memory than its bound"):
        run_with_tensorflow(tensorflow_jobs.devour, work="tfl-i8", deadline_s=120, memory_limit_mib=3072)
