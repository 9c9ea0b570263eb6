"""``edgewright bench``: what is settled before anything is built, what a build tells meanwhile, and the tables."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgewright.cli import bench
from edgewright.cli.bench_tables import builds_table, busy, medians_table, models_table, reasons
from edgewright.cli.console import open_console
from edgewright.errors import EdgewrightError, EngineError, UsageError
from edgewright.pipeline.bench_result import ModelsBench, NotMeasured, Ratio, Row, build_cost
from edgewright.pipeline.engine_defaults import STATIC

ROOT = Path(__file__).parents[3]
TARGETS = ROOT / "deployments" / "targets.yaml"
DIGITS = ROOT / "deployments" / "recipes" / "digits.yaml"
SETTINGS = ((1, 1), (1, 8), (2, 1), (2, 8))


def arguments(*recipes: Path, **changes: Any) -> argparse.Namespace:
    fields = {"recipes": list(recipes), "targets": TARGETS, "json": Path("bench.json"), "models_only": False}
    return argparse.Namespace(**{**fields, **changes})


def row(variant: str, x: float, threads: int, batch: int, cpu_ms: float = 12.3) -> Row:
    ratio = Ratio(x, x - 0.12, x + 0.12, 0.98, (x,) * 7)
    return Row(
        "motion", variant, threads, batch, 12.345, 23.4, cpu_ms, 999.0, ratio, x, ratio, 1327.4, 157.2, 98.53, (12.345,) * 7
    )  # fmt: skip


@pytest.fixture
def measured() -> ModelsBench:
    rows: list[Row | NotMeasured] = []
    for threads, batch in SETTINGS:
        rows += [row("fp32", 1.0, threads, batch), row("p50-i8-kd9", 12.34, threads, batch)]
        rows.append(NotMeasured("motion", STATIC, threads, batch, "quantize_static with its defaults failed: no"))
    return ModelsBench("motion", "linux-x86", "fp32", "balanced accuracy", tuple(rows))


def printed(table: Any, width: int) -> list[str]:
    console = Console(width=width, highlight=False, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_without_a_recipe_the_shipped_ones_are_benched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    jobs, skipped = bench._jobs(bench.SHIPPED, TARGETS)
    assert {job.recipe.model for job in jobs} | set(skipped) == {"digits", "motion", "shuttle"}


def test_a_recipe_is_measured_for_the_first_of_its_targets_that_is_a_machine_like_this(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench, "can_measure", lambda target: target.platform == "linux/arm64")
    jobs, skipped = bench._jobs([DIGITS, DIGITS.with_name("shuttle.yaml")], TARGETS)
    assert [(job.recipe.model, job.target_name) for job in jobs] == [("digits", "pi5-arm64")]
    assert "none of its targets (gateway-x86) is a machine like this" in skipped["shuttle"]


def test_where_no_recipe_can_be_measured_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "can_measure", lambda _: False)
    with pytest.raises(UsageError, match="nothing to measure: digits: not measurable: none of its targets"):
        bench.run(arguments(DIGITS))


def test_a_place_for_the_file_is_looked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "can_measure", lambda _: True)
    with pytest.raises(UsageError, match="its folder does not exist"):
        bench.run(arguments(DIGITS, json=tmp_path / "none" / "bench.json"))


def test_models_alone_are_those_of_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "can_measure", lambda _: True)
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(tmp_path / "home"))
    with pytest.raises(UsageError, match=r"home holds no result of stage .* Build it there first"):
        bench.run(arguments(DIGITS, models_only=True, json=tmp_path / "bench.json"))
    assert "✓" not in capsys.readouterr().out, "what failed is not done"


def test_what_fails_for_one_recipe_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: ModelsBench, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(_: object, store: object, job: Any) -> ModelsBench:
        if job.recipe.model == "digits":
            raise EngineError("its process died.")
        return measured

    monkeypatch.setattr(bench, "can_measure", lambda _: True)
    monkeypatch.setattr(bench, "_measure", measure)
    recipes = (DIGITS, DIGITS.with_name("motion.yaml"))
    status = bench.run(arguments(*recipes, models_only=True, json=tmp_path / "bench.json"))
    assert status == 1
    content = json.loads((tmp_path / "bench.json").read_text())
    assert [each["recipe"] for each in content["models"]] == ["motion"]
    assert content["without"] == {"digits": "failed: its process died."}
    assert content["machine"]["cpu"]
    assert content["versions"]["onnxruntime"]
    assert len(content["load_average"]["before"]) == 3
    said = capsys.readouterr().out.splitlines()
    assert "digits: failed: its process died." in said
    assert said[-1].startswith(f"written: {tmp_path / 'bench.json'}")


def test_a_build_tells_its_last_line_until_it_ends() -> None:
    heard: list[str] = []
    script = "import time; print('train   ✓ base', flush=True); time.sleep(1.5); print('last')"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        bench._follow(process, process.stdout, heard.append)
    assert heard[0] == "starting"
    assert "train ✓ base" in heard
    assert process.returncode == 0


def test_an_interrupted_build_gets_time_to_end_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_LEAVE_S", 0.2)
    script = "import time; print('begun', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)  # the hardest case: it cannot even hear that it shall end
        bench._let_end(process)
        assert process.returncode == -signal.SIGKILL


def test_a_build_that_breaks_says_what_it_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("model: [")
    with pytest.raises(EdgewrightError, match=r"broken\.yaml could not be built \(exit status 2\): .+"):
        bench._timed_build(broken, TARGETS, tmp_path / "home", lambda _: None)


def test_work_is_announced_told_and_done(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_LINE_EVERY_S", 0.0)
    with bench._working(open_console(), "measure", "motion") as tell:
        tell("3/140  1 thread, batch 8")
    begun, told, done = capsys.readouterr().out.splitlines()
    assert begun == " measure       motion …"
    assert told == " measure       motion  0 s  3/140  1 thread, batch 8"
    assert done == " measure     ✓ motion  0 s"


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_is_cut_nowhere(measured: ModelsBench, width: int) -> None:
    lines = printed(models_table(measured, width), width)
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "…" not in text
    assert text.count("12.345 ms") == 8
    assert ("157 MiB" in text) == (width == 120)
    assert ("12.3 (12.2-12.5)" in text) == (width == 120)
    assert any(line.startswith(STATIC) and line.split()[-4:] == ["-"] * 4 for line in lines)


def test_why_a_row_is_empty(measured: ModelsBench) -> None:
    assert reasons(measured) == {STATIC: "quantize_static with its defaults failed: no"}


def test_a_busy_machine_is_told(measured: ModelsBench) -> None:
    assert busy(measured) is None
    waited = replace(measured, rows=(*measured.rows, row("i8", 2.0, 1, 8, cpu_ms=3.0)))
    assert "had the processor for 24% of the time" in str(busy(waited))
    side_by_side = replace(measured, rows=(row("i8", 2.0, 2, 8, cpu_ms=3.0),))
    assert busy(side_by_side) is None, "of two threads nobody knows"


def test_medians_and_builds(measured: ModelsBench) -> None:
    assert printed(medians_table([measured]), 80)[-1].split() == ["p50-i8-kd9", "12.34", "12.34"]
    cells = printed(builds_table([build_cost("digits", 200.0, 250.0, 10.0)]), 80)[-1].split()
    assert cells == ["digits", "200", "s", "250", "s", "0.80", "10.0", "s", "5.0%"]
