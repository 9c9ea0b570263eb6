"""``edgewright build``: from a recipe to releases, with progress, a table per target and what to do next."""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from edgewright.cli.console import StageBoard, open_console, show_summary
from edgewright.cli.prefect_settings import settle_prefect
from edgewright.errors import GateError, Problem, RecipeError, UsageError
from edgewright.pipeline.document import parse_fields
from edgewright.pipeline.recipe import Recipe, load_recipe
from edgewright.pipeline.summary import EXIT_INTERRUPTED, BuildSummary
from edgewright.pipeline.targets import load_targets
from edgewright.pipeline.waiver import Waiver
from edgewright.pipeline.workspace import open_workspace


def run(arguments: argparse.Namespace) -> int:
    """Builds, judges and releases; the exit status says how it ended."""
    recipe = read_recipe(arguments.recipe, arguments.targets, arguments.seed)
    if arguments.summary and not arguments.summary.absolute().parent.is_dir():
        raise UsageError(f"--summary {arguments.summary}: its folder does not exist. Make it first.")
    waivers = read_waivers(arguments.waive, arguments.by)
    console = open_console()
    started = time.monotonic()
    summary = build(console, recipe, arguments.targets, waivers)
    if arguments.summary:
        arguments.summary.write_text(summary.to_json())
    show_summary(console, summary, time.monotonic() - started)
    return summary.exit_code


def read_recipe(path: Path, targets_file: Path, seed: int | None = None) -> Recipe:
    """Reads and checks a recipe; ``seed`` replaces the recipe's own.

    Raises:
        RecipeError: The recipe, the targets file or the seed breaks a rule.
    """
    recipe = load_recipe(path, load_targets(targets_file), str(targets_file))
    if seed is None:
        return recipe
    changed, problems = parse_fields(Recipe, {**recipe.model_dump(), "seed": seed})
    if changed is None:
        raise RecipeError("--seed", tuple(Problem("seed", problem.message) for problem in problems))
    return changed


def read_waivers(words: Sequence[str], person: str | None) -> tuple[Waiver, ...]:
    """The waivers that a person gave as ``CHECK=REASON``.

    Raises:
        UsageError: One has no reason, or one check is waived twice.
    """
    waivers = []
    for text in words:
        check, _, reason = text.partition("=")
        try:
            waivers.append(Waiver(check, person or getpass.getuser(), reason))
        except GateError as error:
            raise UsageError(f'--waive "{text}": {error}. Give it as CHECK=REASON.') from error
    twice = [waiver.check for waiver in waivers if [each.check for each in waivers].count(waiver.check) > 1]
    if twice:
        raise UsageError(f'--waive: "{twice[0]}" is waived twice. One person and one reason answer for a check.')
    return tuple(waivers)


def build(console: Console, recipe: Recipe, targets_file: Path, waivers: Sequence[Waiver] = ()) -> BuildSummary:
    """Runs the release flow in this process while the console shows how far it is."""
    server = settle_prefect(open_workspace())
    with console.status(" starting Prefect and the registry"):
        from prefect import tags

        from edgewright.pipeline.live_process import process_tag
        from flows.outcome import INCOMPLETE, REFUSED
        from flows.release_model import release_model
        from tasks.progress import listening
        from tasks.stage import stop_stages

        if server is not None:
            server.wait()

    with _interruptible(console, stop_stages), StageBoard(console) as board, listening(board), tags(process_tag()):
        state = release_model(recipe, str(targets_file), waivers, return_state=True)
    # A refused release is a failed run on Prefect's page, and a summary here. Anything else that failed raises.
    ended: Any = state.result(raise_on_failure=state.name not in {REFUSED, INCOMPLETE})
    summary: BuildSummary = ended
    return summary


@contextmanager
def _interruptible(console: Console, stop: Callable[[], None]) -> Iterator[None]:
    """Makes Ctrl-C end the work at once. A second one does not wait for anything: that is as safe as a kill."""

    def end(*_: object) -> None:
        console.show_cursor()
        os._exit(EXIT_INTERRUPTED)

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, end)
        stop()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
