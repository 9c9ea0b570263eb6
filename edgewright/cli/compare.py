"""``edgewright compare``: a build's variants side by side, and the champion's, from what the registry holds."""

from __future__ import annotations

import argparse

from rich.table import Table

from edgewright.cli.console import figure, open_console
from edgewright.errors import RegistryError
from edgewright.pipeline.tracking import ComparisonRow, comparison, metadata
from edgewright.pipeline.workspace import open_workspace

# Heading, metric key and form of each column of figures.
_COLUMNS = (
    ("accuracy", "accuracy_pct", "{:.2f} %"),
    ("drop", "accuracy_drop_points", "{:+.2f}"),
    ("size", "size_kib", "{:.0f} KiB"),
    ("p50", "latency_p50_ms", "{:.3f} ms"),
    ("p95", "latency_p95_ms", "{:.3f} ms"),
    ("memory", "peak_memory_mib", "{:.0f} MiB"),
    ("speed-up", "speedup_x", "{:.2f}x"),
)


def run(arguments: argparse.Namespace) -> int:
    """Prints one table per target."""
    rows = comparison(metadata(open_workspace().home), arguments.model, arguments.build)
    if not rows:
        raise RegistryError(f"{arguments.model}: no build is recorded. Make one: edgewright build RECIPE")
    console = open_console()
    for target in sorted({row.target for row in rows}):
        table = Table(title=f"{arguments.model} on {target}", title_justify="left", box=None)
        table.add_column("build", no_wrap=True)
        table.add_column("variant", no_wrap=True)
        for heading, _, _ in _COLUMNS:
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("verdict", no_wrap=True)
        for row in rows:
            if row.target == target:
                table.add_row(*_cells(row), style="bold" if row.is_champion else None)
        console.print(table)
        console.print()
    return 0


def _cells(row: ComparisonRow) -> list[str]:
    release = ""
    if row.version is not None:
        release = f"  version {row.version}" + (f" ({', '.join(row.aliases)})" if row.aliases else "")
    figures = [figure(row.metrics.get(key), form) for _, key, form in _COLUMNS]
    verdict = row.verdict if row.version is not None else "-"
    return [row.build, row.variant, *figures, verdict.replace("_", " ") + release]
