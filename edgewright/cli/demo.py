"""``edgewright demo``: real data to a model that runs in a device process, which answers on images nobody trained on."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from edgewright.cli.build import build, read_recipe
from edgewright.cli.console import open_console, say, show_summary
from edgewright.errors import EdgewrightError
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.measure import can_measure
from edgewright.pipeline.targets import load_targets
from edgewright.pipeline.tracking import TrackingServer
from edgewright.pipeline.tracking.server import server_use
from edgewright.pipeline.workspace import Workspace, open_workspace

RECIPE = Path("deployments/recipes/digits.yaml")
_UNSEEN_IMAGES = 200
_AGENT_DEADLINE_S = 120


def run(arguments: argparse.Namespace) -> int:
    """Builds the digits recipe, then watches a device process pull the release and answer."""
    recipe = read_recipe(RECIPE, arguments.targets)
    workspace, console, started = open_workspace(), open_console(), time.monotonic()
    say(console, f"edgewright demo: {recipe.model} on this machine")
    with TrackingServer(workspace.home) as server:
        summary = build(console, recipe, arguments.targets)
        tracking = server.wait()
        stays = "the desk keeps it up" if server_use(workspace.home).kept else "up only for this demo"
        say(console, f" registry    ✓ {tracking.uri}   ({stays})")
        samples = "  ".join(f"{name} {count:,}" for name, count in summary.samples.items())
        say(console, f" data        ✓ {recipe.data.dataset}  {samples}   sha256 {summary.data_sha256[:12]}…")
        show_summary(console, summary, time.monotonic() - started)
        if summary.exit_code:
            return summary.exit_code
        here = [name for name in recipe.targets if can_measure(load_targets(arguments.targets)[name])]
        _watch_device(console, workspace, recipe, tracking.uri, here[0])
    say(console, f"\nLook closer: edgewright compare {recipe.model}   ·   docs/first-release.md")
    return 0


def _watch_device(console: Console, workspace: Workspace, recipe: Recipe, uri: str, target: str) -> None:
    """Lets a separate device process pull the champion and answer on images of the test split."""
    device = workspace.home / "demo-device"
    words = ["pull", "--registry", uri, "--model", recipe.model, "--target", target, "--into", str(device)]
    pulled = _agent(words).strip().splitlines()[-1]
    say(console, f" device      ✓ {pulled}")
    data = snapshot_stage.run(workspace.store, recipe.data, recipe.task).value.folds[0]
    test = snapshot_stage.load(workspace.store, data).test
    chosen = np.linspace(0, len(test.labels) - 1, _UNSEEN_IMAGES).astype(int)
    images = device / "unseen.npy"
    np.save(images, test.images[chosen])
    lines = _agent(["infer", "--from", str(device), "--json", str(images)]).splitlines()
    answers = [json.loads(line)["label"] for line in lines]
    right = sum(answer == data.class_names[label] for answer, label in zip(answers, test.labels[chosen], strict=True))
    say(console, f"             answered {len(answers)} images that it never saw: {right} right")


def _agent(words: list[str]) -> str:
    """Runs the device's agent as the separate process that it is; returns what it printed."""
    agent = Path(sys.executable).with_name("edgewright-agent")
    done = subprocess.run([agent, *words], capture_output=True, text=True, timeout=_AGENT_DEADLINE_S, check=False)
    if done.returncode != 0:
        raise EdgewrightError(f"the device's agent failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
