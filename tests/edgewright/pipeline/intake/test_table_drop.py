"""A delivered table: the recipe's columns, read as strictly as the model's own, without asking one file for every class."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.table_recordings import TableLayout
from edgewright.pipeline.datasets.table_rows import RowLayout
from edgewright.pipeline.intake import table_drop
from edgewright.pipeline.intake.drop import Drop, RejectedError
from edgewright.pipeline.intake.table_drop import read_delivered_table

ROWS = RowLayout("state", ("x", "y"), group="machine")
WINDOWS = TableLayout("state", ("x", "y"), 4, 2, time="time", recording="run", group="machine")
ROW = "x,y,state,machine\n"
WINDOW = "time,run,machine,state,x,y\n"


def base(kind: str = "row") -> Dataset:
    x = np.random.default_rng(0).normal(size=(20, 2) if kind == "row" else (20, 4, 2)).astype(np.float32)
    return Dataset(
        name="parts",
        images=x,
        labels=np.arange(20) % 2,
        labels_names=("idle", "run"),
        fixed_split=None,
        groups=("m1",) * 20,
        source="own",
        kind=kind,  # type: ignore[arg-type]
        channel_names=("x", "y"),
        columns={} if kind == "row" else {"recording": ("r",) * 20},
    )


def read(content: str | bytes, layout: Any = ROWS, name: str = "new.csv") -> Drop:
    known = base("row" if isinstance(layout, RowLayout) else "window")
    return read_delivered_table(name, content.encode() if isinstance(content, str) else content, known, layout)


def refused(*arguments: Any, **named: Any) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        read(*arguments, **named)
    return caught.value


def windows(rows: int, state: str = "idle", **changes: str) -> str:
    lines = [f"{index / 10},r9,m9,{state},{index},{-index}" for index in range(rows)]
    for row, line in changes.items():
        lines[int(row.removeprefix("row"))] = line
    return WINDOW + "\n".join(lines)


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pa.parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


class TestRows:
    def test_one_class_and_one_machine_are_enough(self) -> None:
        drop = read(ROW + "1,2,run,m9\n3,4,run,m9")
        assert drop.dataset.images.tolist() == [[1, 2], [3, 4]] and drop.dataset.labels.tolist() == [1, 1]
        assert drop.dataset.groups == ("m9", "m9")

    def test_rows_that_lack_values_are_left_out_and_counted(self) -> None:
        drop = read(ROW + "1,2,run,m9\n,4,run,m9\n5,nan,run,m9\n7,8,,m9\n9,1,run,\n2,inf,run,m9\n3,4,idle,m9")
        assert (drop.delivered, drop.missing) == (7, 5)
        assert drop.dataset.images.tolist() == [[1, 2], [3, 4]]

    def test_only_such_rows_are_none(self) -> None:
        error = refused(ROW + ",2,run,m9\n,4,run,m9")
        assert "all 2 rows lack values" in str(error) and (error.samples, error.missing) == (2, 2)

    def test_parquet_is_read_too_and_columns_that_nothing_reads_are_passed_over(self) -> None:
        content = parquet(x=[1.0, None], y=[2, 3], state=["run", "idle"], machine=["m1", "m2"], note=["a", "b"])
        drop = read(content, name="new.parquet")
        assert (drop.delivered, drop.missing, drop.dataset.images.tolist()) == (2, 1, [[1, 2]])

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("x,y,state\n1,2,run", 'column "machine" is not there'),
            (ROW + "1,2,walk,m1", '"walk" is no class of this model, known are "idle", "run"'),
            (ROW + "1,NA,run,m1", "'NA', needs a number"),
            (ROW + "1,1e9,run,m1", "may be ±16777216 at most"),
            (ROW + "1,2, run,m1", "needs a name without space"),
            (ROW, "no rows"),
            (b"\xff\xfe\x00", "not a readable table"),
        ],
    )
    def test_what_breaks_a_rule_is_refused(self, content: Any, message: str) -> None:
        assert message in str(refused(content))

    def test_the_count_of_rows_says_what_it_leaves_out(self) -> None:
        error = refused(ROW + ",2,run,m1\n1,2,walk,m1\n1,1e9,run,m1")
        assert (error.samples, error.missing) == (3, 1) and "without the 1 that lack values" in str(error)

    def test_values_to_answer(self) -> None:
        layout = RowLayout("v", ("x",), values=True)
        known = Dataset("v", np.zeros((2, 1), np.float32), np.zeros(2), (), None, None, "own", "row", ("x",))
        drop = read_delivered_table("a.csv", b"x,v\n1,2.5\n3,\n", known, layout)
        assert (drop.dataset.labels.tolist(), drop.missing) == ([2.5], 1)

    def test_another_file(self) -> None:
        assert "is not a table" in str(refused("", name="a.txt"))


class TestWindows:
    def test_one_recording_is_enough(self) -> None:
        drop = read(windows(8), WINDOWS)
        assert drop.delivered == len(drop.dataset.labels) == 3
        assert drop.dataset.columns == {"recording": ("r9",) * 3} and drop.dataset.groups == ("m9",) * 3

    def test_a_lacking_value_is_a_reason_to_refuse_all(self) -> None:
        error = refused(windows(12, row5="0.5,r9,m9,idle,,1"), WINDOWS)
        assert "row 6 lacks a value (1 rows in all)" in str(error)
        assert (error.samples, error.missing) == (3, 1)

    def test_gaps_in_time_are_refused_as_in_the_models_own_data(self) -> None:
        assert 'a step of 8.4 in "time"' in str(refused(windows(8, row7="9.0,r9,m9,idle,5,1"), WINDOWS))

    def test_a_recording_that_is_too_short(self) -> None:
        assert "a window needs 4" in str(refused(windows(3), WINDOWS))


class TestHostile:
    def test_a_parquet_file_that_unpacks_to_too_much_is_not_unpacked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(table_drop, "MOST_VALUES", 1_000_000)
        monkeypatch.setattr(table_drop, "read_table", lambda *_: pytest.fail("it was unpacked"))
        same = np.zeros(1_000_000)
        content = parquet(x=same, y=same, state=["run"] * len(same), machine=["m"] * len(same))
        assert len(content) < 100_000
        assert "holds 4000000 values, may be 1000000 at most" in str(refused(content, name="a.parquet"))

    def test_one_long_text_many_times(self) -> None:
        texts = pa.array(["x" * 5000] * 1000).dictionary_encode()
        content = parquet(x=[1.0] * 1000, y=[1.0] * 1000, state=texts, machine=["m"] * 1000)
        assert "a text of 5000 characters" in str(refused(content, name="a.parquet"))

    def test_texts_in_a_channel(self) -> None:
        content = parquet(x=["a"], y=[1.0], state=["run"], machine=["m"])
        assert 'column "x" holds string, needs numbers' in str(refused(content, name="a.parquet"))

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"])
    def test_what_is_no_parquet(self, content: bytes) -> None:
        assert "not a readable table" in str(refused(content, name="a.parquet"))
