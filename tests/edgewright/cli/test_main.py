"""The door: cheap to open, says what there is, and turns every end into one message and a status."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.cli import validate
from edgewright.device.agent import main as agent
from edgewright.errors import DataError, RegistryError, StageError

ROOT = Path(__file__).parents[3]
HEAVY = (
    "torch",
    "mlflow",
    "prefect",
    "onnx",
    "onnxruntime",
    "scipy",
    "pydantic",
    "rich",
    "numpy",
    "matplotlib",
    "tuf",
    "cryptography",
    "tasks",
    "flows",
)
COMMANDS = (
    *("demo", "up", "status", "down", "validate", "build", "data", "compare", "promote", "rollback", "pin"),
    *("backup", "restore", "prepare-team", "record-bench", "keys", "release", "enrol"),
)


@pytest.fixture
def ends_with(monkeypatch: pytest.MonkeyPatch, edgewright: Callable[..., Any]) -> Callable[[BaseException], Any]:
    """Run a command that ends with an exception."""

    def run(error: BaseException) -> Any:
        def fail(_: object) -> int:
            raise error

        monkeypatch.setattr(validate, "run", fail)
        return edgewright("validate", "recipe.yaml")

    return run


@pytest.mark.parametrize("module", ["edgewright.cli.main", "edgewright.device.agent"])
def test_asking_for_help_loads_no_framework(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_help_lists_all_commands_and_examples(edgewright: Callable[..., Any]) -> None:
    said = edgewright("--help")
    assert said.status == 0
    assert all(f"\n    {command}" in said.out for command in COMMANDS)
    assert "examples:\n  edgewright validate deployments/recipes/digits.yaml\n" in said.out
    assert "exit status of build: 0" in said.out


def test_the_devices_help_does_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        agent(["--help"])
    said = capsys.readouterr().out
    assert "examples, in the field (docs/device.md):\n  edgewright-agent run --config" in said
    assert "(which believes the registry):\n  edgewright-agent pull --registry" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, edgewright: Callable[..., Any]) -> None:
    said = edgewright(command, "--help")
    assert said.status == 0
    assert f"usage: edgewright {command}" in said.out


@pytest.mark.parametrize("words", [(), ("bild",), ("build",), ("promote", "digits"), ("build", "x", "--seed", "many")])
def test_words_that_make_no_sense_end_with_status_2(words: tuple[str, ...], edgewright: Callable[..., Any]) -> None:
    said = edgewright(*words)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("usage: edgewright")


def test_an_error_of_ours_is_its_message_and_its_status(ends_with: Callable[[BaseException], Any]) -> None:
    said = ends_with(DataError("class 3 is empty"))
    assert (said.status, said.out, said.err) == (1, "", "class 3 is empty\n")
    assert ends_with(RegistryError("gone")).status == 1


def test_a_defect_of_ours_says_so_and_keeps_the_details(
    ends_with: Callable[[BaseException], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(tmp_path / "home"))
    said = ends_with(KeyError("lost"))
    assert said.status == 1
    assert said.err == f"this is a defect of edgewright: KeyError: 'lost'. Details: {tmp_path}/home/last-error.txt\n"
    assert "Traceback" in (tmp_path / "home" / "last-error.txt").read_text()


def test_details_that_cannot_be_kept_are_no_second_error(
    ends_with: Callable[[BaseException], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_HOME", "/dev/null/home")
    said = ends_with(KeyError("lost"))
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert "/dev/null/home/last-error.txt could not be written (Not a directory)" in said.err


@pytest.mark.parametrize("kind", [OSError, StageError])
def test_a_full_disk_is_no_defect(
    kind: type[Exception], ends_with: Callable[[BaseException], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(tmp_path / "home"))
    said = ends_with(kind("training failed: [Errno 28] No space left on device"))
    assert (said.status, said.err.count("\n")) == (1, 1)
    assert said.err.startswith("the disk that holds ")
    assert not (tmp_path / "home").exists()


def test_what_would_spoil_a_terminal_is_written_as_escapes(ends_with: Callable[[BaseException], Any]) -> None:
    assert ends_with(DataError("column \x1b[31m is odd\nand more")).err == "column \\x1b[31m is odd\nand more\n"


def test_an_interrupt_is_one_line(ends_with: Callable[[BaseException], Any]) -> None:
    said = ends_with(KeyboardInterrupt())
    assert (said.status, said.err) == (130, "interrupted; the next build carries on from here.\n")


@pytest.mark.parametrize(
    ("missing", "words"),
    [("flows", "needs a checkout of edgewright"), ("mlflow", "pip install 'edgewright[pipeline]'")],
)
def test_what_is_not_installed_is_named(missing: str, words: str, ends_with: Callable[[BaseException], Any]) -> None:
    said = ends_with(ModuleNotFoundError(f"No module named {missing!r}", name=missing))
    assert said.status == 1
    assert words in said.err
    assert said.err.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error_to_speak_of() -> None:
    command = f"{sys.executable} -m edgewright.cli.main --help | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.startswith("usage: edgewright")
    assert done.stderr == ""
