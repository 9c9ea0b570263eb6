"""Tables of sensor channels: windows never cross a recording, a label or a gap, and a recording is in one split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.table_file import TableLayout, load, source_sha256

LAYOUT = TableLayout("state", ("x", "y"), 4, 2, time="time", recording="run", group="machine")
PLAIN = TableLayout("state", ("x", "y"), 4, 2)


def rows(
    run: str, count: int = 12, state: str = "idle", machine: str = "m1", start: float = 0.0
) -> dict[str, list[Any]]:
    """One recording whose x counts its rows, sampled every 0.01 s."""
    return {
        "time": [round(start + 0.01 * index, 6) for index in range(count)],
        "run": [run] * count,
        "machine": [machine] * count,
        "state": [state] * count,
        "x": [float(index) for index in range(count)],
        "y": [0.5] * count,
    }


def together(*parts: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {key: [value for part in parts for value in part[key]] for key in parts[0]}


TWO = together(rows("r1"), rows("r2", 10, "busy", "m2"))


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        pa.parquet.write_table(table, path)
    return path


def changed(column: str, row: int, value: Any, base: dict[str, list[Any]] = TWO) -> dict[str, list[Any]]:
    """The table with one value changed; rows count from 1."""
    values = list(base[column])
    values[row - 1] = value
    return {**base, column: values}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_becomes_windows_with_labels_groups_and_recordings(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"runs{suffix}", TWO)
    dataset = load(path, LAYOUT)
    assert (dataset.name, dataset.kind, dataset.channel_names) == ("runs", "window", ("x", "y"))
    assert (dataset.images.shape, dataset.images.dtype) == ((9, 4, 2), np.float32)
    assert dataset.images[:, 0, 0].tolist() == [0, 2, 4, 6, 8, 0, 2, 4, 6]
    assert dataset.labels_names == ("busy", "idle")
    assert dataset.labels.tolist() == [1] * 5 + [0] * 4
    assert dataset.groups == ("m1",) * 5 + ("m2",) * 4
    assert dataset.columns["recording"] == ("r1",) * 5 + ("r2",) * 4


def test_in_a_folder_every_file_is_a_recording_and_its_own_group(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "b.csv", rows("", 6, "busy"))
    write(tmp_path / "runs" / "a.parquet", rows("", 8))
    dataset = load(tmp_path / "runs", PLAIN)
    assert dataset.groups == dataset.columns["recording"] == ("a", "a", "a", "b", "b")
    assert list(source_sha256(tmp_path / "runs")) == ["a.parquet", "b.csv"]


@settings(max_examples=40, deadline=None)
@given(states=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9)), min_size=2, max_size=8))
def test_no_window_crosses_a_label_or_a_recording(
    tmp_path_factory: pytest.TempPathFactory, states: list[tuple[str, int]]
) -> None:
    labels = "".join(state * count for state, count in [("a", 4), *states, ("b", 4)])
    table = together(
        *({**rows("r1", len(labels), machine="m1"), "state": list(labels)}, rows("r2", 4, machine="m2", state="a"))
    )
    dataset = load(write(tmp_path_factory.mktemp("cross") / "runs.parquet", table), LAYOUT)
    firsts = [
        (int(window[0, 0]), dataset.labels_names[label])
        for window, label, run in zip(dataset.images, dataset.labels, dataset.columns["recording"], strict=True)
        if run == "r1"
    ]
    assert all(labels[start : start + 4] == name * 4 for start, name in firsts)
    assert (dataset.images[:, :, 0] == dataset.images[:, :1, 0] + np.arange(4)).all()


def test_csv_names_stay_texts_and_booleans_and_stamps_are_read(tmp_path: Path) -> None:
    table = {**TWO, "run": ["007"] * 12 + ["7"] * 10, "state": [True] * 12 + [False] * 10}
    dataset = load(write(tmp_path / "runs.csv", table), LAYOUT)
    assert set(dataset.columns["recording"]) == {"007", "7"}
    assert dataset.labels_names == ("false", "true")
    stamps = pa.array([int(time * 1e6) for time in TWO["time"]], pa.timestamp("us", "UTC"))
    pa.parquet.write_table(pa.table({**TWO, "time": stamps}), tmp_path / "runs.parquet")
    assert len(load(tmp_path / "runs.parquet", LAYOUT).labels) == 9


def test_another_delimiter_is_read(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    pa.csv.write_csv(pa.table(TWO), path, pa.csv.WriteOptions(delimiter=";"))
    with pytest.raises(DataError, match=r'column "state" is not there; the file has: .*;.*the delimiter'):
        load(path, LAYOUT)
    assert len(load(path, TableLayout("state", ("x", "y"), 4, 2, recording="run", delimiter=";")).labels) == 9


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**TWO, "x": ["1,5"] * 22}, r"row 1: \"x\" is '1,5', needs a number"),
        ({**TWO, "x": [*map(str, range(21)), "NA"]}, r"row 22: \"x\" is 'NA', needs a number"),
        (changed("x", 5, None), r'row 5: "x" is absent \(1 rows in all\)'),
        (changed("x", 5, float("nan")), r'row 5: "x" is nan, needs a finite number'),
        (changed("y", 7, float("-inf")), r'row 7: "y" is -inf'),
        (changed("x", 3, 1e30), r'row 3: "x" is 1e\+30, may be ±16777216 at most'),
        (changed("state", 2, None), r'row 2: "state" is absent'),
        (changed("state", 2, "idle "), r"row 2: \"state\" is 'idle ', needs a name without space"),
        (changed("state", 2, "Idle"), '"Idle" and "idle" differ only in upper and lower case'),
        (changed("state", 2, "start"), r'row 2: "state" is "start" for 1 rows, and nowhere for the 4 of a window'),
        (changed("machine", 6, "m9"), r'recording "r1", row 6: group "m9", but the recording started in "m1"'),
        (changed("run", 22, "r1"), r'recording "r1" starts in .*, row 1, and again in .*, row 22'),
        (changed("time", 4, 0.02), r'recording "r1", row 4: "time" does not grow \(0\.02, then 0\.02\)'),
        (
            {**TWO, "time": TWO["time"][:15] + [time + 9.85 for time in TWO["time"][15:]]},
            r'recording "r2", row 16: a step of 9.86 in "time", may be 1.5 x the median step',
        ),
        (together(rows("r1"), rows("r2", 3)), r'recording "r2": 3 rows of one label at most, a window needs 4'),
        ({**TWO, "machine": ["m1"] * 22}, 'all windows belong to "m1", and what belongs together stays in one split'),
        (
            {key: values for key, values in TWO.items() if key != "y"},
            'column "y" is not there; the file has: time, run',
        ),
        ({key: [] for key in TWO}, "the table has no rows|needs"),
    ],
)
def test_poisoned_tables_are_refused_by_file_row_and_value(
    tmp_path: Path, suffix: str, table: dict[str, list[Any]], message: str
) -> None:
    path = write(tmp_path / f"runs{suffix}", table)
    with pytest.raises(DataError, match=message) as caught:
        load(path, LAYOUT)
    assert "runs" in str(caught.value)


def test_one_label_is_not_a_classification(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="need at least two distinct names"):
        load(write(tmp_path / "runs.csv", {**TWO, "state": ["idle"] * 22}), LAYOUT)


def test_labels_that_are_floats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='column "state" holds double, needs texts, integers or booleans'):
        load(write(tmp_path / "runs.parquet", {**TWO, "state": [0.0] * 12 + [1.0] * 10}), LAYOUT)


def test_a_recording_in_two_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "a.csv", rows("r1"))
    write(tmp_path / "runs" / "b.csv", rows("r1", state="busy", machine="m2"))
    with pytest.raises(DataError, match=r'recording "r1" starts in .*a\.csv.* and again in .*b\.csv'):
        load(tmp_path / "runs", LAYOUT)


@pytest.mark.parametrize("name", ["runs.txt", "deeper", ".hidden"])
def test_an_odd_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / "runs" / "a.csv", rows("r1"))
    (tmp_path / "runs" / name).mkdir() if name == "deeper" else (tmp_path / "runs" / name).touch()
    with pytest.raises(DataError, match=rf"{name}: is not a table, needs \.csv or \.parquet"):
        load(tmp_path / "runs", LAYOUT)


def test_an_absent_or_empty_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: is not there"):
        load(tmp_path / "absent.csv", LAYOUT)
    (tmp_path / "runs").mkdir()
    with pytest.raises(DataError, match="the folder is empty"):
        source_sha256(tmp_path / "runs")


@pytest.mark.parametrize("name", ["runs.csv", "runs.parquet"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00x,y\n", b"PAR1 cut", b"a,b\n1,2,3\n"])
def test_an_unreadable_table_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: (not a readable table|column)"):
        load(tmp_path / name, LAYOUT)


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("time,run,machine,state,x,y,x\n0,r1,m1,idle,1,2,3\n")
    with pytest.raises(DataError, match='column "x" is there twice'):
        load(tmp_path / "runs.csv", LAYOUT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ()}, "channels is empty"),
        ({"channels": ("x", "x")}, r"\['x'\] serve two purposes"),
        ({"time": "x"}, r"\['x'\] serve two purposes"),
        ({"window_samples": 1}, "window_samples is 1"),
        ({"stride_samples": 5}, "stride_samples is 5, needs 1 to 4"),
        ({"largest_step_x": 0.5}, "largest_step_x is 0.5, needs at least 1"),
        ({"largest_step_x": float("nan")}, "largest_step_x is nan"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"answer": "state", "channels": ("x", "y"), "window_samples": 4, "stride_samples": 2}
    with pytest.raises(DataError, match=message):
        TableLayout(**{**values, **changes})


def test_uneven_clocks_can_be_allowed(tmp_path: Path) -> None:
    path = write(tmp_path / "runs.csv", {**TWO, "time": [index * 0.01 + 0.004 * (index % 2) for index in range(22)]})
    assert isinstance(load(path, TableLayout("state", ("x", "y"), 4, 2, "time", "run", "machine", 2.5)), Dataset)
