"""``edgewright compare``: a build's variants side by side, and the champion's, from what the registry holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.table import Table

from edgewright.cli.console import figure, open_console, say
from edgewright.errors import RegistryError
from edgewright.pipeline.tracking import ComparisonRow, comparison, metadata
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
    """Prints one table per target."""
    rows = comparison(metadata(open_workspace().home), arguments.model, arguments.build)
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
    return 0


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
