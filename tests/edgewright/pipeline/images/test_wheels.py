"""Wheels: fetched against their hashes or not at all, unpacked without what no device loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.errors import ImageError, IntegrityError
from edgewright.pipeline.images.layer import Tree
from edgewright.pipeline.images.platform import PLATFORMS
from edgewright.pipeline.images.wheels import add_wheel, fetch_wheels
from image_parts import keep, locked, make_wheel

AMD64 = PLATFORMS["linux/amd64"]


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, which is all that pip asks."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def test_what_is_fetched_is_kept_and_not_asked_for_again(index: Path, tmp_path: Path) -> None:
    wheels = [locked(make_wheel(index, "numpy")), locked(make_wheel(index, "tuf"))]
    first = fetch_wheels(wheels, AMD64, tmp_path / "cache")
    assert [path.name for path in first] == ["numpy-1.0-py3-none-any.whl", "tuf-1.0-py3-none-any.whl"]
    for path in index.iterdir():
        path.unlink()
    assert fetch_wheels(wheels, AMD64, tmp_path / "cache") == first


def test_a_kept_wheel_that_was_damaged_is_fetched_again(index: Path, tmp_path: Path) -> None:
    wheel = locked(make_wheel(index, "numpy"))
    (path,) = fetch_wheels([wheel], AMD64, tmp_path / "cache")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    assert fetch_wheels([wheel], AMD64, tmp_path / "cache")[0].read_bytes() == whole


def test_another_hash_than_the_locks_is_refused_by_name_and_nothing_is_kept(index: Path, tmp_path: Path) -> None:
    wheel = replace(locked(make_wheel(index, "numpy")), sha256="a" * 64)
    with pytest.raises(IntegrityError, match=r"numpy 1\.0 for linux/amd64 came with another SHA-256"):
        fetch_wheels([wheel], AMD64, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wheel_that_the_index_has_not_is_one_clear_error(index: Path, tmp_path: Path) -> None:
    wheel = replace(locked(make_wheel(index, "numpy")), version="9.9")
    with pytest.raises(ImageError, match=r"^numpy 9\.9 has no wheel for linux/amd64 at the index that pip asks"):
        fetch_wheels([wheel], AMD64, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wheel_of_another_machine_is_not_taken(index: Path, tmp_path: Path) -> None:
    made = make_wheel(index, "numpy")
    made = made.rename(index / "numpy-1.0-cp311-cp311-manylinux_2_28_aarch64.whl")
    with pytest.raises(ImageError, match="no wheel for linux/amd64"):
        fetch_wheels([locked(made)], AMD64, tmp_path / "cache")
    assert fetch_wheels([locked(made)], PLATFORMS["linux/arm64"], tmp_path / "cache")


def test_pip_is_given_a_time(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"within 0\.01 s"):
        fetch_wheels([locked(make_wheel(index, "numpy"))], AMD64, tmp_path / "cache", deadline_s=0.01)


def test_what_a_device_loads_is_unpacked_with_bytecode_and_the_rest_is_left_out(tmp_path: Path) -> None:
    extra = {
        "numpy/f2py/x.py": b"a = 1\n",
        "numpy/__init__.pyi": b"",
        "numpy/_core/include/x.h": b"",
        "numpy-1.0.data/scripts/f2py": b"#!python",
        "numpy-1.0.data/purelib/more.py": b"a = 1\n",
        "numpy.libs/libblas.so.3": b"\x7fELF",
    }
    tree = Tree()
    add_wheel(tree, make_wheel(tmp_path, "numpy", files=extra), "opt/site")
    files = {path: entry for path, entry in tree.members.items() if entry.kind == "file"}
    assert set(files) == {
        "opt/site/numpy/__init__.py",
        "opt/site/numpy/__pycache__/__init__.cpython-311.pyc",
        "opt/site/numpy/core.cpython-311-x86_64-linux-gnu.so",
        "opt/site/numpy.libs/libblas.so.3",
        "opt/site/more.py",
        "opt/site/__pycache__/more.cpython-311.pyc",
        "opt/site/numpy-1.0.dist-info/METADATA",
        "opt/site/numpy-1.0.dist-info/WHEEL",
    }
    assert files["opt/site/numpy.libs/libblas.so.3"].mode == 0o755 and files["opt/site/more.py"].mode == 0o644


def test_of_litert_only_what_its_interpreter_needs_is_kept(tmp_path: Path) -> None:
    module = "ai_edge_litert"
    extra = {f"{module}/{name}": b"" for name in ("interpreter.py", "libLiteRtWebGpuAccelerator.so", "aot/x.py")}
    extra |= {
        f"{module}/{name}": b"" for name in ("_pywrap_litert_interpreter_wrapper.so", "libpywrap_litert_common.so")
    }
    tree = Tree()
    add_wheel(tree, make_wheel(tmp_path, "ai-edge-litert", files=extra), "s")
    kept = {path.removeprefix(f"s/{module}/") for path, entry in tree.members.items() if entry.kind == "file"}
    assert {name for name in kept if not name.startswith(("s/", "__pycache__"))} == {
        "__init__.py",
        "interpreter.py",
        "_pywrap_litert_interpreter_wrapper.so",
        "libpywrap_litert_common.so",
    }


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "numpy-1.0-py3-none-any.whl"
    path.write_bytes(b"no zip")
    with pytest.raises(ImageError, match="cannot be read as a wheel"):
        add_wheel(Tree(), path, "s")


def test_kept_wheels_are_found_by_their_hash_alone(tmp_path: Path) -> None:
    wheel = keep(make_wheel(tmp_path / "made", "tuf"), tmp_path / "cache")
    assert fetch_wheels([wheel], AMD64, tmp_path / "cache")[0].parent.name == wheel.sha256
