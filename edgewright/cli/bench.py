"""``edgewright bench``: what the variants gain and what a build costs, side by side in one run."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.table import Table

from edgewright.cli.build import read_recipe
from edgewright.cli.console import open_console, say
from edgewright.errors import EdgewrightError, UsageError
from edgewright.pipeline.benching import BuildCost, Row, bench_models, build_cost, compute_seconds, to_json
from edgewright.pipeline.stages.machine import this_machine
from edgewright.pipeline.stages.measure import can_measure
from edgewright.pipeline.summary import EXIT_NOT_MEASURABLE, EXIT_PASSED, EXIT_REFUSED
from edgewright.pipeline.targets import load_targets
from edgewright.pipeline.workspace import VARIABLE, Workspace


def run(arguments: argparse.Namespace) -> int:
    """Builds each recipe twice in a fresh workspace, then measures its models; writes JSON and prints tables."""
    console = open_console()
    targets = load_targets(arguments.targets)
    recipes = [read_recipe(path, arguments.targets) for path in arguments.recipes]
    rows: list[Row] = []
    costs: list[BuildCost] = []
    for path, recipe in zip(arguments.recipes, recipes, strict=True):
        here = [targets[name] for name in recipe.targets if can_measure(targets[name])]
        if not here:
            raise UsageError(f"{path}: none of its targets is this kind of machine; nothing to measure.")
        with tempfile.TemporaryDirectory() as scratch:
            store = Workspace(Path(scratch)).store
            first_s = _timed_build(path, arguments.targets, scratch)
            stages_s = compute_seconds(store)
            say(console, f" build       ✓ {recipe.model}  {first_s:.0f} s")
            again_s = _timed_build(path, arguments.targets, scratch)
            say(console, f" again       ✓ {recipe.model}  {again_s:.0f} s")
            costs.append(build_cost(recipe.model, first_s, stages_s, again_s))
            rows += bench_models(store, recipe, here[0], lambda done: say(console, f" measure     ✓ {done}"))
    arguments.json.write_text(to_json(tuple(rows), tuple(costs), this_machine()))
    console.print(_models(rows))
    console.print(_builds(costs))
    say(console, f"written: {arguments.json}")
    return 0


def _timed_build(recipe: Path, targets: Path, home: str) -> float:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "edgewright.cli.main", "build", str(recipe), "--targets", str(targets)],
        env={**os.environ, VARIABLE: home},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {EXIT_PASSED, EXIT_REFUSED, EXIT_NOT_MEASURABLE}:
        raise EdgewrightError(f"{recipe} could not be built: {done.stderr.strip()}")
    return time.monotonic() - started


def _models(rows: list[Row]) -> Table:
    table = Table(title="Models: batch 1 latency, batch 8 throughput", title_justify="left", box=None)
    for heading in ("recipe", "variant"):
        table.add_column(heading)
    for heading in ("threads", "p50", "samples/s", "speed-up", "size", "memory"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.recipe,
            row.variant,
            str(row.threads),
            f"{row.latency_p50_ms:.3f} ms",
            f"{row.throughput_per_s:,.0f}",
            f"{row.speedup_x:.2f}x ({row.speedup_low_x:.2f} to {row.speedup_high_x:.2f})",
            f"{row.size_kib:.0f} KiB",
            f"{row.peak_memory_mib:.0f} MiB",
        )
    return table


def _builds(costs: list[BuildCost]) -> Table:
    table = Table(title="Builds", title_justify="left", box=None)
    table.add_column("recipe")
    for heading in ("first", "sum of stages", "wall / compute", "again", "again / first"):
        table.add_column(heading, justify="right")
    for cost in costs:
        table.add_row(
            cost.recipe,
            f"{cost.first_s:.0f} s",
            f"{cost.stages_s:.0f} s",
            f"{cost.wall_over_compute:.2f}",
            f"{cost.again_s:.1f} s",
            f"{cost.again_over_first:.1%}",
        )
    return table
