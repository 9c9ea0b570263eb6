"""What people see in a terminal: one row per stage while a build runs, one table per target when it is done."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from edgewright.pipeline.progress import Progress as StageProgress
from edgewright.pipeline.summary import BuildSummary, TargetSummary, VariantSummary

# Piped output has no width of its own; this one holds every table.
_PIPED_WIDTH = 140
# In less than this the table leaves out what ran the model, and marks the chosen variant with an arrow alone.
_ROOMY_WIDTH = 110


def open_console() -> Console:
    """The console of a command; piped output gets room for its tables, no colours and no bars."""
    console = Console(highlight=False, soft_wrap=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPED_WIDTH)


class StageBoard:
    """Shows how far each stage is: bars that move in a terminal, one line per finished piece of work elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn(" {task.fields[stage]:<11}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, dict[str, float]] = {}
        self._notes: dict[str, dict[str, str]] = {}
        self._begun: dict[str, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Starts to show."""
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the last state on the screen."""
        if self._console.is_terminal:
            self._bars.stop()

    def __call__(self, stage: str, progress: StageProgress) -> None:
        """Hears of progress, from any thread."""
        with self._lock:
            begun = self._begun.setdefault(stage, time.monotonic())
            finished = progress.note in {"done", "unchanged"} and progress.done >= progress.total
            fraction = 1.0 if finished else min(0.99, progress.done / progress.total)
            self._done.setdefault(stage, {})[progress.work] = fraction
            self._notes.setdefault(stage, {})[progress.work] = progress.note
            if self._console.is_terminal:
                self._move_bar(stage, progress, time.monotonic() - begun)
            elif finished:
                mark = "unchanged" if progress.note == "unchanged" else f"{time.monotonic() - begun:.0f} s"
                self._console.print(f" {stage:<11} ✓ {progress.work:<24} {mark}")

    def _move_bar(self, stage: str, progress: StageProgress, elapsed_s: float) -> None:
        done, notes = self._done[stage], self._notes[stage]
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=1.0, stage=stage, note="")
        fraction = sum(done.values()) / len(done)
        if fraction < 1:
            note = f"{progress.work}  {progress.note}"
        elif all(text == "unchanged" for text in notes.values()):
            note = "✓ unchanged"
        else:
            note = (
                f"✓ {'  '.join(done)}  {elapsed_s:.0f} s"
                if len(done) <= 4
                else f"✓ {len(done)} done  {elapsed_s:.0f} s"
            )
        self._bars.update(self._tasks[stage], completed=fraction, note=note)


def show_summary(console: Console, summary: BuildSummary, seconds: float) -> None:
    """Prints a build's tables, verdicts, what happened and what to do next."""
    for target in summary.targets:
        console.print()
        console.print(_table(summary, target, narrow=console.width < _ROOMY_WIDTH))
        if len(set(target.of_fold)) > 1:
            chosen = ", ".join(f"{name} in {target.of_fold.count(name)}" for name in dict.fromkeys(target.of_fold))
            say(console, f" judged together: what each of {len(target.of_fold)} folds chose ({chosen}).")
        refused = target.outcome == "fail" or (target.outcome == "not_measurable" and target.measured_here)
        if refused or target.verdict.waivers:
            say(console, "\n".join(target.verdict.summary_lines(target.note)))
    console.print()
    for missing in summary.missing:
        say(console, f" missing     {missing.place}: {missing.error}")
        if missing.log:
            say(console, f"             its log: {missing.log}")
    for target in summary.targets:
        mark = {"pass": "✓", "fail": "✗", "not_measurable": "…"}[target.outcome]
        say(console, f" release     {mark} {target.note}")
        if not target.measured_here and target.outcome == "not_measurable":
            say(
                console,
                f"             accuracy was measured here, latency was not: this machine is no {target.platform}.",
            )
            say(console, "             On the device: edgewright-agent bench DIR --report out.json")
            say(console, "             Then here:     edgewright record-bench out.json")
    if summary.report:
        say(console, f" report      {summary.report}")
    mark = "✓" if summary.exit_code == 0 else "✗"
    say(console, f" build       {mark} {summary.build} of {summary.model} in {seconds:.0f} s")


def say(console: Console, text: str) -> None:
    """Prints text as it is: no markup in it, no line broken."""
    console.print(Text(text), soft_wrap=True)


def say_error(text: str) -> None:
    """Prints a line to the command's errors, as it is."""
    print(text, file=sys.stderr)


def _table(summary: BuildSummary, target: TargetSummary, narrow: bool) -> Table:
    table = Table(
        title=f"{summary.model} on {target.target} ({target.platform})",
        title_justify="left",
        box=None,
        collapse_padding=narrow,
        pad_edge=not narrow,
    )
    table.add_column("variant", no_wrap=True)
    for heading in (summary.quality, "drop (95 %)", "size", "p95", "speed" if narrow else "speed-up"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("verdict",) if narrow else ("on", "verdict"):
        table.add_column(heading, no_wrap=True)
    for variant in target.variants:
        cells = _cells(summary.quality_key, target, variant, narrow)
        table.add_row(*cells, style="bold" if variant.variant == target.chosen else None)
    return table


def _cells(quality: str, target: TargetSummary, variant: VariantSummary, narrow: bool) -> list[str]:
    metrics, chosen = variant.metrics, variant.variant == target.chosen
    verdict = (variant.outcome or "-").replace("_", " ")
    if chosen and target.verdict.waivers:
        verdict = target.verdict.said
    figures = [
        _level(metrics[f"{quality}_pct"], variant),
        _drop(metrics[f"{quality}_drop_points"], variant, target),
        f"{metrics['size_kib']:.0f} KiB",
        figure(metrics.get("latency_p95_ms"), "{:.3f} ms"),
        figure(metrics.get("speedup_x"), "{:.2f}x"),
    ]
    if narrow:
        return [variant.variant + (" ←" if chosen else ""), *figures, verdict]
    provider = variant.provider.replace("ExecutionProvider", "")
    return [variant.variant, *figures, provider, verdict + ("  ← chosen" if chosen else "")]


def _level(figure_pct: float, variant: VariantSummary) -> str:
    if variant.quality_low_pct is None or variant.quality_high_pct is None:
        return f"{figure_pct:.2f} %"
    half = (variant.quality_high_pct - variant.quality_low_pct) / 2
    return f"{figure_pct:.2f} ± {half:.2f} %"


def _drop(drop_points: float, variant: VariantSummary, target: TargetSummary) -> str:
    if variant.variant == target.reference:
        return "reference"
    bound = "not bounded" if variant.drop_high_points is None else f"≤ {variant.drop_high_points:.2f}"
    return f"{drop_points:+.2f} ({bound})"


def figure(value: float | None, form: str) -> str:
    """A figure in its form; a dash where nothing was measured."""
    return "-" if value is None else form.format(value)
