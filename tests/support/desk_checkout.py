"""A desk in a checkout of its own: the real commands and servers, the shipped deployments, and a small recipe for digits."""

from __future__ import annotations

import copy
import http
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from edgewright.desk.running import Desk, running_desk

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LINKED = ("flows", "tasks", "data", "edgewright", "mlflow")
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
SMALL: dict[str, Any] = {
    "model": "digits",
    "description": "Recognises one handwritten digit, after a very short training.",
    "seed": 3,
    "data": {
        "dataset": "digits",
        "limit_per_class": 100,
        "validation_share": 0.3,
        "calibration_share": 0.25,
        "calibration_samples": 64,
    },
    "architecture": {"name": "resnet8", "widths": [16, 16, 32]},
    "training": {"epochs": 6, "batch_size": 32},
    "variants": [
        {"name": "fp32"},
        {"name": "i8", "quantize": {"calibration": ["minmax"]}},
        {
            "name": "p50-i8",
            "prune": {"sparsity": 0.5, "fine_tune_epochs": 2},
            "quantize": {"calibration": ["minmax"]},
        },
    ],
    "targets": ["here"],
    "objective": {"minimize": "size", "max_validation_drop_points": 90},
    "gate": {"margin_points": 50, "floor_pct": 10, "latency_processes": 5},
    "nightly": {"promotion": "approve"},
}
HERE = {"platform": "linux/amd64", "engines": ["onnxruntime"], "pays": ["size"]}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


class DeskCheckout:
    """One checkout, its workspace and its desk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder / "checkout", folder / "home"
        shutil.copytree(ROOT / "deployments", self.folder / "deployments")
        for name in LINKED:
            (self.folder / name).symlink_to(ROOT / name)
        targets = self.folder / "deployments" / "targets.yaml"
        known = YAML(typ="safe").load(targets)
        YAML().dump({**known, "here": HERE}, targets)
        self.write_recipe()

    def write_recipe(self, **changes: Any) -> None:
        """The small recipe in the place of the shipped one; ``nightly__promotion="auto"`` changes one key of a section."""
        recipe = copy.deepcopy(SMALL)
        for place, value in changes.items():
            section, _, key = place.partition("__")
            if key:
                recipe[section][key] = value
            else:
                recipe[section] = value
        YAML().dump(recipe, self.folder / "deployments" / "recipes" / "digits.yaml")

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_"))}
        return {**kept, "EDGEWRIGHT_HOME": str(self.home), "OMP_NUM_THREADS": "1"}

    def run(self, *words: str, timeout_s: float = 300.0) -> Done:
        """Runs ``edgewright`` in the checkout."""
        done = subprocess.run(
            [BIN / "edgewright", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def up(self) -> Desk:
        """Starts what is not running."""
        done = self.run("up")
        assert done.status == 0, done.out + done.err
        return self.desk

    @property
    def desk(self) -> Desk:
        desk = running_desk(self.home)
        assert desk is not None, "the desk is down"
        return desk

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One call of Prefect's API."""
        request = urllib.request.Request(
            f"{self.desk.prefect_api_url}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                with opener.open(request, timeout=30) as answer:
                    content = answer.read()
                return json.loads(content) if content else None
            except urllib.error.HTTPError as error:
                # What Prefect's own clients do: its database was locked, ask again.
                if error.code != http.HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                time.sleep(1.0)

    def start(self, deployment: str, **parameters: Any) -> str:
        """Starts a run of a deployment, ``flow/name``; returns the run's id."""
        found = self.api("GET", f"deployments/name/{deployment}")
        run = self.api("POST", f"deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return str(run["id"])

    def state(self, run_id: str) -> dict[str, Any]:
        state: dict[str, Any] = self.api("GET", f"flow_runs/{run_id}")["state"]
        return state

    def wait(self, run_id: str, until: Callable[[dict[str, Any]], bool], timeout_s: float = 240.0) -> dict[str, Any]:
        """Waits for a run's state; returns it."""
        give_up_at = time.monotonic() + timeout_s
        while not until(state := self.state(run_id)):
            assert time.monotonic() < give_up_at, f"still {state['name']}: {state['message']}; {self.logs(run_id)}"
            time.sleep(0.5)
        return state

    def ended(self, run_id: str, timeout_s: float = 240.0) -> dict[str, Any]:
        """Waits until a run ends, or waits for a person; returns its state."""
        return self.wait(run_id, lambda state: state["type"] in FINAL or state["name"] == "Suspended", timeout_s)

    def resume(self, run_id: str, **answer: Any) -> None:
        """Fills in the form of a run that waits for a person."""
        done = self.api("POST", f"flow_runs/{run_id}/resume", {"run_input": answer})
        assert done["status"] == "ACCEPT", done

    def logs(self, run_id: str) -> str:
        """What a run has said."""
        asked = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return "\n".join(each["message"] for each in self.api("POST", "logs/filter", asked))

    def artifacts(self, run_id: str) -> dict[str, Any]:
        """What a run's page shows, by key."""
        asked = {"artifacts": {"flow_run_id": {"any_": [run_id]}}, "limit": 200}
        return {each["key"]: each for each in self.api("POST", "artifacts/filter", asked)}
