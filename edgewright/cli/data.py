"""``edgewright data``: new samples; delivers reserved ones, lists what was delivered, takes a refusal back."""

from __future__ import annotations

import argparse
import getpass

from rich.table import Table
from rich.text import Text

from edgewright.cli.console import open_console, say
from edgewright.pipeline.intake.delivering import deliver
from edgewright.pipeline.intake.ledger import Batch, Ledger
from edgewright.pipeline.workspace import Workspace, open_workspace

_STATES = {"pending": "new", "in_use": "in use", "refused": "refused", "rejected": "set aside"}


def run(arguments: argparse.Namespace) -> int:
    """Does what the action's name says."""
    workspace = open_workspace()
    if arguments.action == "deliver":
        print(deliver(workspace, arguments.model, arguments.samples, arguments.into).said)
    elif arguments.action == "reopen":
        batch = Ledger(workspace.shared, arguments.model).reopen(arguments.batch, arguments.reason, getpass.getuser())
        print(f"{arguments.model}: batch {batch.sha256[:12]} with {batch.taken:,} samples is new again.")
    else:
        _show(workspace, arguments.model)
    return 0


def _show(workspace: Workspace, model: str) -> None:
    batches = Ledger(workspace.shared, model).batches()
    console = open_console()
    if not batches:
        say(console, f"{model}: nothing was delivered yet.")
        return
    table = Table(title=f"what was delivered to {model}", title_justify="left", box=None)
    for heading in ("batch", "taken in"):
        table.add_column(heading, no_wrap=True)
    for heading in ("new", "known", "lacking"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("")
    for batch in batches:
        table.add_row(
            batch.sha256[:12],
            batch.taken_at[:16].replace("T", " "),
            f"{batch.taken:,}",
            f"{batch.duplicates:,}",
            f"{batch.missing:,}",
            _STATES[batch.status],
            Text(_why(batch)),  # names and reasons are no markup
        )
    console.print(table)


def _why(batch: Batch) -> str:
    names = batch.sources[0].name + (f" and {len(batch.sources) - 1} more" if len(batch.sources) > 1 else "")
    if batch.status == "in_use":
        return f"{names}: since build {batch.build}"
    said = f"{batch.reason} ({batch.who})" if batch.who else batch.reason
    return f"{names}: {said}" if said else names
