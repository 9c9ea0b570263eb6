"""A stage's code: its module and all it imports here, read from the sources without importing anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from edgewright.errors import StageError
from edgewright.pipeline import code_identity
from edgewright.pipeline.code_identity import code_digest, tool_versions

_SOURCES = {
    "__init__": "",
    "stage": "from edgewright import near\ndef work():\n    from edgewright.deep.far import value\n",
    "near": "import numpy\nimport edgewright.stage\n",  # back again: cycles are fine
    "unrelated": "x = 1\n",
    "deep/__init__": "",
    "deep/far": "value = 1\nraise RuntimeError('must not be imported')\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small package of our name, in place of the real one."""
    for name, source in _SOURCES.items():
        path = tmp_path / "edgewright" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.setattr(code_identity, "_ROOT", tmp_path)
    code_digest.cache_clear()
    yield tmp_path / "edgewright"
    code_digest.cache_clear()


def digest() -> str:
    code_digest.cache_clear()
    return code_digest("edgewright.stage")


@pytest.mark.parametrize("name", ["stage", "near", "deep/far", "deep/__init__"])
def test_a_change_in_the_module_or_in_what_it_imports_is_a_change(package: Path, name: str) -> None:
    before = digest()
    assert digest() == before
    with (package / f"{name}.py").open("a") as source:
        source.write("# changed\n")
    assert digest() != before


def test_a_change_elsewhere_is_none(package: Path) -> None:
    before = digest()
    (package / "unrelated.py").write_text("x = 2\n")
    assert digest() == before


def test_a_module_that_is_not_there_is_an_error_and_not_an_empty_digest(package: Path) -> None:
    with pytest.raises(
        StageError, match=r"module edgewright\.gone, whose code makes a stage's result, cannot be found"
    ):
        code_digest("edgewright.gone")


def test_tools_are_known_by_their_installed_versions() -> None:
    assert tool_versions(("numpy", "onnx")) == {"numpy": version("numpy"), "onnx": version("onnx")}
    with pytest.raises(StageError, match="no-such-tool, which a stage works with, is not installed"):
        tool_versions(("no-such-tool",))


def test_asking_what_a_training_is_made_of_loads_no_framework() -> None:
    """A build in which nothing changed must not wait for the imports of what it does not run."""
    program = (
        "import sys; from importlib import import_module;"
        "from edgewright.pipeline.artifact_store import stage_key;"
        "names = ('snapshot', 'train', 'compress', 'quantize', 'evaluate', 'measure', 'pack');"
        "stages = [import_module('edgewright.pipeline.stages.' + name).STAGE for name in names];"
        "[stage_key(stage, {}) for stage in stages];"
        "sys.exit(' '.join(sorted({'torch', 'onnx', 'onnxruntime', 'torch_pruning'} & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
