"""Runs one function in a process of its own, with a deadline and a memory bound.

A crash, a hang or a memory balloon in a framework becomes one clear error here instead of the end of the caller; two stages
really run side by side; and the caller never imports the framework. The function is named by its module and must be
importable; arguments and result travel by pickle over a pipe between the two processes of one program.

The child ends itself when its parent is gone, however that died.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, TypeVar

from edgewright.engines.litert_engine import KEEP_STDERR
from edgewright.errors import CrashError, DeadlineError, EdgewrightError, MemoryBoundError, StageError
from edgewright.pipeline.disk_space import full_disk
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress

ResultT = TypeVar("ResultT")

_LOG_TAIL_BYTES = 2000
_LAST_WORDS = 300
# A process that dies with more than this share of its memory bound in use may have been refused more.
_NEAR_BOUND = 0.5
# What is kept of a log for those who look for the cause.
_LOG_BYTES = 200_000
_CHATTER = ("WARNING: All log messages before absl::InitializeLog()", "I0000 ", "INFO: Created TensorFlow Lite")
# How often to look whether a silent process still lives: one of its own children may hold its end of the pipe open.
_POLL_S = 0.5
# What PyTorch, TensorFlow and C++ itself say when the allocator is refused memory.
_ALLOCATION_FAILURES = (
    "can't allocate memory",
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
    "OOM when allocating",
)


def run_isolated(
    function: Callable[..., ResultT],
    /,
    *args: Any,
    work: str,
    deadline_s: float,
    memory_limit_mib: int | None = None,
    threads: int = 1,
    environment: Mapping[str, str] = MappingProxyType({}),
    on_progress: ProgressListener = ignore_progress,
) -> ResultT:
    """Calls ``function(*args, on_progress=…)`` in a fresh process and returns its result.

    Args:
        function: A module-level function of an importable module.
        args: Arguments, picklable.
        work: Name of the work, for messages.
        deadline_s: The process is killed after this many seconds.
        memory_limit_mib: Bound on its private memory, in MiB.
        threads: Threads of numeric libraries in the process.
        environment: Variables that the process gets beside this one's own.
        on_progress: Hears what the function reports.

    Raises:
        EdgewrightError: As raised by the function.
        DeadlineError: It ran too long.
        MemoryBoundError: It asked for too much memory.
        CrashError: The process died; the message carries the end of its log.
    """
    here, there = os.pipe(), os.pipe()
    with tempfile.TemporaryFile() as log:
        process = _spawn(here[0], there[1], threads, environment, log)
        os.close(here[0])
        os.close(there[1])
        with Connection(here[1], readable=False) as jobs, Connection(there[0], writable=False) as answers:
            try:
                job = (function.__module__, function.__qualname__, args, memory_limit_mib)
                with contextlib.suppress(BrokenPipeError):  # a child that died at once is reported below
                    jobs.send_bytes(pickle.dumps(job))
                result: ResultT = _listen(process, answers, work, deadline_s, memory_limit_mib, on_progress, log)
                return result
            except EdgewrightError as error:
                error.log = _end_of(log, _LOG_BYTES)
                raise
            finally:
                _end(process)


def _spawn(
    job_fd: int, answer_fd: int, threads: int, more: Mapping[str, str], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    # Whatever is said there belongs in the log, to the last word of a process that dies.
    environment = {**os.environ, **more, KEEP_STDERR: "1"}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = str(threads)
    # Threads that spin while they wait slow a busy machine down several times; sleeping costs next to nothing.
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    return subprocess.Popen(
        [sys.executable, "-m", "edgewright.pipeline.isolation", str(job_fd), str(answer_fd)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(job_fd, answer_fd),
        env=environment,
        start_new_session=True,
    )


def _listen(
    process: subprocess.Popen[bytes],
    answers: Connection,
    work: str,
    deadline_s: float,
    memory_limit_mib: int | None,
    on_progress: ProgressListener,
    log: IO[bytes],
) -> Any:
    ends, held_mib = time.monotonic() + deadline_s, 0.0
    while True:
        held_mib = _private_memory_mib(process.pid) or held_mib
        remaining = ends - time.monotonic()
        if remaining <= 0:
            raise DeadlineError(
                f"{work} ran longer than {deadline_s:g} s and was ended. Raise its deadline, or do less."
            )
        ended = process.poll() is not None
        try:
            if not answers.poll(0 if ended else min(_POLL_S, remaining)):
                if ended:
                    raise EOFError
                continue
            kind, payload = pickle.loads(answers.recv_bytes())
        except (EOFError, ConnectionError):
            code, tail = process.wait(), _end_of(log, _LOG_TAIL_BYTES)
            if any(words in tail for words in _ALLOCATION_FAILURES):
                raise MemoryBoundError(_beyond_bound(work, "an allocation was refused")) from None
            last = f" Its last words: {tail.splitlines()[-1][:_LAST_WORDS]}" if tail else ""
            bound = _hint_at_bound(held_mib, memory_limit_mib)
            raise CrashError(f"{work}: its process {_death(code)} without an answer.{last}{bound}") from None
        if kind == "progress":
            on_progress(payload)
        elif kind == "result":
            return payload
        elif kind == "error":
            raise _revived(*payload)
        elif kind == "memory":
            raise MemoryBoundError(_beyond_bound(work, payload))
        else:
            raise StageError(f"{work} failed: {payload}")


def _revived(kind: type[EdgewrightError], args: tuple[object, ...], attributes: dict[str, object]) -> EdgewrightError:
    """The error that was raised in the child. Its constructor is not asked: it may want other arguments than a message."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error


def _death(code: int) -> str:
    if code < 0:
        known = {member.value: member.name for member in signal.Signals}
        name = known.get(-code, f"signal {-code}")
        hint = " (the system kills a process that eats all memory)" if -code == signal.SIGKILL else ""
        return f"was ended by {name}{hint}"
    return f"exited with {code}"


def _private_memory_mib(pid: int) -> float:
    """What the bound on private memory counts; 0 when the process is gone."""
    with contextlib.suppress(OSError, ValueError):
        status = Path(f"/proc/{pid}/status").read_text()
        return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmData:")), 0.0)
    return 0.0


def _hint_at_bound(held_mib: float, memory_limit_mib: int | None) -> str:
    """A library that is refused memory may simply fall, without a word; what it held tells."""
    if memory_limit_mib is None or held_mib < _NEAR_BOUND * memory_limit_mib:
        return ""
    held = f"{held_mib:,.0f} of the {memory_limit_mib:,} MiB that it may take"
    return f" It held {held}: if that was too little, raise the bound."


def _beyond_bound(work: str, reason: str) -> str:
    return f"{work} asked for more memory than its bound: {reason}. Raise the bound, or do less."


def _end_of(log: IO[bytes], size_bytes: int) -> str:
    """The last lines of the log, without what TensorFlow notes at every start."""
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - size_bytes))
    lines = log.read().decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if not line.startswith(_CHATTER)).strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _child(job_fd: int, answer_fd: int) -> None:
    jobs, answers = Connection(job_fd, writable=False), Connection(answer_fd, readable=False)
    module, name, args, memory_limit_mib = pickle.loads(jobs.recv_bytes())
    threading.Thread(target=_end_with_parent, args=(jobs,), daemon=True).start()
    sending = threading.Lock()

    def send(kind: str, payload: object) -> None:
        with sending:
            answers.send_bytes(pickle.dumps((kind, payload)))

    def report(progress: Progress) -> None:
        send("progress", progress)

    if memory_limit_mib is not None:
        bound = memory_limit_mib * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    try:
        function = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        send("result", function(*args, on_progress=report))  # type: ignore[operator]
    except EdgewrightError as error:
        send("error", (type(error), error.args, error.__dict__))
    except MemoryError as error:
        send("memory", str(error) or "an allocation was refused")
    except Exception as error:
        traceback.print_exc()
        full = full_disk(error)
        if full is not None:
            send("error", (type(full), full.args, full.__dict__))
            return
        refused = any(words in str(error) for words in _ALLOCATION_FAILURES)
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{os.path.basename(where.filename)}:{where.lineno}"
        send("memory" if refused else "failure", f"{type(error).__name__}: {error} (at {place})")


def _end_with_parent(jobs: Connection) -> None:
    """Ends this process, and those that it started, when the parent's end of the pipe closes: nobody waits any more."""
    with contextlib.suppress(EOFError, OSError):
        jobs.recv_bytes()
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    _child(int(sys.argv[1]), int(sys.argv[2]))
