"""What a worker is started for, how it is started, and what its end says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edgewright.bundle_file import BundleFile
from edgewright.device.frames import Frame

LAST_WORDS = 300
"""Characters that are kept of what a worker says at its end."""
# A worker runs what came over a network: it is not told what it need not know.
_SECRETS = ("TOKEN", "SECRET", "PASSW", "PASSPHRASE", "CREDENTIAL", "EDGEWRIGHT_", "MLFLOW_", "AWS_")


@dataclass(frozen=True)
class WorkerJob:
    """What a worker is started for.

    Attributes:
        folder: The bundle, as an absolute path.
        bundle_sha256: Its identity.
        memory_mib: Bound on the address space.
        start_deadline_s: Longest time until it has proved its bundle.
        deadline_s: Longest time for one request.
        heartbeat_s: Longest silence.
        request_bytes: Largest request.
        latency_p95_ms: Greatest figure of the self-test; None where it is only reported.
        peak_memory_mib: Likewise.
        files: What was signed, to tell a damaged disk from a bundle that contradicts itself; empty for the factory's.
    """

    folder: Path
    bundle_sha256: str
    memory_mib: float
    start_deadline_s: float
    deadline_s: float
    heartbeat_s: float
    request_bytes: int
    latency_p95_ms: float | None = None
    peak_memory_mib: float | None = None
    files: tuple[BundleFile, ...] = ()

    def to_frame(self) -> Frame:
        """Give the first message to a worker."""
        return Frame({"kind": "job", **asdict(self), "folder": str(self.folder)})


def start_worker(job: WorkerJob) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start a worker process; gives the line to it, and the process, whose stderr is a pipe.

    Raises:
        OSError: The system cannot.
    """
    here, there = socket.socketpair()
    try:
        with there:
            process = subprocess.Popen(
                worker_command(there.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(there.fileno(),),
                env=worker_environment(os.environ),
                cwd="/",
                start_new_session=True,
            )
    except OSError:
        here.close()
        raise
    return here, process


def worker_command(descriptor: int) -> list[str]:
    """Give the command that starts a worker on an inherited socket."""
    # -P: whatever lies in the current folder is not imported.
    return [sys.executable, "-P", "-m", "edgewright.device.worker", str(descriptor)]


def worker_environment(outer: Mapping[str, str]) -> dict[str, str]:
    """Give a worker's environment: no secrets of the agent's, one thread, and the library that this is."""
    kept = {name: value for name, value in outer.items() if not any(each in name.upper() for each in _SECRETS)}
    library = str(Path(__file__).resolve().parents[2])
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([library, *filter(None, [outer.get("PYTHONPATH")])]),
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
        "EDGEWRIGHT_KEEP_STDERR": "1",
    }


def describe_end(code: int, stderr: bytes) -> str:
    """Say how a process ended, with its last words."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    words = f"; its last words: {lines[-1][:LAST_WORDS]}" if lines else ""
    if code >= 0:
        return f"it ended with the exit code {code}{words}"
    return f"it was ended by {_signal_name(-code)}{words}"


def _signal_name(number: int) -> str:
    return next((member.name for member in signal.Signals if member.value == number), f"signal {number}")
