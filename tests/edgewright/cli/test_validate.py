"""``edgewright validate`` as a person meets it: one line when all is fine, the whole list and status 2 when it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.cli.main import main

ROOT = Path(__file__).parents[3]
TARGETS = ROOT / "deployments" / "targets.yaml"
RECIPE = ROOT / "deployments" / "recipes" / "digits.yaml"


def validate(capsys: pytest.CaptureFixture[str], recipe: Path, targets: Path = TARGETS) -> tuple[int, str, str]:
    status = main(["validate", str(recipe), "--targets", str(targets)])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_a_sound_recipe_is_one_line_that_says_what_would_be_built(capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(capsys, RECIPE) == (
        0,
        f"{RECIPE}: fine. digits: fp32, i8, p50, p50-i8 for linux-x86, pi5-arm64.\n",
        "",
    )


def test_problems_of_the_recipe_go_to_stderr_with_status_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(RECIPE.read_text().replace("linux-x86", "pi6").replace("\n  epochs: 3", "\n  epochs: many"))
    assert validate(capsys, mine) == (
        2,
        "",
        f"{mine}: 2 problems\n"
        '  training.epochs  "many" is not a whole number (passes over the training samples).\n'
        f'  targets[0]       "pi6" is not in {TARGETS}. '
        "Known: camera-arm64, camera-x86, gateway-armv7, gateway-x86, linux-x86, pi5-arm64.\n",
    )


def test_problems_of_both_files_come_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine, targets = tmp_path / "mine.yaml", tmp_path / "targets.yaml"
    mine.write_text(RECIPE.read_text().replace("seed: 7", "seed: lucky"))
    targets.write_text(TARGETS.read_text().replace("threads: 1 #", "threads: two #"))
    assert validate(capsys, mine, targets) == (
        2,
        "",
        f"{targets}: 1 problem\n"
        '  pi5-arm64.threads  "two" is not a whole number (intra-op threads of one inference).\n'
        f"{mine}: 1 problem\n"
        '  seed  "lucky" is not a whole number (seed of weights, order of samples and augmentation).\n',
    )


@pytest.mark.parametrize("content", ["", "- a list\n", "a: [\n", "\tx: 1\n", "a: &a [*a]\n"])
@pytest.mark.parametrize("which", ["recipe", "targets"])
def test_any_unreadable_file_is_a_problem_and_never_a_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, which: str
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(content)
    status, out, err = validate(capsys, broken) if which == "recipe" else validate(capsys, RECIPE, broken)
    assert (status, out) == (2, "")
    assert err.startswith(f"{broken}: 1 problem\n")
    assert "Traceback" not in err


def test_the_command_needs_none_of_the_heavy_frameworks() -> None:
    """A person corrects a recipe line by line: the answer must not wait for seconds of imports."""
    program = (
        "import sys; from edgewright.cli.main import main; status = main(sys.argv[1:]);"
        "heavy = sorted({'torch', 'mlflow', 'prefect', 'onnx', 'onnxruntime', 'scipy'} & set(sys.modules));"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "validate", str(RECIPE), "--targets", str(TARGETS)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
