"""The commands as a device's owner sees them: real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.bench_report import parse_report
from edgewright.bundle import Bundle
from edgewright.device.agent import main

ROOT = Path(__file__).parents[3]


def agent(*words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgewright.device.agent", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False, **options)


@pytest.fixture
def digits(tmp_path: Path, zoo: Any) -> Path:
    np.save(tmp_path / "digits.npy", zoo.raw[:200])
    return tmp_path / "digits.npy"


def test_help_is_quick_and_shows_examples() -> None:
    start = time.perf_counter()
    found = agent("--help")
    assert time.perf_counter() - start < 1.0, "a bare interpreter's start and argparse, with room for a busy machine"
    assert found.returncode == 0
    assert "edgewright-agent pull --registry" in found.stdout


def test_help_imports_neither_numpy_nor_an_engine() -> None:
    script = "import sys, edgewright.device.agent as a\ntry: a.main(['--help'])\nexcept SystemExit: pass\n"
    script += "assert not {'numpy', 'onnxruntime', 'ssl', 'http', 'urllib.request'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_pull_infer_status(registry: Any, bundle: Bundle, digits: Path, tmp_path: Path, zoo: Any) -> None:
    registry.publish(bundle, "3")
    device = tmp_path / "device"
    pulled = agent("pull", "--registry", registry.url, "--model", "digits", "--target", "linux-x86", "--into", device)
    assert (pulled.returncode, pulled.stderr) == (0, "")
    assert pulled.stdout.startswith(f"installed: digits.linux-x86 version 3 (i8), bundle {bundle.sha256[:12]}")
    assert "reproduced 16/16 golden samples" in pulled.stdout
    assert pulled.stdout.count("\n") == 1

    answers = agent("infer", "--from", device, digits, "--json")
    assert answers.returncode == 0
    lines = [json.loads(line) for line in answers.stdout.splitlines()]
    assert [line["index"] for line in lines] == list(range(200))
    assert set(lines[0]) == {"source", "index", "label", "label_index", "probability"}
    right = np.mean([int(line["label"]) for line in lines] == zoo.truth[:200])
    assert right > 0.85

    table = agent("infer", "--from", bundle.folder, digits, "--limit", "3")
    assert table.stdout.splitlines()[-1] == f"3 samples answered by digits i8, bundle {bundle.sha256[:12]}"

    status = agent("status", "--from", device)
    assert "serves      digits.linux-x86 i8, version 3 (champion), since " in status.stdout
    assert bundle.sha256 in status.stdout
    assert json.loads(agent("status", "--from", device, "--json").stdout)["bundle_sha256"] == bundle.sha256

    assert agent(
        "pull", "--registry", registry.url, "--model", "digits", "--target", "linux-x86", "--into", device
    ).stdout.startswith("unchanged: ")


def test_help_says_what_files_answers_and_units_are() -> None:
    text = agent("infer", "--help").stdout
    for word in ("CSV of one window", "probability (0 to 1)", "squared standard deviations", "in the unit"):
        assert word in text


@pytest.mark.parametrize(
    ("kind", "line", "keys"),
    [
        ("anomaly", r"rows\.csv\[0\]  normal        score 0\.\d+ \(threshold 0\.15\)", {"score", "threshold", "label"}),
        ("regression", r"window\.csv\[0\]  travel        [\d.]+ mm", {"quantity", "value", "unit"}),
    ],
)
def test_sensors_are_pulled_answered_and_measured(
    registry: Any, make_bundle: Any, sensors: Any, tmp_path: Path, kind: str, line: str, keys: set[str]
) -> None:
    made = make_bundle(tmp_path / "workshop" / kind, **sensors.bundle_fields(kind))
    registry.publish(made, "1")
    device = tmp_path / "device"
    pulled = agent("pull", "--registry", registry.url, "--model", "digits", "--target", "linux-x86", "--into", device)
    assert "reproduced 16/16 golden samples" in pulled.stdout, pulled.stderr
    np.savetxt(tmp_path / "rows.csv", sensors.rows[:1], delimiter=",")
    np.savetxt(tmp_path / "window.csv", sensors.windows[0], delimiter=",")
    file = tmp_path / ("rows.csv" if kind == "anomaly" else "window.csv")
    table = agent("infer", "--from", device, file)
    assert re.search(line, table.stdout), table.stdout + table.stderr
    answer = json.loads(agent("infer", "--from", device, file, "--json").stdout)
    assert keys < set(answer)
    report = tmp_path / "out.json"
    found = agent("bench", device, "--report", report, "--processes", "1")
    assert (found.returncode, found.stderr) == (0, "")
    assert parse_report(report.read_bytes(), "out.json").golden.agreeing == 16


def test_answering_takes_less_than_80_mib(bundle: Bundle, tmp_path: Path, zoo: Any) -> None:
    """Whatever the file's size: 10,000 images are read a few at a time. The process reads its own peak at its end."""
    np.save(tmp_path / "many.npy", np.concatenate([zoo.raw] * 10))
    script = (
        "import sys\nfrom edgewright.device.agent import main\n"
        f"code = main(['infer', '--from', {str(bundle.folder)!r}, {str(tmp_path / 'many.npy')!r}])\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(code, peak.split()[1], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    code, peak_kib = map(int, found.stderr.split())
    assert code == 0
    assert found.stdout.splitlines()[-1].startswith("10000 samples answered")
    assert peak_kib / 1024 < 80


def test_bench_writes_a_report_with_the_reference_beside(bundle: Bundle, reference: Bundle, tmp_path: Path) -> None:
    report = tmp_path / "out.json"
    found = agent("bench", bundle.folder, "--reference", reference.folder, "--report", report, "--processes", "2")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("measured: digits.linux-x86 (i8) on ")
    parsed = parse_report(report.read_bytes(), "out.json")
    assert (parsed.bundle_sha256, parsed.reference_sha256) == (bundle.sha256, reference.sha256)
    assert (parsed.golden.agreeing, len(parsed.speedup_rounds)) == (16, 2)
    assert parsed.platform.startswith("linux/")
    assert parsed.cpu_model


def test_a_reference_of_another_build_is_refused(bundle: Bundle, make_bundle: Any, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "other", build="b9")
    found = agent("bench", bundle.folder, "--reference", other.folder, "--report", tmp_path / "r.json")
    assert found.returncode == 1
    assert "a speed-up compares models of one build" in found.stderr


@pytest.mark.parametrize(
    ("words", "code", "rule"),
    [
        (["infer", "--from", "{tmp}", "x.npy"], 1, "has no current bundle: pull one first"),
        (["infer", "--from", "{bundle}", "{tmp}/absent"], 1, "absent cannot be read: No such file or directory."),
        (["bench", "{bundle}", "--report", "{tmp}/no/such/out.json", "--processes", "1"], 2, "is no folder"),
        (["status", "--from", "{tmp}/absent"], 2, "is no folder"),
        (["pull", "--registry", "host", "--model", "m", "--target", "t", "--into", "{tmp}/d"], 1, "must look like http"),
        (["pull", "--registry", "http://127.0.0.1:9", "--model", "m", "--target", "t", "--into", "{bundle}/model.onnx"],
         1, "model.onnx"),
        (["infer"], 2, "--from"),
        (["infer", "--from", "d", "f", "--limit", "0"], 2, "from 1 on"),
        (["dance"], 2, "dance"),
        ([], 2, "COMMAND"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_no_traceback(
    words: list[str], code: int, rule: str, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(tmp=tmp_path, bundle=bundle.folder) for word in words]
    try:
        found = main(words)
    except SystemExit as end:  # argparse's own way
        assert isinstance(end.code, int)
        found = end.code
    errors = capsys.readouterr().err
    assert found == code
    assert rule in errors
    assert "Traceback" not in errors
    if "usage:" not in errors:
        assert errors.count("\n") == 1


def test_a_refusal_is_remembered_by_status(
    registry: Any, bundle: Bundle, make_bundle: Any, zoo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = make_bundle(tmp_path / "w", model=zoo.int8("mlp", 1), golden=zoo.golden(zoo.int8("mlp")))
    registry.publish(wrong, "1")
    device = str(tmp_path / "device")
    words = ["--registry", registry.url, "--model", "digits", "--target", "linux-x86", "--into", device]
    assert main(["pull", *words]) == 1
    assert "does not reproduce its golden samples" in capsys.readouterr().err
    assert main(["status", "--from", device]) == 0
    status = capsys.readouterr().out
    assert "serves      nothing yet" in status
    assert "refused     version 1 at " in status


def test_a_reader_that_has_seen_enough_is_no_error(bundle: Bundle, digits: Path) -> None:
    command = f"{sys.executable} -m edgewright.device.agent infer --from {bundle.folder} {digits} | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=True)
    assert (found.stdout.count("\n"), found.stderr) == (1, "")
