"""A desk in a folder of its own: the real commands, servers and worker, with flows that do next to nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from edgewright.desk.api import PrefectApi

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

FLOWS = """
import os
import signal
import time

from prefect import flow, get_run_logger
from prefect.flow_runs import suspend_flow_run
from prefect.states import Failed

from tasks.last_word import promise_last_word

promise_last_word()


def act(seconds: float, end: str):
    get_run_logger().info("a word from the run")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.2)
    if end == "suspended":
        suspend_flow_run(timeout=3600)
    if end == "refused":
        return Failed(name="Refused", message="too few samples of class \\"8\\"")
    if end == "failed":
        raise ValueError("broken")


@flow(name="trial")
def trial(seconds: float = 0.0, end: str = "completed"):
    return act(seconds, end)


@flow(name="nightly-retrain")
def nightly(seconds: float = 0.0, end: str = "completed"):
    return act(seconds, end)
"""
PREFECT_FILE = """
name: trial
prefect-version: 3.8.8
definitions:
  pool: &pool
    name: edgewright
deployments:
  - name: some
    entrypoint: trial_flows.flows.trial
    work_pool: *pool
    pull: []
  - name: some
    entrypoint: trial_flows.flows.nightly
    work_pool: *pool
    schedules:
      - cron: "0 2 * * *"
        timezone: Europe/Berlin
        slug: nightly
        active: true
    pull: []
  - name: paused
    entrypoint: trial_flows.flows.nightly
    work_pool: *pool
    schedules:
      - cron: "30 2 * * *"
        timezone: UTC
        slug: nightly
        active: false
    pull: []
"""


@dataclass(frozen=True)
class Said:
    """A command that has ended."""

    status: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        return f"[{self.status}] {self.out}\n{self.err}"


class TrialDesk:
    """A checkout of its own with trial flows, and the desk that is opened in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, root / ".edgewright"
        package = root / "trial_flows"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "flows.py").write_text(FLOWS)
        (root / "deployments").mkdir()
        (root / "deployments" / "prefect.yaml").write_text(PREFECT_FILE)
        shutil.copytree(ROOT / "deployments" / "automations", root / "deployments" / "automations")
        self.variables: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        named = ("MLFLOW_", "PREFECT_", "EDGEWRIGHT_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(named)}
        # Its own folder first: the packages of the checkout under test must not be shadowed, and the trial's be found.
        return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **self.variables}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "edgewright.cli.main", *words],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, timeout_s: float = 300) -> Said:
        begun = time.monotonic()
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=timeout_s)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        return Said(process.returncode, out, err, time.monotonic() - begun)

    def up(self, *words: str) -> Said:
        said = self.run("up", *words)
        assert said.status == 0, said
        return said

    @property
    def remembered(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "desk" / "desk.json").read_text()))

    @property
    def api(self) -> PrefectApi:
        return PrefectApi(f"http://127.0.0.1:{self.remembered['prefect_port']}/api")

    def pid(self, part: str) -> int:
        if part == "mlflow":
            return int(json.loads((self.home / "mlflow" / "server.json").read_text())["server"]["mark"]["pid"])
        return int(self.remembered["parts"][part]["pid"])

    def kill(self, part: str) -> None:
        pid = self.pid(part)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not _lives(pid), 10)

    def begin(self, flow: str, **parameters: object) -> str:
        """A run of one of the deployments, as the form would begin it; returns its id."""
        deployment = self.api.read(f"/deployments/name/{flow}/some")
        run = self.api.post(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    def state(self, run: str) -> tuple[str, str]:
        """Name and message of a run's state."""
        state = self.api.read(f"/flow_runs/{run}")["state"]
        return str(state["name"]), str(state["message"] or "")

    def recorded_state(self, run: str) -> tuple[str, str]:
        """The same from Prefect's database, when its server is down."""
        with sqlite3.connect(f"file:{self.home / 'prefect' / 'prefect.db'}?mode=ro", uri=True) as database:
            query = "select s.name, s.message from flow_run r join flow_run_state s on s.id = r.state_id where r.id = ?"
            name, message = database.execute(query, [run]).fetchone()
            return str(name), str(message or "")

    def wait_for_state(self, run: str, names: Iterable[str], seconds: float = 60) -> str:
        wanted = set(names)
        wait_for(lambda: self.state(run)[0] in wanted, seconds)
        return self.state(run)[0]

    def flow_process(self, run: str) -> Any:
        found = [each for each in self.processes() if _variable(each, "PREFECT__FLOW_RUN_ID") == run]
        return next(each for each in found if any("prefect.engine" in word for word in each.cmdline()))

    def processes(self) -> list[Any]:
        """All live processes of this desk, but for commands."""
        found = []
        for process in psutil.process_iter():
            marks = [_variable(process, name) or "" for name in ("EDGEWRIGHT_DESK", "EDGEWRIGHT_TRACKING_STORE")]
            if any(mark.split(":")[-1].startswith(str(self.home)) for mark in marks) and _lives(process.pid):
                found.append(process)
        return found

    def stop(self) -> None:
        """Ends whatever a test left running here."""
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


def links(said: Said) -> list[str]:
    return re.findall(r"http://\S+", said.out)


def get(url: str) -> tuple[int, Mapping[str, str], bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers={"Accept": "text/html,*/*"}), timeout=30) as answer:
        return answer.status, dict(answer.headers), answer.read()


def wait_for(happened: Any, seconds: float) -> None:
    """Waits until ``happened()`` is true."""
    gives_up_at = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < gives_up_at, f"did not happen within {seconds:.0f} s"
        time.sleep(0.2)


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _variable(process: Any, name: str) -> str | None:
    try:
        held: str | None = process.environ().get(name)
        return held
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
