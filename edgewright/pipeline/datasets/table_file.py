"""Your own sensor channels in tables: Parquet or CSV, one file or a folder of them, cut into windows.

Windows of one recording stay in one split, always: they overlap, or at least follow each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright.errors import DataError
from edgewright.pipeline.datasets.arrays import labels_from_texts
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.shipped import file_sha256
from edgewright.pipeline.datasets.table_columns import read_table
from edgewright.pipeline.datasets.table_recordings import TableLayout, windows_of

SUFFIXES = (".csv", ".parquet")
RECORDING = "recording"  # the column that says which recording a window is from


def load(path: Path, layout: TableLayout, name: str | None = None) -> Dataset:
    """Load one table or a folder of tables.

    Args:
        path: A ``.csv`` (UTF-8, with a header) or ``.parquet`` file, or a folder that holds such files and nothing else.
        layout: What is in the columns.
        name: What the data set is called; None takes the file's or folder's name.

    Returns:
        Windows float32 ``[N, T, C]``; classes are the labels, sorted, or none where these are values. Groups are
        ``layout.group`` or else the recordings; column ``recording`` says which recording a window is from.

    Raises:
        DataError: A file is odd or unreadable, a column is missing or of the wrong type, a value is absent, not finite
            or huge; time does not grow or has a gap; a recording lies in two files, in two pieces or in two groups, or
            is too short for a window; or there is one group only. The message names file, column and row.
    """
    tables = list_tables(path)
    read = ((file, read_table(file, layout.columns, layout.names, layout.delimiter)) for file in tables)
    windows = windows_of(path, read, layout)
    if len(set(windows.groups)) < 2:
        raise DataError(
            f'{path}: all windows belong to "{windows.groups[0]}", and what belongs together stays in one split. Name the '
            "column that tells recordings or groups apart, or give a file per recording."
        )
    labels: npt.NDArray[Any]
    names: tuple[str, ...] = ()
    if layout.values:
        labels = np.array(windows.answers, dtype=np.float64)
    else:
        labels, names = labels_from_texts(str(path), windows.answers)
    return Dataset(
        name=name or path.resolve().stem,
        images=windows.samples,
        labels=labels,
        labels_names=names,
        fixed_split=None,
        groups=windows.groups,
        source=str(path),
        kind="window",
        channel_names=layout.channels,
        columns={RECORDING: windows.recordings},
    )


def source_sha256(path: Path) -> dict[str, str]:
    """Digest the files that ``load`` would read, without decoding them.

    Returns:
        sha256 (hex) by file name.

    Raises:
        DataError: The path is absent, or a file is not a table.
    """
    return {file.name: file_sha256(file) for file in list_tables(path)}


def list_tables(path: Path) -> list[Path]:
    """The files of a path, sorted.

    Raises:
        DataError: The path is absent, or a file is not a table.
    """
    files = sorted(path.iterdir(), key=lambda file: file.name) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: the folder is empty, needs {' or '.join(SUFFIXES)} files. Correct the path.")
    for file in files:
        if not file.is_file() or file.suffix.lower() not in SUFFIXES:
            what = "is not a table" if file.exists() else "is not there"
            raise DataError(f"{file}: {what}, needs {' or '.join(SUFFIXES)}. Move it elsewhere or correct the path.")
    return files
