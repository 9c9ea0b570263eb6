"""Tables in which every row is a sample: attributes, a class or a value, and perhaps a group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.datasets.table_rows import RowLayout, load

LAYOUT = RowLayout("state", ("x", "y"), group="machine")
TABLE = "machine,state,x,y\nm1,idle,1,0.5\nm1,busy,2,0.25\nm2,idle,3,-1e3\n"


def write(path: Path, text: str = TABLE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_row_is_a_sample(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "rows.csv"), LAYOUT)
    assert (dataset.name, dataset.kind, dataset.channel_names) == ("rows", "row", ("x", "y"))
    assert dataset.images.dtype == np.float32
    assert dataset.images.tolist() == [[1, 0.5], [2, 0.25], [3, -1000]]
    assert (dataset.labels_names, dataset.labels.tolist()) == (("busy", "idle"), [1, 0, 1])
    assert dataset.groups == ("m1", "m1", "m2")


def test_a_folder_of_tables_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    write(tmp_path / "rows" / "b.csv", "state,x,y\nidle,9,9\n")
    write(tmp_path / "rows" / "a.csv", "state,x,y\nbusy,8,8\n")
    dataset = load(tmp_path / "rows", RowLayout("state", ("x", "y")))
    assert dataset.images[:, 0].tolist() == [8, 9]
    assert dataset.groups is None


def test_a_column_may_hold_values(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "rows.csv"), RowLayout("y", ("x",), values=True))
    assert dataset.labels.dtype == np.float64
    assert dataset.labels.tolist() == [0.5, 0.25, -1000]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace("0.25", "nan"), r'rows.csv, row 2: "y" is nan'),
        (TABLE.replace("0.25", "1e30"), r'row 2: "y" is 1e\+30, may be'),
        (TABLE.replace("0.25", ""), r'row 2: "y" is absent'),
        (TABLE.replace("0.25", "n/a"), r"row 1: \"y\" is|row 2: \"y\" is 'n/a', needs a number"),
        (TABLE.replace("busy", ""), r'row 2: "state" is absent'),
        (TABLE.replace("busy", "Idle"), "differ only in upper and lower case"),
        (TABLE.replace("busy", "idle"), "need at least two distinct names"),
        (TABLE.replace("x,y", "x,z"), 'column "y" is not there'),
        ("machine,state,x,y\n", "no rows"),
    ],
)
def test_poison_is_named_by_file_row_and_column(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(write(tmp_path / "rows.csv", text), LAYOUT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ()}, "channels is empty"),
        ({"group": "state"}, r"\['state'\] serve two purposes"),
        ({"channels": ("x", "x")}, r"\['x'\] serve two purposes"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        RowLayout(**{"answer": "state", "channels": ("x", "y"), **changes})
