"""Your own attributes in tables: Parquet or CSV, one file or a folder of them, every row a sample by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]

from edgewright.errors import DataError
from edgewright.pipeline.datasets.arrays import labels_from_texts
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.table_columns import channel_values, number_values, read_table, text_values
from edgewright.pipeline.datasets.table_file import list_tables


@dataclass(frozen=True)
class RowLayout:
    """Which column is what.

    Attributes:
        answer: Column of the class: texts, integers or booleans; with ``values`` of the number to answer.
        channels: Columns of the attributes, numbers; their order is the order of the model's channels.
        group: Column of what must stay in one split (machine, day); None: rows stand alone.
        delimiter: Between the columns of a CSV file.
        values: Whether ``answer`` holds values, not classes.

    Raises:
        DataError: No channels, or a column named twice.
    """

    answer: str
    channels: tuple[str, ...]
    group: str | None = None
    delimiter: str = ","
    values: bool = False

    def __post_init__(self) -> None:
        """Check the names."""
        if not self.channels:
            raise DataError("table layout: channels is empty, needs at least one column. Name the attributes.")
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise DataError(f"table layout: {twice} serve two purposes, each column may serve one. Correct the names.")

    @property
    def columns(self) -> list[str]:
        """Every column that is read."""
        return [self.answer, *([self.group] if self.group else []), *self.channels]

    @property
    def names(self) -> list[str]:
        """The columns that name something."""
        return [name for name in (None if self.values else self.answer, self.group) if name]


@dataclass(frozen=True, eq=False)
class Rows:
    """What one table holds.

    Attributes:
        samples: float32 ``[N, F]``.
        answers: N texts, or float64 ``[N]``.
        groups: One per row; None where rows stand alone.
    """

    samples: npt.NDArray[np.float32]
    answers: list[str] | npt.NDArray[np.float64]
    groups: tuple[str, ...] | None


def rows_of(file: Path, table: pa.Table, layout: RowLayout) -> Rows:
    """Give a table's rows.

    Args:
        file: Where it was read from, for errors.
        table: What ``read_table`` read.
        layout: What is in the columns.

    Raises:
        DataError: A column is of the wrong type, or a value is absent, not finite or huge.
    """
    return Rows(
        np.stack([channel_values(file, table, channel) for channel in layout.channels], axis=1),
        (number_values if layout.values else text_values)(file, table, layout.answer),
        None if layout.group is None else tuple(text_values(file, table, layout.group)),
    )


def load(path: Path, layout: RowLayout, name: str | None = None) -> Dataset:
    """Load one table or a folder of tables.

    Args:
        path: A ``.csv`` (UTF-8, with a header) or ``.parquet`` file, or a folder that holds such files and nothing else.
        layout: What is in the columns.
        name: What the data set is called; None takes the file's or folder's name.

    Returns:
        Rows float32 ``[N, F]`` in the order of the files; classes are the labels, sorted, or none where these are values.

    Raises:
        DataError: A file is odd or unreadable, a column is missing or of the wrong type, or a value is absent, not finite
            or huge. The message names file, column and row.
    """
    parts = [
        rows_of(file, read_table(file, layout.columns, layout.names, layout.delimiter), layout)
        for file in list_tables(path)
    ]
    labels: npt.NDArray[Any]
    names: tuple[str, ...] = ()
    if layout.values:
        labels = np.concatenate([part.answers for part in parts])
    else:
        labels, names = labels_from_texts(str(path), [text for part in parts for text in part.answers])
    return Dataset(
        name=name or path.resolve().stem,
        images=np.concatenate([part.samples for part in parts]),
        labels=labels,
        labels_names=names,
        fixed_split=None,
        groups=None if layout.group is None else tuple(group for part in parts for group in part.groups or ()),
        source=str(path),
        kind="row",
        channel_names=layout.channels,
    )
