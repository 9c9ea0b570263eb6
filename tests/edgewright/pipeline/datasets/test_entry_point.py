"""A function of your own: found, called with its arguments, and what it returns is checked like any file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.datasets import entry_point

MODULE = """
import sys
import numpy as np
from edgewright.pipeline.datasets.dataset import Dataset

X, Y = np.arange(12, dtype=np.float32).reshape(6, 2), np.array([0, 1] * 3)
CONSTANT = 5

def pair(shift=0.0):
    return X + np.float32(shift), Y

def grouped():
    return X, Y, np.array(list("aabbcc"))

def whole():
    return Dataset("own", X, Y, ("off", "on"), None, None, "memory", "row")

def gap():
    return Dataset("own", X, Y, ("off", "on", "broken"), None, None, "memory", "row")

def fails():
    raise ValueError("no such table")

def leaves():
    sys.exit(0)

def returns(what):
    return {"none": None, "dict": {"x": X, "y": Y}, "list": [X, Y], "four": (X, Y, Y, Y), "array": X,
            "nan": (X * np.float32("nan"), Y), "one class": (X, Y * 0)}[what]
"""


@pytest.fixture(autouse=True)
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module in the current folder, forgotten afterwards."""
    (tmp_path / "own_parts.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("own_parts", "broken_module", "solar", "elpv_dataset")):
            del sys.modules[name]


def test_a_pair_a_triple_and_a_data_set_are_taken() -> None:
    pair = entry_point.load("own_parts:pair", {"shift": 1.0}, kind="row")
    assert (pair.name, pair.source, pair.kind) == ("pair", "own_parts:pair", "row")
    assert pair.images[0].tolist() == [1, 2]
    assert entry_point.load("own_parts:grouped", kind="row").groups == ("a", "a", "b", "b", "c", "c")
    assert entry_point.load("own_parts:whole").labels_names == ("off", "on")


def test_the_current_folder_is_searched_last_and_left_as_it_was() -> None:
    before = list(sys.path)
    entry_point.load("own_parts:whole")
    assert sys.path == before
    Path("statistics.py").write_text("raise RuntimeError('hides the standard library')")
    with pytest.raises(DataError, match="statistics:mean: called with"):
        entry_point.load("statistics:mean")


def test_the_digest_follows_what_comes_back() -> None:
    first = entry_point.source_sha256("own_parts:pair", kind="row")
    assert first == entry_point.source_sha256("own_parts:pair", {"shift": 0.0}, kind="row")
    assert first != entry_point.source_sha256("own_parts:pair", {"shift": 1.0}, kind="row")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("own_parts", {}, '"own_parts" is not an entry point, needs the form package.module:function'),
        ("own_parts:", {}, "not an entry point"),
        ("own_parts.pair", {}, "not an entry point"),
        ("os:system('x')", {}, "not an entry point"),
        ("absent_module:load", {}, 'cannot import module "absent_module" .ModuleNotFoundError'),
        ("own_parts:absent", {}, 'module "own_parts" has no "absent"'),
        ("own_parts:CONSTANT", {}, 'has one int, not a function, named "CONSTANT"'),
        ("own_parts:pair", {"shfit": 1}, r"called with \['shfit'\], but the function takes \(shift=0.0\)"),
        ("own_parts:returns", {}, "missing a required argument: 'what'"),
        ("own_parts:fails", {}, "the function raised ValueError: no such table"),
        ("own_parts:leaves", {}, "the function raised SystemExit: 0"),
        ("own_parts:gap", {}, 'no sample of class "broken"'),
        ("own_parts:returns", {"what": "none"}, "returned None, needs to return a Dataset or a tuple"),
        ("own_parts:returns", {"what": "dict"}, "returned a dict with the keys 'x', 'y'"),
        ("own_parts:returns", {"what": "list"}, "returned a list of 2: ndarray, ndarray"),
        ("own_parts:returns", {"what": "four"}, "returned a tuple of 4"),
        ("own_parts:returns", {"what": "array"}, "returned one ndarray"),
        ("own_parts:returns", {"what": "nan"}, "6 samples .* have NaN or infinite values"),
        ("own_parts:returns", {"what": "one class"}, "need at least two distinct names"),
    ],
)
def test_what_goes_wrong_is_named(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        entry_point.load(name, arguments, kind="row")
    assert name.split(":")[0] in str(caught.value) or "own" in str(caught.value)


@pytest.mark.parametrize("content", ["def f(:", "import absent_module", "raise SystemExit(3)", "1 / 0"])
def test_a_module_that_cannot_be_imported_is_named(content: str) -> None:
    Path("broken_module.py").write_text(content)
    with pytest.raises(DataError, match='broken_module:load: cannot import module "broken_module"'):
        entry_point.load("broken_module:load")


def test_the_guide_shows_an_adapter_that_works() -> None:
    guide = (Path(__file__).parents[4] / "docs" / "guides" / "own-data.md").read_text(encoding="utf-8")
    adapter = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[-1]
    Path("solar.py").write_text(adapter)
    # Stands in for the real package, which is not for commercial use: same call, same shapes, fewer cells.
    Path("elpv_dataset").mkdir()
    Path("elpv_dataset", "__init__.py").touch()
    Path("elpv_dataset", "utils.py").write_text(
        "import numpy as np\n"
        "def load_dataset():\n"
        "    images = np.random.default_rng(0).integers(0, 256, (8, 300, 300), dtype=np.uint8)\n"
        "    return images, np.array([0, 1 / 3, 2 / 3, 1] * 2), np.array(['mono', 'poly'] * 4)\n"
    )
    dataset = entry_point.load("solar:cells", {"side_px": 60})
    assert (dataset.images.shape, dataset.images.dtype) == ((8, 60, 60), np.uint8)
    assert dataset.labels_names == ("defective", "functional")
    assert dataset.labels.tolist() == [1, 1, 0, 0] * 2
    with pytest.raises(DataError, match="side_px is 77, needs to divide 300"):
        entry_point.load("solar:cells", {"side_px": 77})
