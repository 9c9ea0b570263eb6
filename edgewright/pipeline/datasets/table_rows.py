"""Your own attributes in tables: Parquet or CSV, one file or a folder of them, every row a sample by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
    files = list_tables(path)
    tables = [read_table(file, layout.columns, layout.names, layout.delimiter) for file in files]
    read = list(zip(files, tables, strict=True))
    rows = [
        np.stack([channel_values(file, table, channel) for channel in layout.channels], axis=1) for file, table in read
    ]
    labels: npt.NDArray[Any]
    names: tuple[str, ...] = ()
    if layout.values:
        labels = np.concatenate([number_values(file, table, layout.answer) for file, table in read])
    else:
        texts = [text for file, table in read for text in text_values(file, table, layout.answer)]
        labels, names = labels_from_texts(str(path), texts)
    group = layout.group
    return Dataset(
        name=name or path.resolve().stem,
        images=np.concatenate(rows),
        labels=labels,
        labels_names=names,
        fixed_split=None,
        groups=None
        if group is None
        else tuple(text for file, table in read for text in text_values(file, table, group)),
        source=str(path),
        kind="row",
        channel_names=layout.channels,
    )
