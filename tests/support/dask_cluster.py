"""A Dask cluster of separate processes on loopback; every worker stands in a folder of its own, as on a machine of its own.

What a worker may not see is watched: an audit hook in its Python, and in every Python it starts, notes each look at a
forbidden folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_START_DEADLINE_S = 120.0

# Becomes sitecustomize.py, which Python runs at its start.
_WATCH = """
import os, sys

_forbidden, _log = [each for each in os.environ["WATCH_FORBIDDEN"].split(":") if each], os.environ["WATCH_LOG"]
_looks = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.chdir", "sqlite3.connect"}

def _note(text):
    descriptor = os.open(_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (text + "\\n").encode())
    os.close(descriptor)

def _watch(event, arguments):
    if event in _looks and arguments and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if any(path == each or path.startswith(each + "/") for each in _forbidden):
            _note(event + " " + path)

_note("watching " + " ".join(sys.orig_argv[1:3]))
sys.addaudithook(_watch)
"""


@dataclass(frozen=True)
class Worker:
    """One worker of a cluster.

    Attributes:
        folder: Where it stands; ``home`` in it is its workspace.
        process: The process.
    """

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """Its workspace."""
        return self.folder / "home"

    @property
    def log(self) -> str:
        """What it printed."""
        return (self.folder / "log").read_text(errors="replace")

    def computed(self) -> set[str]:
        """Stages that it computed or remembers, as ``stage/key``."""
        found = (self.home / "store" / "stages").glob("*/*.json")
        return {f"{path.parent.name}/{path.stem}" for path in found}

    def looks(self) -> tuple[int, list[str]]:
        """How many Pythons were watched, and which looks at forbidden folders were noted."""
        lines = (self.folder / "watched").read_text().splitlines()
        watching = [line for line in lines if line.startswith("watching ")]
        return len(watching), [line for line in lines if line not in watching]


@dataclass(frozen=True)
class DaskCluster:
    """A scheduler and its workers.

    Attributes:
        address: The scheduler's, ``tcp://127.0.0.1:…`` or ``tls://127.0.0.1:…``.
        workers: The workers.
    """

    address: str
    workers: Sequence[Worker]


@contextlib.contextmanager
def dask_cluster(
    folder: Path,
    environment: Mapping[str, str],
    forbidden: Sequence[Path] | None,
    workers: int = 2,
    threads: int = 1,
    certificate: Path | None = None,
) -> Iterator[DaskCluster]:
    """Runs a cluster while the block runs.

    Args:
        folder: Where the workers' folders are made.
        environment: What each worker gets beside a workspace of its own.
        forbidden: Folders that no worker may look at; a worker may not look at another one's either. None: nobody watches.
        workers: How many.
        threads: Threads of each.
        certificate: A certificate with its key (PEM) that all of them show and trust; without one nothing is encrypted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    tls: list[str] = []
    if certificate is not None:
        tls = [word for name in ("ca-file", "cert", "key") for word in (f"--tls-{name}", str(certificate))]
        tls += ["--protocol", "tls"]
    address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{port}"
    with contextlib.ExitStack() as running:
        command = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", *tls]
        running.enter_context(_process(command, folder / "scheduler", {}))
        started = []
        for number in range(workers):
            own = folder / f"worker-{number}"
            others = [folder / f"worker-{other}" for other in range(workers) if other != number]
            command = ["distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
            command += ["--nthreads", str(threads), "--memory-limit", "0", "--name", own.name, *tls]
            watched = {"PYTHONPATH": str(ROOT)} if forbidden is None else _watch(own, [*forbidden, *others])
            own_environment = {**environment, **watched, "EDGEWRIGHT_HOME": str(own / "home")}
            started.append(Worker(own, running.enter_context(_process(command, own, own_environment))))
        _wait_for(address, started)
        yield DaskCluster(address, tuple(started))


def _wait_for(address: str, workers: Sequence[Worker]) -> None:
    from distributed import Client

    ends = time.monotonic() + _START_DEADLINE_S
    with Client(address, timeout=_START_DEADLINE_S) as client:
        while len(client.scheduler_info(n_workers=-1)["workers"]) < len(workers):
            dead = [worker.log[-2000:] for worker in workers if worker.process.poll() is not None]
            assert not dead and time.monotonic() < ends, f"the cluster did not start: {dead}"
            time.sleep(0.1)


def _watch(folder: Path, forbidden: Sequence[Path]) -> dict[str, str]:
    hooks = folder / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "sitecustomize.py").write_text(_WATCH)
    return {
        "PYTHONPATH": f"{hooks}:{ROOT}",
        "WATCH_FORBIDDEN": ":".join(map(str, forbidden)),
        "WATCH_LOG": str(folder / "watched"),
    }


@contextlib.contextmanager
def _process(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / "scratch"
    scratch.mkdir()
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("EDGEWRIGHT_", "PREFECT_", "MLFLOW_"))
    }
    own = {"TMPDIR": str(scratch), "OMP_NUM_THREADS": "1", "PREFECT_HOME": str(folder / "prefect"), **environment}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env={**kept, **own},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def results_of(stages: Path) -> dict[str, str]:
    """The results in all stage records below a folder, by ``stage/key``: digests and all else, but no times and no memory."""
    found = {}
    for path in sorted(stages.glob("*/*.json")):
        result = json.loads(path.read_bytes(), object_hook=_without_measurements)["content"]["result"]
        found[f"{path.parent.name}/{path.stem}"] = json.dumps(result, sort_keys=True)
    return found


def _without_measurements(value: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in value.items() if name not in ("seconds", "peak_memory_mib")}
