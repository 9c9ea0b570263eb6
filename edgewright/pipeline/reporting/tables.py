"""The page's words: values of a report as cells and sentences. Nothing here is escaped; the page does that."""

from __future__ import annotations

from dataclasses import dataclass

from edgewright.pipeline.calibration_audit import CalibrationAudit
from edgewright.pipeline.reporting.content import BuildReport, Fact, TargetReport, VariantReport
from edgewright.pipeline.verdict import Check, Outcome

NOT_MEASURED = "not measured"
# Figures in these units are taken over fresh processes, not over samples.
_OVER_PROCESSES = {"ms", "x", "MiB"}
_PLURALS = {"process": "processes"}
_DECIMALS = {"ms": 3, "KiB": 1, "MiB": 1}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        cells: As many as the table has headings.
        emphasis: ``chosen``, ``fail``, ``not_measurable``, ``waived`` or empty.
    """

    cells: tuple[str, ...]
    emphasis: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column names its rows."""

    headings: tuple[str, ...]
    rows: tuple[Row, ...]


def decision(target: TargetReport) -> str:
    """What was chosen and what the verdict says, in one sentence."""
    verdict = target.verdict
    in_the_way = [check.name for check in verdict.checks if check.stands_in_the_way]
    put = f"{target.chosen} was put forward"
    if verdict.outcome == "pass":
        waived = len(verdict.waivers)
        people = ", ".join(dict.fromkeys(waiver.person for waiver in verdict.waivers))
        held = len(verdict.checks) - waived
        plus = f", {_count(waived, 'check')} waived by {people}" if waived else ""
        return f"{put} and passed the gate: {held} of {_count(len(verdict.checks), 'check')} held{plus}."
    if verdict.outcome == "fail":
        failed = [check.name for check in verdict.checks if check.stands_in_the_way and check.outcome == "fail"]
        return f"{put} and the gate refused it: {', '.join(failed)} failed."
    return f"{put}; the gate could not decide: open are {', '.join(in_the_way) or 'all checks, for there are none'}."


def variants(report: BuildReport, target: TargetReport) -> Table:
    """Every variant of a target: the columns that the build command prints, and what else is known."""
    headings = ("variant", report.quality_word, "drop (95 %)", "size", "p95", "speed-up", "on", "verdict")
    more = ("p50", "compressed", "memory", "sparsity")
    rows = tuple(
        Row(_variant(variant, target), "chosen" if variant.name == target.chosen else "") for variant in target.variants
    )
    return Table((*headings, *more), rows)


def checks(target: TargetReport) -> Table:
    """Every check of the verdict."""
    headings = ("check", "outcome", "figure", "limit", "interval", "over", "reason", "remedy")
    return Table(headings, tuple(check_row(check) for check in target.verdict.checks))


def check_row(check: Check) -> Row:
    """One check of a verdict."""
    return Row(_check(check), _emphasis(check))


def splits(report: BuildReport) -> Table:
    """Samples and groups of each split."""
    grouped = any(split.groups is not None for split in report.data.splits)
    rows = tuple(
        Row(
            (
                split.name,
                f"{split.samples:,}",
                *(("-" if split.groups is None else f"{split.groups:,}",) if grouped else ()),
            )
        )
        for split in report.data.splits
    )
    return Table(("split", "samples", "groups") if grouped else ("split", "samples"), rows)


def classes(report: BuildReport) -> Table | None:
    """Samples of each class by split; None where that is not known."""
    counted = [split for split in report.data.splits if split.class_samples]
    if not counted:
        return None
    rows = tuple(
        Row((name, *(f"{split.class_samples.get(name, 0):,}" for split in counted))) for name in report.data.class_names
    )
    return Table(("class", *(split.name for split in counted)), rows)


def calibration_facts(audit: CalibrationAudit) -> tuple[Fact, ...]:
    """The audit without its ranges."""
    clipped = max(audit.tensors, key=lambda tensor: tensor.clipped_share, default=None)
    spread = audit.spread
    told = f"not measured: {audit.no_spread_because}"
    if spread is not None:
        told = (
            f"{spread.lowest_pct:.2f} to {spread.highest_pct:.2f} % over {len(spread.figures_pct)} other sets "
            f"({spread.kept_pct:.2f} % with the kept one; {100 * spread.shared_share:.0f} % of their samples are shared; "
            f"on {spread.validation_samples:,} validation samples)"
        )
    most = "-" if clipped is None else f"{100 * clipped.clipped_share:.3g} % of {clipped.node} ({clipped.operator})"
    return (
        Fact("range estimator", audit.method),
        Fact("samples", f"{audit.samples:,} of the {audit.split_samples:,} in split {audit.split}"),
        Fact("how chosen", audit.chosen),
        Fact("coverage", ", ".join(f"{name}: {count}" for name, count in audit.coverage.items()) or "-"),
        Fact("most clipped", most),
        *((Fact("without a range of their own", ", ".join(audit.without_range)),) if audit.without_range else ()),
        Fact("spread over other sets", told),
        Fact("peak memory", f"{audit.peak_memory_mib:.0f} MiB"),
    )


def ranges(audit: CalibrationAudit) -> Table:
    """The range of every tensor."""
    rows = tuple(
        Row(
            (
                each.node,
                each.operator,
                f"{each.low:.4g}",
                f"{each.high:.4g}",
                f"{each.observed_low:.4g}",
                f"{each.observed_high:.4g}",
                f"{100 * each.clipped_share:.3g} %",
            )
        )
        for each in audit.tensors
    )
    return Table(("node", "operator", "low", "high", "observed low", "observed high", "clipped"), rows)


def said(outcome: Outcome | None) -> str:
    """An outcome in words."""
    return "not put to the gate" if outcome is None else outcome.replace("_", " ")


def _variant(variant: VariantReport, target: TargetReport) -> tuple[str, ...]:
    drop = "reference"
    if not variant.is_reference:
        bound = "no bound" if variant.drop_high_points is None else f"≤ {variant.drop_high_points:.2f}"
        drop = _figure(variant.drop_points, "{:+.2f}") + ("" if variant.drop_points is None else f" ({bound})")
    quality = f"{variant.quality_pct:.2f} %"
    if variant.quality_low_pct is not None and variant.quality_high_pct is not None:
        quality += f" ({variant.quality_low_pct:.2f} to {variant.quality_high_pct:.2f})"
    is_chosen = variant.name == target.chosen
    outcome = target.verdict.said.replace("not_measurable", "not measurable", 1) if is_chosen else said(variant.outcome)
    return (
        variant.name + (" ← chosen" if is_chosen else ""),
        quality,
        drop,
        f"{variant.size_kib:,.0f} KiB",
        _figure(variant.latency_p95_ms, "{:.3f} ms"),
        _figure(variant.speedup, "{:.2f}x"),
        variant.provider.replace("ExecutionProvider", "") or "-",
        outcome,
        _figure(variant.latency_p50_ms, "{:.3f} ms"),
        _figure(variant.compressed_size_kib, "{:,.0f} KiB"),
        _figure(variant.peak_memory_mib, "{:.0f} MiB"),
        _figure(variant.sparsity_pct, "{:.0f} %"),
    )


def _check(check: Check) -> tuple[str, ...]:
    interval = "-"
    if check.low is not None or check.high is not None:
        low, high = ("…" if each is None else _number(each, check.unit) for each in (check.low, check.high))
        sure = "" if check.confidence is None else f" ({100 * check.confidence:.4g} % each)"
        interval = f"{low} to {high}{sure}" + (f"; {check.method}" if check.method else "")
    word = "process" if check.unit in _OVER_PROCESSES else "sample"
    counts = [(check.groups, check.groups_needed, "group"), (check.samples, check.samples_needed, word)]
    over = [
        _count(count, word) + ("" if needed is None else f" (about {needed:,} would decide)")
        for count, needed, word in counts
        if count is not None
    ]
    outcome = said(check.outcome) + (", waived" if check.waiver else "")
    figure, limit = (
        "-" if each is None else f"{_number(each, check.unit)} {check.unit}".rstrip()
        for each in (check.figure, check.limit)
    )
    return check.name, outcome, figure, limit, interval, ", ".join(over) or "-", check.reason, check.remedy or "-"


def _emphasis(check: Check) -> str:
    return "waived" if check.waiver else "" if check.outcome == "pass" else check.outcome


def _number(value: float, unit: str) -> str:
    return f"{value:,.{_DECIMALS.get(unit, 2)}f}"


def _figure(value: float | None, form: str) -> str:
    return NOT_MEASURED if value is None else form.format(value)


def _count(count: int, word: str) -> str:
    return f"{count:,} {word if count == 1 else _PLURALS.get(word, word + 's')}"
