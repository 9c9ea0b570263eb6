"""Bytecode: the same bytes whatever the process did before, and never compared with its source again."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.errors import ImageError
from edgewright.pipeline.images.bytecode import bytecode, bytecode_path

SOURCE = b"""
NAMES = {"os", "json", "path"}

def join(os, path=1.5):
    return [f"{os}{path}" for name in NAMES if name in ("json", "os")]
"""
_PRINT = """
import sys; {before}
from edgewright.pipeline.images.bytecode import bytecode
import hashlib; print(hashlib.sha256(bytecode({source!r}, "/opt/x.py")).hexdigest())
"""


def test_a_process_that_imported_much_and_one_that_did_not_write_the_same() -> None:
    digests = set()
    for seed, before in (("0", "pass"), ("1", "import json, os.path, numpy; path = sys.intern('path')")):
        command = [sys.executable, "-c", _PRINT.format(before=before, source=SOURCE)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={"PYTHONHASHSEED": seed}, check=True
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_python_loads_it_beside_a_source_that_is_newer_and_different(tmp_path: Path) -> None:
    compiled = bytecode(b"VALUE = 'compiled'\n", "/opt/module.py")
    assert compiled is not None and int.from_bytes(compiled[4:8], "little") == 1  # hash-based, unchecked
    place = tmp_path / bytecode_path("module.py")
    place.parent.mkdir()
    place.write_bytes(compiled)
    (tmp_path / "module.py").write_text("VALUE = 'source'\n")
    done = subprocess.run(
        [sys.executable, "-c", "import module; print(module.VALUE, module.__cached__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split()[0] == "compiled"
    assert str(place) == importlib.util.cache_from_source(str(tmp_path / "module.py"))


def test_what_is_no_python_has_no_bytecode() -> None:
    assert bytecode(b"print 'two'\n", "/opt/x.py") is None
    assert bytecode(b"\0", "/opt/x.py") is None


def test_another_python_than_the_images_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bytecode.cache_clear()
    monkeypatch.setattr("edgewright.pipeline.images.bytecode.PYTHON_VERSION", "3.99")
    with pytest.raises(ImageError, match=r"for Python 3\.99, this is 3\.11"):
        bytecode(b"a = 1\n", "/opt/x.py")


@pytest.mark.parametrize("switch", ["-OO", "-Wdefault", "-bb", "-Xdev"])
def test_switches_of_the_process_are_not_seen(switch: str) -> None:
    command = [sys.executable, "-c", _PRINT.format(before="pass", source=SOURCE)]
    digests = {
        subprocess.run([command[0], *more, *command[1:]], capture_output=True, text=True, timeout=60, check=True).stdout
        for more in ([], [switch])
    }
    assert len(digests) == 1


def test_a_python_that_leaves_out_columns_is_refused_with_what_to_unset() -> None:
    command = [sys.executable, "-c", _PRINT.format(before="pass", source=SOURCE)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={"PYTHONNODEBUGRANGES": "1"}, check=False
    )
    assert done.returncode != 0 and "ImageError" in done.stderr and "unset PYTHONNODEBUGRANGES" in done.stderr
