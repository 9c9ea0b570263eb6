"""``edgewright up``, ``down`` and ``status``: the servers, the worker and the deployments, in one small table."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgewright.cli.console import open_console, say
from edgewright.desk.automations import NOTIFY_VARIABLE, check_notify_url
from edgewright.desk.closing import close_desk
from edgewright.desk.looking import DeskView, PartView, look_at_desk
from edgewright.desk.opening import open_desk
from edgewright.desk.team_deploying import deploy_for_team
from edgewright.pipeline.workspace import open_workspace

_NAMES = {"mlflow": "MLflow", "prefect": "Prefect", "worker": "worker"}
_MARKS = {"running": "✓", "starting": "…", "silent": "✗", "crashed": "✗", "not started": "-"}
# Where no line can move, what is waited for is said when it changes, and then now and again.
_LINE_EVERY_S = 15.0


def run(arguments: argparse.Namespace) -> int:
    """Does what the command's name says."""
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "up": _up,
        "down": _down,
        "status": _status,
        "deploy": _deploy,
    }
    return commands[arguments.command](arguments)


def _up(arguments: argparse.Namespace) -> int:
    notify_url = arguments.notify or os.environ.get(NOTIFY_VARIABLE) or None
    if notify_url:
        check_notify_url(notify_url)
    console, workspace, begun = open_console(), open_workspace(), time.monotonic()
    with _telling(console, "up") as tell:
        done = open_desk(workspace, Path.cwd(), notify_url, tell)
        view = look_at_desk(workspace.home)
    seconds = time.monotonic() - begun
    started = ", ".join(_NAMES[name] for name in done.started)
    deployed = "; deployments put into Prefect" if done.deployed else ""
    say(console, f"edgewright desk: {f'started {started}' if started else 'was up'}{deployed}  ({seconds:.0f} s)")
    _show(console, view)
    for note in done.notes:
        say(console, f" note      {note}")
    return 0 if view.is_well else 1


def _down(_: argparse.Namespace) -> int:
    console, home = open_console(), open_workspace().home
    with _telling(console, "down") as tell:
        done = close_desk(home, tell)
    if done.cancelled:
        say(console, f" cancelled {', '.join(done.cancelled)}: what they had finished is remembered")
    for name, users in done.kept.items():
        say(console, f" {_NAMES[name]:<9} stays up for {users}: `edgewright down` again when that has ended")
    stopped = ", ".join(_NAMES[name] for name in done.stopped)
    say(console, f"edgewright desk: {f'stopped {stopped}' if stopped else 'nothing to stop'}")
    return 1 if done.kept else 0


def _deploy(arguments: argparse.Namespace) -> int:
    notify_url = arguments.notify or os.environ.get(NOTIFY_VARIABLE) or None
    if notify_url:
        check_notify_url(notify_url)
    console = open_console()
    with _telling(console, "deploy") as tell:
        done = deploy_for_team(Path.cwd(), arguments.pool, open_workspace().shared, os.environ, notify_url, tell)
    what = "in Prefect now" if done.changed else "stand in Prefect unchanged"
    say(console, f"{len(done.names)} deployments {what}, with {len(done.automations)} automations")
    return 0


def _status(_: argparse.Namespace) -> int:
    console = open_console()
    view = look_at_desk(open_workspace().home)
    _show(console, view)
    return 0 if view.is_well else 1


def _show(console: Console, view: DeskView) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 1))
    for style in ("", "", "", "", ""):
        table.add_column(style, no_wrap=True)
    for part in view.parts:
        condition = Text(part.condition, style="" if part.condition == "running" else "bold")
        table.add_row(_NAMES[part.name], _MARKS[part.condition], condition, _since(part), part.words)
    console.print(table, soft_wrap=True)
    if view.under_way:
        say(console, f" runs now  {', '.join(view.under_way)}")
    if view.coming:
        coming = "   ".join(f"{each.deployment} {_moment(each.at)}" for each in view.coming)
        say(console, f" next      {coming}")
    for warning in view.warnings:
        say(console, f" wrong     ✗ {warning}")
    for part in view.parts:
        if part.condition in ("crashed", "silent"):
            say(console, f"\n{_NAMES[part.name]}: {part.log} ends with:")
            for line in part.last_words or ("(nothing)",):
                say(console, f"  {line[:200]}")


def _since(part: PartView) -> str:
    if part.since is None:
        return ""
    return f"{'last heard' if part.condition == 'crashed' else 'since'} {_moment(part.since)}"


def _moment(at: datetime) -> str:
    """A time as people say it: the hour, with the day where it is not today."""
    days = (at.date() - datetime.now().astimezone().date()).days
    day = {-1: "yesterday ", 0: "", 1: "tomorrow "}.get(days, f"{at:%a %d %b} ")
    return f"{day}{at:%H:%M}"


@contextmanager
def _telling(console: Console, command: str) -> Iterator[Callable[[str], None]]:
    """Shows what is being waited for: a line that moves in a terminal, one now and then elsewhere."""
    said, said_at = "", 0.0

    def tell(note: str) -> None:
        nonlocal said, said_at
        if console.is_terminal:
            status.update(Text(f" {note}"))
            return
        what, now = note.split("  ")[0], time.monotonic()
        if what != said or now - said_at > _LINE_EVERY_S:
            said, said_at = what, now
            say(console, f" {command:<9} {note} …")

    with console.status("") as status:
        yield tell
