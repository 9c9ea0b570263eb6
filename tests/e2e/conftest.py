"""A whole workshop in a folder of its own: the real commands, the real servers, a recipe small enough to wait for.

One real build is made per session. Every module that changes anything works on a copy of its workshop, so that no test
depends on what another one did.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from ruamel.yaml import YAML

from edgewright.bundle import read_bundle
from edgewright.pipeline.signing.publisher import DEVELOPMENT
from edgewright.pipeline.tracking import Tracking, champion, comparison, download, metadata, tracking_server, versions
from edgewright.pipeline.tracking.client import open_client
from edgewright.pipeline.tracking.model_version import registered_names

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

RECIPE: dict[str, Any] = {
    "model": "tiny",
    "description": "A small trial.",
    "seed": 3,
    "data": {
        "dataset": "digits",
        "limit_per_class": 100,
        "validation_share": 0.3,
        "calibration_share": 0.25,
        "calibration_samples": 64,
    },
    "architecture": {"name": "resnet8", "widths": [16, 16, 32]},
    "training": {"epochs": 8, "batch_size": 32},
    "variants": [
        {"name": "fp32"},
        {"name": "i8", "quantize": {"calibration": ["minmax"]}},
        {
            "name": "p50-i8",
            "prune": {"sparsity": 0.5, "fine_tune_epochs": 2},
            "quantize": {"calibration": ["minmax"]},
        },
    ],
    "targets": ["here", "board"],
    # By size, so that noise on a busy machine decides nothing.
    "objective": {"minimize": "size", "max_validation_drop_points": 90},
    "gate": {"margin_points": 50, "floor_pct": 20, "latency_processes": 5},
}
# Every stage there is, in as little time as possible: one target, few samples, and an answer to corrupted ones.
LEAN: dict[str, Any] = {
    "data__limit_per_class": 90,
    "training__epochs": 4,
    "variants": [RECIPE["variants"][0], RECIPE["variants"][2]],
    "targets": ["here"],
    "gate__robustness": {"corruptions": ["noise"], "margin_points": 50},
    "gate__floor_pct": 5,
}
TARGETS: dict[str, Any] = {
    "here": {"platform": "linux/amd64", "engines": ["onnxruntime"], "pays": ["size"]},
    "board": {
        "platform": "linux/arm64",
        "engines": ["onnxruntime"],
        "budgets": {"latency_p95_ms": 10_000},
        "pays": ["size"],
    },
}


@dataclass(frozen=True)
class Done:
    """A command that has ended.

    Attributes:
        status: Its exit status.
        out: What it said.
        err: What it said on stderr, but for the notices about development keys.
        seconds: How long it took.
        notices: How often it said that development keys sign.
    """

    status: int
    out: str
    err: str
    seconds: float
    notices: int = 0


def without_notices(err: str) -> str:
    """What stands on stderr beside the notice that development keys sign."""
    return err.replace(f"{DEVELOPMENT}\n", "")


class Workshop:
    """One workspace, and the commands that are run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        folder.mkdir(parents=True, exist_ok=True)
        self.targets = self.write_yaml("targets.yaml", TARGETS)
        self.recipe = self.write_recipe("recipe.yaml")

    def copy_to(self, folder: Path) -> Workshop:
        """Another workshop with the same past."""
        shutil.copytree(self.home, folder / "home")
        # The copy has no server and no users: it gets its own.
        (folder / "home" / "mlflow" / "server.json").unlink(missing_ok=True)
        return Workshop(folder)

    def write_yaml(self, name: str, content: Mapping[str, Any]) -> Path:
        path = self.folder / name
        YAML().dump(json.loads(json.dumps(content)), path)
        return path

    def write_recipe(self, name: str, **changes: Any) -> Path:
        """The small recipe; ``gate__margin_points=1`` changes one key of a section, ``targets=[…]`` a whole one."""
        recipe = copy.deepcopy(RECIPE)
        for place, value in changes.items():
            section, _, key = place.partition("__")
            if key:
                recipe[section][key] = value
            else:
                recipe[section] = value
        return self.write_yaml(name, recipe)

    def write_lean_recipe(self, name: str, **changes: Any) -> Path:
        """As ``write_recipe``, for one that is built as quickly as possible."""
        return self.write_recipe(name, **{**LEAN, **changes})

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_"))}
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        return {**kept, "EDGEWRIGHT_HOME": str(self.home), "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)}

    def start(self, command: str, *words: str | Path, **popen: Any) -> subprocess.Popen[str]:
        """Starts a command in a session of its own."""
        return subprocess.Popen(
            [BIN / command, *map(str, words)],
            **{
                "cwd": ROOT,
                "env": self.environment,
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "start_new_session": True,
                **popen,
            },
        )

    def run(self, command: str, *words: str | Path, timeout_s: float = 300) -> Done:
        """Runs a command to its end."""
        started = time.monotonic()
        process = self.start(command, *words)
        try:
            out, err = process.communicate(timeout=timeout_s)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        seconds = time.monotonic() - started
        return Done(process.returncode, out, without_notices(err), seconds, err.count(DEVELOPMENT))

    def edgewright(self, *words: str | Path) -> Done:
        return self.run("edgewright", *words)

    def agent(self, *words: str | Path) -> Done:
        return self.run("edgewright-agent", *words)

    def build_words(self, recipe: Path | None = None, *words: str) -> list[str]:
        files = ["--targets", str(self.targets), "--summary", str(self.folder / "summary.json")]
        return ["build", str(recipe or self.recipe), *files, *words]

    def build(self, recipe: Path | None = None, *words: str) -> tuple[Done, dict[str, Any]]:
        """Builds; returns how it ended and the summary file."""
        summary = self.folder / "summary.json"
        summary.unlink(missing_ok=True)
        done = self.edgewright(*self.build_words(recipe, *words))
        return done, json.loads(summary.read_text()) if summary.exists() else {}

    @property
    def tracking(self) -> Tracking:
        return metadata(self.home)

    def prefect(self, query: str) -> list[tuple[Any, ...]]:
        """What stands in Prefect's database."""
        with sqlite3.connect(f"file:{self.home / 'prefect' / 'prefect.db'}?mode=ro", uri=True) as database:
            return database.execute(query).fetchall()

    def processes(self) -> list[Any]:
        """All live processes that belong to this workshop: commands, isolated stages, servers."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("EDGEWRIGHT_HOME") == str(self.home)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def described_processes(self) -> list[str]:
        """The same, in words."""
        words = []
        for process in self.processes():
            try:
                words.append(" ".join(process.cmdline())[:200])
            except psutil.NoSuchProcess:
                continue
        return words

    def wait_until_quiet(self, seconds: float = 30) -> list[str]:
        """Gives what is ending the time to end; returns what is still there."""
        deadline = time.monotonic() + seconds
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.2)
        return self.described_processes()

    def kill_tree(self, process: subprocess.Popen[str]) -> None:
        """Ends a command and all that it started, servers too, as a machine's end would."""
        for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        process.communicate(timeout=60)

    def check_registry(self, model: str = "tiny") -> None:
        """What must hold whenever one looks, whatever happened before."""
        client = open_client(self.tracking)
        for name in registered_names(self.tracking, model):
            target = name.partition(".")[2]
            for version in versions(self.tracking, model, target):
                assert version.build, "no version without tags"
                assert version.bundle_sha256
                assert version.is_complete or not version.aliases, "nothing points to a half registered version"
            in_office = champion(self.tracking, model, target)
            if in_office is not None:
                assert (in_office.is_complete, in_office.verdict) == (True, "pass")
                with tempfile.TemporaryDirectory() as scratch:
                    folder = download(self.tracking, in_office, "bundle", Path(scratch))
                    assert read_bundle(folder, in_office.bundle_sha256).manifest.build == in_office.build
        experiment = client.get_experiment_by_name(model)
        runs = client.search_runs([experiment.experiment_id]) if experiment else []
        complete = {run.info.run_id for run in runs if run.data.tags.get("edgewright.complete") == "true"}
        shown = {row.run_id for row in comparison(self.tracking, model)} if complete else set()
        assert shown <= complete, "half a run is never shown"

    def litter(self) -> list[str]:
        """What commands left among the system's temporary files, but for what is meant to stay: a cache, and a lock."""
        left = [path.name for path in (self.folder / "scratch").iterdir()]
        return [name for name in left if not name.startswith(("torchinductor_", "edgewright-measure-"))]

    def stop(self) -> None:
        """Ends whatever a failed test left running here."""
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


@dataclass(frozen=True)
class FirstBuild:
    """The build that the session's workshop began with. Look, but do not change it: copy the workshop."""

    workshop: Workshop
    done: Done
    summary: dict[str, Any]
    left_running: list[str]


@pytest.fixture(scope="session")
def first_build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstBuild]:
    """One real build in a fresh workshop."""
    workshop = Workshop(tmp_path_factory.mktemp("workshop"))
    try:
        done, summary = workshop.build()
        yield FirstBuild(workshop, done, summary, workshop.described_processes())
    finally:
        workshop.stop()


@pytest.fixture(scope="module")
def workshop(first_build: FirstBuild, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """This module's own copy of the workshop after the first build."""
    assert first_build.done.status == 0, first_build.done.err
    own = first_build.workshop.copy_to(tmp_path_factory.mktemp("copy"))
    try:
        yield own
    finally:
        own.stop()


@pytest.fixture(scope="module")
def registry(workshop: Workshop) -> Iterator[Tracking]:
    """The module's registry, up for as long as the module takes; the commands find it and use it."""
    with tracking_server(workshop.home) as tracking:
        yield tracking


@pytest.fixture(scope="session")
def make_workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Workshop]]:
    """Workshops of a test's own: fresh, or with another one's past."""
    made: list[Workshop] = []

    def make(past: Workshop | None = None) -> Workshop:
        folder = tmp_path_factory.mktemp("own")
        made.append(past.copy_to(folder) if past else Workshop(folder))
        return made[-1]

    yield make
    for each in made:
        each.stop()
