"""``edgewright bench``: what the variants gain and what a build costs, side by side in one run."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from edgewright.cli.bench_tables import builds_table, busy, medians_table, models_table, reasons
from edgewright.cli.build import read_recipe
from edgewright.cli.console import open_console, say
from edgewright.errors import EdgewrightError, UsageError
from edgewright.pipeline.bench_result import BuildCost, ModelsBench, build_cost, to_json
from edgewright.pipeline.benching import BuiltStore, bench_models, compute_seconds, versions
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.run_logging import git_commit
from edgewright.pipeline.stages.machine import this_machine
from edgewright.pipeline.stages.measure import can_measure
from edgewright.pipeline.summary import EXIT_NOT_MEASURABLE, EXIT_PASSED, EXIT_REFUSED
from edgewright.pipeline.targets import Target, load_targets
from edgewright.pipeline.workspace import VARIABLE, Workspace, open_workspace

SHIPPED = tuple(Path("deployments/recipes") / f"{name}.yaml" for name in ("digits", "motion", "shuttle"))
# A build of the benchmark starts servers of its own: nothing of it belongs into a registry that people use.
_OTHERS_SERVERS = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME")
_TICK_S = 1.0
_LEAVE_S = 20.0  # to take two servers down, on a busy machine
_LINE_EVERY_S = 30.0  # where no line can move


@dataclass(frozen=True)
class _Job:
    """One recipe, and the target that it is measured for."""

    path: Path
    recipe: Recipe
    target_name: str
    target: Target


def run(arguments: argparse.Namespace) -> int:
    """Builds each recipe twice in a fresh workspace and measures its models; writes JSON and prints tables."""
    console = open_console()
    jobs, skipped = _jobs(arguments.recipes or SHIPPED, arguments.targets)
    if not arguments.json.absolute().parent.is_dir():
        raise UsageError(f"--json {arguments.json}: its folder does not exist. Make it first.")
    started, load = time.monotonic(), os.getloadavg()
    models: list[ModelsBench] = []
    costs: list[BuildCost] = []
    failed: dict[str, EdgewrightError] = {}
    for job in jobs:
        try:
            cost, measured = _bench(console, job, arguments.targets, arguments.models_only)
        except EdgewrightError as error:  # the other recipes' figures are worth their minutes without this one
            failed[job.recipe.model] = error
            say(console, f" failed      ✗ {job.recipe.model}: {error}")
        else:
            models.append(measured)
            costs += [cost] if cost else []
    if not models:
        raise next(iter(failed.values()))
    without = {**skipped, **{name: f"failed: {error}" for name, error in failed.items()}}
    circumstances = {**_circumstances(jobs, load, time.monotonic() - started), "without": without}
    arguments.json.write_text(to_json(models, costs, circumstances))
    _show(console, models, costs, without)
    say(console, f"written: {arguments.json}  ({(time.monotonic() - started) / 60:.0f} min)")
    return 1 if failed else 0


def _bench(console: Console, job: _Job, targets: Path, models_only: bool) -> tuple[BuildCost | None, ModelsBench]:
    if models_only:
        return None, _measure(console, BuiltStore(open_workspace().home / "store"), job)
    # A server may still be closing its files: what stays of a scratch folder is not worth the figures.
    with tempfile.TemporaryDirectory(prefix="edgewright-bench-", ignore_cleanup_errors=True) as scratch:
        store = BuiltStore(Workspace(Path(scratch)).home / "store")
        return _build_twice(console, job, targets, store), _measure(console, store, job)


def _jobs(paths: Sequence[Path], targets_file: Path) -> tuple[list[_Job], dict[str, str]]:
    """What can be measured here; and by recipe why the rest cannot."""
    targets = load_targets(targets_file)
    jobs: list[_Job] = []
    skipped: dict[str, str] = {}
    for path in paths:
        recipe = read_recipe(path, targets_file)
        here = next((name for name in recipe.targets if can_measure(targets[name])), None)
        if here is None:
            skipped[recipe.model] = (
                f"not measurable: none of its targets ({', '.join(recipe.targets)}) is a machine like this"
            )
        else:
            jobs.append(_Job(path, recipe, here, targets[here]))
    if not jobs:
        raise UsageError(f"nothing to measure: {'; '.join(f'{name}: {why}' for name, why in skipped.items())}.")
    return jobs, skipped


def _build_twice(console: Console, job: _Job, targets: Path, store: BuiltStore) -> BuildCost:
    home = store.root.parent
    with _working(console, "build", job.recipe.model) as tell:
        first_s = _timed_build(job.path, targets, home, tell)
    stages_s = compute_seconds(store)
    with _working(console, "again", job.recipe.model) as tell:
        again_s = _timed_build(job.path, targets, home, tell)
    return build_cost(job.recipe.model, first_s, stages_s, again_s)


def _measure(console: Console, store: BuiltStore, job: _Job) -> ModelsBench:
    with _working(console, "measure", job.recipe.model) as tell:

        def report(progress: Progress) -> None:
            far = f"{progress.done:.0f}/{progress.total:.0f}  " if progress.total > 1 else ""
            tell(f"{far}{progress.note}")

        return bench_models(store, job.recipe, job.target_name, job.target, report)


def _timed_build(recipe: Path, targets: Path, home: Path, tell: Callable[[str], None]) -> float:
    """Wall time of ``edgewright build`` in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in _OTHERS_SERVERS}
    started = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "edgewright.cli.main", "build", str(recipe), "--targets", str(targets)],
            env={**environment, VARIABLE: str(home), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            _follow(process, process.stdout, tell)
        except BaseException:
            _let_end(process)
            raise
        seconds = time.monotonic() - started
        errors.seek(0)
        if process.returncode not in {EXIT_PASSED, EXIT_REFUSED, EXIT_NOT_MEASURABLE}:
            said = errors.read().strip() or "it said nothing"
            raise EdgewrightError(f"{recipe} could not be built (exit status {process.returncode}): {said}")
    return seconds


def _let_end(process: subprocess.Popen[str]) -> None:
    """Ctrl-C reaches a build as well, which then takes its servers down; one that does not end is killed."""
    try:
        process.wait(_LEAVE_S)
    except subprocess.TimeoutExpired:
        process.kill()  # unlike SIGTERM this also ends one that somebody stopped; a build is safe to kill
        process.wait()


def _follow(process: subprocess.Popen[str], output: IO[str], tell: Callable[[str], None]) -> None:
    """Tells the last line that a process said, until it ends."""
    latest = "starting"

    def listen() -> None:
        nonlocal latest
        for line in output:
            latest = " ".join(line.split()) or latest

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    while process.poll() is None:
        tell(latest)
        try:
            process.wait(_TICK_S)
        except subprocess.TimeoutExpired:
            continue
    listener.join()


@contextmanager
def _working(console: Console, stage: str, work: str) -> Iterator[Callable[[str], None]]:
    """Shows how far a piece of work is: a line that moves in a terminal, one every half minute elsewhere."""
    started = said_at = time.monotonic()

    def tell(note: str) -> None:
        nonlocal said_at
        now = time.monotonic()
        text = f" {stage:<11}   {work}  {now - started:.0f} s  {note}"
        if console.is_terminal:
            status.update(Text(text, no_wrap=True, overflow="ellipsis"))
        elif now - said_at > _LINE_EVERY_S:
            said_at = now
            say(console, text)

    with console.status(Text(f" {stage:<11}   {work}")) as status:
        if not console.is_terminal:
            say(console, f" {stage:<11}   {work} …")
        yield tell
    say(console, f" {stage:<11} ✓ {work}  {time.monotonic() - started:.0f} s")


def _circumstances(jobs: Sequence[_Job], load: Sequence[float], seconds: float) -> dict[str, Any]:
    return {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "git_commit": git_commit(Path(__file__).parent),
        "machine": this_machine(),
        "versions": versions(job.recipe for job in jobs),
        "load_average": {"before": list(load), "after": list(os.getloadavg())},
    }


def _show(
    console: Console, models: Sequence[ModelsBench], costs: Sequence[BuildCost], without: Mapping[str, str]
) -> None:
    for each in models:
        console.print()
        console.print(models_table(each, console.width))
        for name, why in reasons(each).items():
            say(console, f" {name}: not measurable: {why}")
        if warning := busy(each):
            say(console, f" {warning}")
    for name, why in without.items():
        say(console, f"\n{name}: {why}")
    console.print()
    console.print(medians_table(models))
    if costs:
        console.print()
        console.print(builds_table(costs))
    console.print()
