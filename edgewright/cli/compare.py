"""``edgewright compare``: a build's variants side by side with other builds', in the terminal and as one page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgewright.cli.console import figure, open_console, say
from edgewright.durable import replace_file
from edgewright.errors import RegistryError, UsageError
from edgewright.pipeline.tracking import ComparisonRow, Tracking, comparison, metadata
from edgewright.pipeline.workspace import open_workspace

# Heading, metric key and form of each column of figures, after the judged figure and its drop.
_COLUMNS = (
    ("size", "size_kib", "{:.0f} KiB"),
    ("p50", "latency_p50_ms", "{:.3f} ms"),
    ("p95", "latency_p95_ms", "{:.3f} ms"),
    ("memory", "peak_memory_mib", "{:.0f} MiB"),
    ("speed-up", "speedup_x", "{:.2f}x"),
)
# In a terminal narrower than this the table leaves these out, and the verdict may take two lines.
_ROOMY_WIDTH = 120
_LEFT_OUT = {"p50", "memory"}


def run(arguments: argparse.Namespace) -> int:
    """Prints one table per target, writes the page, and puts it beside the compared build's runs."""
    workspace = open_workspace()
    if arguments.html is not None and not arguments.html.absolute().parent.is_dir():
        raise UsageError(f"--html {arguments.html}: its folder does not exist. Make it first.")
    tracking = metadata(workspace.home)
    rows = comparison(tracking, arguments.model, arguments.build, arguments.against or None)
    if not rows:
        raise RegistryError(f"{arguments.model}: no build is recorded. Make one: edgewright build RECIPE")
    console = open_console()
    for target in sorted({row.target for row in rows}):
        console.print(
            _table(f"{arguments.model} on {target}", [row for row in rows if row.target == target], console.width)
        )
        for row in rows:
            if row.target == target and row.waiver:
                say(console, f"waived in {row.build} {row.variant}: {row.waiver}")
        console.print()
    place = arguments.html or workspace.home / "reports" / f"{arguments.model}-{rows[0].build}-comparison.html"
    _write_page(console, tracking, rows, place, log=not arguments.no_log)
    return 0


def _write_page(console: Console, tracking: Tracking, rows: Sequence[ComparisonRow], place: Path, *, log: bool) -> None:
    from edgewright.pipeline.comparing import draw_up_comparison, log_comparison  # imports what draws
    from edgewright.pipeline.reporting.comparison_page import render

    page = render(draw_up_comparison(tracking, rows[0].model, rows))
    place.parent.mkdir(parents=True, exist_ok=True)
    replace_file(place, page.encode())
    say(console, f"page   {place}")
    if not log:
        return
    try:
        logged = log_comparison(tracking, page, rows)
    except RegistryError as error:
        say(console, f"       not logged: {error}")
        return
    where = f"beside the runs of build {rows[0].build} in the registry, as comparison.html"
    say(console, f"       {'also' if logged else 'already'} {where}")


def _table(title: str, rows: Sequence[ComparisonRow], width: int) -> Table:
    narrow = width < _ROOMY_WIDTH
    judged = [column for key in dict.fromkeys(row.quality_key for row in rows) for column in _judged(key)]
    columns = [column for column in (*judged, *_COLUMNS) if not narrow or column[0] not in _LEFT_OUT]
    table = Table(title=title, title_justify="left", box=None, collapse_padding=narrow, pad_edge=not narrow)
    table.add_column("build", no_wrap=True)
    table.add_column("variant", no_wrap=True)
    for heading, _, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=not narrow)
    for row in rows:
        figures = [figure(row.metrics.get(key), form) for _, key, form in columns]
        table.add_row(row.build, row.variant, *figures, _verdict(row), style="bold" if row.is_champion else None)
    return table


def _judged(key: str) -> tuple[tuple[str, str, str], ...]:
    return (key.replace("_", " "), f"{key}_pct", "{:.2f} %"), ("drop", f"{key}_drop_points", "{:+.2f}")


def _verdict(row: ComparisonRow) -> str:
    if row.version is None:
        return "-"
    aliases = f" ({', '.join(row.aliases)})" if row.aliases else ""
    waived = ", waived" if row.waiver else ""
    return f"{row.verdict.replace('_', ' ')}{waived}  version {row.version}{aliases}"
