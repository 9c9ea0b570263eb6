"""The benchmark's tables: one per recipe, one of medians, one of builds."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from edgewright.pipeline.bench_result import BuildCost, ModelsBench, NotMeasured, Ratio, Row, median_ratios
from edgewright.pipeline.benching import setting_in_words

# In less than this intervals and memory are left out; the file has them.
_ROOMY_WIDTH = 115
# With a processor to itself an inference of one thread has it for all of its time; clocks and interrupts take some percent.
_LEAST_SHARE = 0.85
_INTERVALS = " (interval of the rounds)"


def models_table(bench: ModelsBench, width: int) -> Table:
    """One row per model, one column per number of threads and size of batch.

    Args:
        bench: One recipe's models.
        width: Columns of the terminal.
    """
    roomy = width >= _ROOMY_WIDTH
    settings = list(dict.fromkeys((row.threads, row.batch) for row in bench.rows))
    table = Table(
        title=f"{bench.recipe} for {bench.target}: median time of a batch, and how many times faster than "
        f"{bench.reference}{_INTERVALS if roomy else ''}",
        title_justify="left",
        box=None,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("variant", no_wrap=True)
    general = ("size", bench.quality.replace(" ", "\n"), *(["memory"] if roomy else []))
    for heading in (*general, *(_heading(*each) for each in settings)):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in dict.fromkeys(row.variant for row in bench.rows):
        own = [row for row in bench.rows if row.variant == name]
        cells = [_cell(row, row.variant == bench.reference, roomy) for row in own]
        table.add_row(name, *_general(own)[: len(general)], *cells)
    return table


def reasons(bench: ModelsBench) -> dict[str, str]:
    """By variant, why it has no figures."""
    return {row.variant: row.not_measurable for row in bench.rows if isinstance(row, NotMeasured)}


def busy(bench: ModelsBench) -> str | None:
    """A warning where models did not have the processor to themselves; None where they did."""
    shares = [row.processor_share for row in bench.rows if isinstance(row, Row) and row.processor_share is not None]
    if not shares or min(shares) >= _LEAST_SHARE:
        return None
    return (
        f"{bench.recipe}: the machine was busy: in its worst row a model had the processor for {min(shares):.0%} of the "
        "time, and long inferences look slower than they are. Trust cpu_over_float_x of the file, or measure again when it "
        "is idle."
    )


def _heading(threads: int, batch: int) -> str:
    return setting_in_words(threads, batch).replace(", ", "\n")


def _general(rows: Sequence[Row | NotMeasured]) -> tuple[str, str, str]:
    measured = [row for row in rows if isinstance(row, Row)]
    if not measured:
        return "-", "-", "-"
    memory_mib = max(row.peak_memory_mib for row in measured)
    return f"{measured[0].size_kib:.0f} KiB", f"{measured[0].quality_pct:.2f} %", f"{memory_mib:.0f} MiB"


def _cell(row: Row | NotMeasured, is_reference: bool, roomy: bool) -> str:
    if isinstance(row, NotMeasured):
        return "-"
    return f"{row.latency_p50_ms:.3f} ms\n{'1' if is_reference else _ratio(row.over_float, roomy)}"


def _ratio(ratio: Ratio, roomy: bool) -> str:
    return f"{_short(ratio.x)} ({_short(ratio.low_x)}-{_short(ratio.high_x)})" if roomy else _short(ratio.x)


def _short(x: float) -> str:
    return f"{x:.2f}" if x < 10 else f"{x:.1f}"


def medians_table(models: Sequence[ModelsBench]) -> Table:
    """Over everything: each variant against float, and against ONNX Runtime's static default."""
    table = Table(title="Medians: times faster", title_justify="left", box=None, pad_edge=False)
    table.add_column("variant", no_wrap=True)
    for heading in ("than float", "than ORT static"):
        table.add_column(heading, justify="right")
    for name, medians in median_ratios(models).items():
        over_default = medians.get("over_default_x")
        table.add_row(name, f"{medians['over_float_x']:.2f}", "-" if over_default is None else f"{over_default:.2f}")
    return table


def builds_table(costs: Sequence[BuildCost]) -> Table:
    """What builds cost."""
    table = Table(title="Builds", title_justify="left", box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    for heading in ("first", "sum of its stages", "wall / compute", "again, unchanged", "again / first"):
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
