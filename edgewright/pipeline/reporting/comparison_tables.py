"""The comparison page's words: values as cells and sentences. Nothing here is escaped; the page does that."""

from __future__ import annotations

from edgewright.pipeline.reporting.comparison_content import Compared, ComparedTarget, Comparison
from edgewright.pipeline.reporting.tables import NOT_MEASURED, Row, Table, check_row

# Heading, metric key and form of each column after the judged figure and its drop.
_COLUMNS = (
    ("size", "size_kib", "{:,.0f} KiB"),
    ("p50", "latency_p50_ms", "{:.3f} ms"),
    ("p95", "latency_p95_ms", "{:.3f} ms"),
    ("speed-up", "speedup_x", "{:.2f}x"),
    ("memory", "peak_memory_mib", "{:.0f} MiB"),
    ("compressed", "compressed_size_kib", "{:,.0f} KiB"),
    ("sparsity", "sparsity_pct", "{:.0f} %"),
)


def variants(comparison: Comparison, target: ComparedTarget) -> Table:
    """Every variant of every build on a target."""
    key = target.quality_key
    columns = (
        (target.quality_word, f"{key}_pct", "{:.2f} %"),
        ("drop", f"{key}_drop_points", "{:+.2f}"),
        *_COLUMNS,
    )
    headings = ("variant", "build", *(heading for heading, _, _ in columns), "verdict", "release")
    rows = []
    for each in target.variants:
        cells = [_figure(each.metrics.get(metric), form) for _, metric, form in columns]
        if each.is_reference:
            cells[1] = "reference"
        emphasis = "chosen" if each.verdict is not None and each.build == comparison.build else ""
        rows.append(
            Row(
                (each.variant, each.build, *cells, each.outcome.replace("_", " ") or "-", each.release or "-"), emphasis
            )
        )
    return Table(headings, tuple(rows))


def judged(target: ComparedTarget) -> tuple[Compared, ...]:
    """The variants that the gate has judged."""
    return tuple(each for each in target.variants if each.verdict is not None)


def checks(each: Compared) -> Table:
    """Every check of a variant's verdict."""
    headings = ("check", "outcome", "figure", "limit", "interval", "over", "reason", "remedy")
    return Table(headings, tuple(check_row(check) for check in each.verdict.checks) if each.verdict else ())


def said(each: Compared) -> str:
    """The verdict on a variant, in words."""
    return each.verdict.said.replace("not_measurable", "not measurable", 1) if each.verdict else "not put to the gate"


def answers(target: ComparedTarget) -> Table | None:
    """How released variants' answers pair with the champion's; None where there is nothing to pair."""
    rows = []
    for each in target.variants:
        paired = each.answered
        if paired is None:
            continue
        told = ("no test sample in common", "-", "-")
        if paired.samples:
            net = 100 * (paired.gained - paired.lost) / paired.samples
            told = (f"{paired.samples:,}", f"{paired.lost:,} lost, {paired.gained:,} gained", f"{net:+.2f} points")
        rows.append(Row((f"{each.variant} of {each.build}", paired.champion, *told)))
    return Table(("variant", "champion", "samples of both", "against it", "net"), tuple(rows)) if rows else None


def latencies(target: ComparedTarget) -> Table:
    """Where each variant's latency was measured, and what was found over fresh processes."""
    rows = []
    for each in target.variants:
        kept = each.latency
        processes = kept.processes if kept else ()
        told = (NOT_MEASURED, "-", "-")
        if "latency_p50_ms" in each.metrics:
            told = (f"{each.metrics['latency_p50_ms']:.3f} ms", "-", "-")
        if kept:
            middles = [process.latency_p50_ms for process in processes]
            told = (
                f"{kept.latency_p50_ms:.3f} ms",
                f"{min(middles):.3f} to {max(middles):.3f} ms",
                str(len(processes)),
            )
        rows.append(Row((each.variant, each.build, *told, each.latency_note)))
    return Table(("variant", "build", "median", "over processes", "processes", "where"), tuple(rows))


def _figure(value: float | None, form: str) -> str:
    return NOT_MEASURED if value is None else form.format(value)
