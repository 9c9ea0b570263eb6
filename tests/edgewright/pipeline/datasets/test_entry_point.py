"""A function of your own: found, called with its arguments, and what it returns is checked like any file."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
        if name.startswith(("own_parts", "broken_module", "bench_data")):
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


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("own_parts", {}, '"own_parts" is not an entry point. Write it as package.module:name'),
        ("own_parts:", {}, "not an entry point"),
        ("own_parts.pair", {}, "not an entry point"),
        ("os:system('x')", {}, "not an entry point"),
        ("absent_module:load", {}, 'cannot import module "absent_module" .ModuleNotFoundError'),
        ("own_parts:absent", {}, 'module "own_parts" has no "absent"'),
        ("own_parts:CONSTANT", {}, "own_parts:CONSTANT: names one int, not a function"),
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


def test_the_guide_shows_a_function_that_works() -> None:
    guide = (Path(__file__).parents[4] / "docs" / "guides" / "own-data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (function,) = [block for block in blocks if "def measurements" in block]
    Path("bench_data.py").write_text(function)
    with contextlib.closing(sqlite3.connect("bench.sqlite")) as database:
        database.execute("CREATE TABLE measurements (day, machine, vibration, current, temperature, verdict)")
        rows = [("2024-05-01", "m1", 0.5, 1, 20.5, "good"), ("2024-05-02", "m2", 0.25, 2, 21.5, "bad")]
        database.executemany("INSERT INTO measurements VALUES (?, ?, ?, ?, ?, ?)", rows)
        database.commit()
    dataset = entry_point.load("bench_data:measurements", {"file": "bench.sqlite"}, kind="row")
    assert dataset.images.tolist() == [[0.5, 1, 20.5], [0.25, 2, 21.5]]
    assert (dataset.labels_names, dataset.groups) == (("bad", "good"), ("m1", "m2"))
