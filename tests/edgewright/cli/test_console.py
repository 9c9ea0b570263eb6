"""What a person sees at the end of a build, in any terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from edgewright.cli.console import StageBoard, show_summary
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.summary import BuildSummary, MissingVariant, TargetSummary, VariantSummary
from edgewright.pipeline.verdict import Check, Outcome, Verdict


def variant(name: str, outcome: Outcome | None, measured: bool) -> VariantSummary:
    metrics = {"accuracy_pct": 98.93, "accuracy_drop_points": 0.11, "size_kib": 1205.7}
    if measured:
        metrics |= {"latency_p95_ms": 0.3912, "speedup_x": 4.804}
    drop = None if name == "fp32" else 0.24
    return VariantSummary(name, "run", metrics, 98.72, 99.14, drop, "CPUExecutionProvider", outcome)


def summary(
    outcome: Outcome = "pass", measured_here: bool = True, missing: bool = False, of_fold: tuple[str, ...] = ("p50-i8",)
) -> BuildSummary:
    check = Check(name="accuracy floor", outcome=outcome, reason="accuracy 98.93 %", remedy="train longer")
    target = TargetSummary(
        target="linux-x86",
        platform="linux/amd64",
        measured_here=measured_here,
        reference="fp32",
        chosen="p50-i8",
        of_fold=of_fold,
        outcome=outcome,
        verdict=Verdict("digits", "linux-x86", "p50-i8", outcome, (check,)),
        version=3,
        bundle_sha256="0" * 64,
        champion=2,
        note="digits.linux-x86 keeps version 2",
        variants=(variant("fp32", None, measured_here), variant("p50-i8", outcome, measured_here)),
    )
    gone = (MissingVariant("p70", "no range [can] be found"),) if missing else ()
    return BuildSummary("digits", "b1", "accuracy", "accuracy", "d" * 64, {"test": 10}, "http://r", (target,), gone)


def shown(build: BuildSummary, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    show_summary(console, build, 61.0)
    file: Any = console.file
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("outcome", ["pass", "fail", "not_measurable"])
@pytest.mark.parametrize("width", [80, 110, 140])
def test_no_figure_is_cut_in_a_common_terminal(width: int, outcome: Outcome) -> None:
    lines = shown(summary(outcome), width)
    (row,) = [line for line in lines if line.startswith(("p50-i8", " p50-i8"))]
    assert "…" not in "".join(line for line in lines if not line.startswith(" release"))
    for cell in ("98.93 ± 0.21 %", "+0.11 (≤ 0.24)", "1206 KiB", "0.391 ms", "4.80x", outcome.replace("_", " "), "←"):
        assert cell in row


def test_a_roomy_one_also_shows_what_ran_it() -> None:
    (row,) = [line for line in shown(summary(), 120) if line.startswith(" p50-i8")]
    assert row.endswith("CPU  pass  ← chosen")


def test_a_refusal_says_check_reason_and_remedy() -> None:
    lines = shown(summary("fail"), 100)
    assert "verdict: fail (digits.linux-x86 keeps version 2)" in lines
    assert "  accuracy floor   accuracy 98.93 %   fail" in lines
    assert "  Try: train longer." in lines
    assert lines[-2:] == [" release     ✗ digits.linux-x86 keeps version 2", " build       ✗ b1 of digits in 61 s"]


def test_what_is_not_measured_here_says_what_to_do_on_the_device() -> None:
    lines = shown(summary("not_measurable", measured_here=False), 100)
    assert "             On the device: edgewright-agent bench DIR --report out.json" in lines
    assert not [line for line in lines if line.startswith("verdict:")], "there is nothing wrong with it"


def test_a_missing_variant_is_named_with_its_reason_word_for_word() -> None:
    assert " missing     p70: no range [can] be found" in shown(summary(missing=True), 100)


def test_without_a_terminal_each_finished_piece_of_work_is_one_line() -> None:
    console = Console(file=io.StringIO(), width=100, highlight=False)
    with StageBoard(console) as board:
        board("train", Progress("base", 1, 8, "epoch 1/8"))
        board("train", Progress("base", 1, 1, "done"))
        board("pack", Progress("here i8", 1, 1, "unchanged"))
    file: Any = console.file
    assert file.getvalue() == (
        " train       ✓ base                     0 s\n pack        ✓ here i8                  unchanged\n"
    )


def test_where_folds_chose_differently_it_is_said() -> None:
    lines = shown(summary(of_fold=("p50-i8", "i8", "p50-i8")), 100)
    assert " judged together: what each of 3 folds chose (p50-i8 in 2, i8 in 1)." in lines
    assert not [line for line in shown(summary(), 100) if "folds" in line]
