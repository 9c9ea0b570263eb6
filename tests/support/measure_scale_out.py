"""Measures what a cluster gains and costs: the same build by threads, on one Dask worker and on two.

Not a test: times on a shared machine decide nothing. Run it on a quiet one, from the repository's root::

    python tests/support/measure_scale_out.py --output scale-out.json

Every build begins with nothing remembered, on workers that have imported what tasks need, as those of a team have. "By
threads" is held to as many cores as there are workers, so that both have the same to compute with.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from ruamel.yaml import YAML

from dask_cluster import DaskCluster, dask_cluster
from s3_server import environment_of, s3_server

ROOT = Path(__file__).parents[2]
TARGETS = {"here": {"platform": "linux/amd64", "engines": ["onnxruntime"], "pays": ["size"]}}


def recipe(pruned: Sequence[float]) -> dict[str, Any]:
    """A small recipe with an unpruned and some pruned variants, each also in INT8."""
    variants: list[dict[str, Any]] = [{"name": "fp32"}, {"name": "i8", "quantize": {"calibration": ["minmax"]}}]
    for sparsity in pruned:
        prune, name = {"sparsity": sparsity, "fine_tune_epochs": 4}, f"p{100 * sparsity:.0f}"
        variants.append({"name": name, "prune": prune})
        variants.append({"name": f"{name}-i8", "prune": prune, "quantize": {"calibration": ["minmax"]}})
    return {
        "model": "scale-out",
        "data": {"dataset": "digits", "limit_per_class": 150, "validation_share": 0.3, "calibration_samples": 64},
        "architecture": {"name": "resnet8", "widths": [16, 32, 64]},
        "training": {"epochs": 8, "batch_size": 32},
        "variants": variants,
        "targets": ["here"],
        "objective": {"minimize": "size", "max_validation_drop_points": 90},
        "gate": {"margin_points": 50, "floor_pct": 5, "latency_processes": 5},
    }


def build(folder: Path, environment: Mapping[str, str], cores: int, workers: Sequence[int] = ()) -> dict[str, float]:
    """One build by the command: wall seconds, and CPU seconds of all it computed with."""
    folder.mkdir(parents=True)
    YAML().dump(recipe((0.25, 0.5, 0.75)), folder / "recipe.yaml")
    YAML().dump(TARGETS, folder / "targets.yaml")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("EDGEWRIGHT_", "PREFECT_", "MLFLOW_"))
    }
    command = [str(Path(sys.executable).parent / "edgewright"), "build", str(folder / "recipe.yaml")]
    command += ["--targets", str(folder / "targets.yaml")]
    own = {"EDGEWRIGHT_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", **environment}
    before, before_workers, started = _cpu_of_children(), _cpu_of(workers), time.monotonic()
    usable = sorted(os.sched_getaffinity(0))[:cores]
    subprocess.run(
        ["taskset", "-c", ",".join(map(str, usable)), *command],
        env={**kept, **own}, cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wall_s = time.monotonic() - started
    cpu_s = _cpu_of_children() - before + _cpu_of(workers) - before_workers
    return {"wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1), **_phases(folder / "home")}


def _phases(home: Path) -> dict[str, float]:
    """How long the part took that a cluster shares out, from Prefect's record of the tasks."""
    import sqlite3
    from datetime import datetime

    with sqlite3.connect(f"file:{home / 'prefect' / 'prefect.db'}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT name, start_time, end_time FROM task_run").fetchall()
    shared = [row for row in rows if row[0].startswith(("train", "compress", "quantize", "evaluate"))]
    times = [[datetime.fromisoformat(row[column]) for row in shared] for column in (1, 2)]
    return {"tasks": len(shared), "shared_out_s": round((max(times[1]) - min(times[0])).total_seconds(), 1)}


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_of(processes: Sequence[int]) -> float:
    """CPU seconds of processes and of their children that have ended."""
    times = [psutil.Process(pid).cpu_times() for pid in processes]
    return sum(each.user + each.system + each.children_user + each.children_system for each in times)


@contextlib.contextmanager
def _cluster(folder: Path, environment: Mapping[str, str], workers: int) -> Iterator[DaskCluster]:
    with dask_cluster(folder, environment, None, workers=workers) as cluster:
        yield cluster


def measure(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """All ways, in turn, so many times."""
    measured = []
    for number in range(rounds):
        for cores in (1, 2):
            place = folder / f"threads-{cores}-{number}"
            measured.append({"by": "threads", "at_once": cores, "store": "own", **build(place, {}, cores)})
            print(measured[-1], flush=True)
        for workers, kind in ((1, "folder"), (2, "folder"), (2, "s3")):
            place = folder / f"dask-{workers}-{kind}-{number}"
            with contextlib.ExitStack() as stack:
                team = {"EDGEWRIGHT_SHARED": str(place / "team")}
                if kind == "s3":
                    team = {"EDGEWRIGHT_SHARED": "s3://measure", **environment_of(stack.enter_context(s3_server()))}
                    _make_bucket(team)
                cluster = stack.enter_context(_cluster(place / "cluster", team, workers))
                runner = {"EDGEWRIGHT_TASK_RUNNER": cluster.address}
                pids = [each.process.pid for each in cluster.workers]
                warm_up_cpu_s = _warm_up(cluster.address, pids)
                figures = build(place / "flow", {**team, **runner}, 2, pids)
            more = {"warm_up_cpu_s_per_worker": round(warm_up_cpu_s / workers, 1), **_shared(place / "team")}
            measured.append({"by": "dask", "at_once": workers, "store": kind, **figures, **more})
            print(measured[-1], flush=True)
            shutil.rmtree(place)
    return measured


def _shared(team: Path) -> dict[str, float]:
    """How much one build put into a shared folder."""
    sizes = [path.stat().st_size for path in team.rglob("*") if path.is_file() and ".locks" not in path.parts]
    return {"shared_objects": len(sizes), "shared_mib": round(sum(sizes) / 2**20, 1)} if sizes else {}


def _warm_up(address: str, pids: Sequence[int]) -> float:
    """Lets every worker import what tasks need; the CPU seconds that takes."""
    from distributed import Client

    def import_tasks() -> None:
        importlib.import_module("prefect_dask")
        importlib.import_module("tasks.build_variants")

    before = _cpu_of(pids)
    with Client(address) as client:
        client.run(import_tasks)
    return _cpu_of(pids) - before


def _make_bucket(environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    from s3_server import make_bucket

    make_bucket("measure")
    os.environ.pop("EDGEWRIGHT_SHARED")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    load: list[float] = []
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(5):
            load.append(os.getloadavg()[0])

    threading.Thread(target=watch, daemon=True).start()
    with tempfile.TemporaryDirectory() as scratch:
        measured = measure(Path(scratch), asked.rounds)
    stopped.set()
    figures = {"cores": os.cpu_count(), "mean_load": round(sum(load) / max(1, len(load)), 1), "builds": measured}
    if asked.output:
        asked.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
