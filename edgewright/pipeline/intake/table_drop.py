"""Reads a delivered table, CSV or Parquet, of the columns that the recipe names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.table_columns import read_table, rows_lacking_values
from edgewright.pipeline.datasets.table_file import RECORDING, SUFFIXES
from edgewright.pipeline.datasets.table_recordings import TableLayout, windows_of
from edgewright.pipeline.datasets.table_rows import RowLayout, rows_of
from edgewright.pipeline.intake.drop import Drop, RejectedError, class_positions

# As numbers in memory: runs of one value take next to nothing in a Parquet file.
MOST_VALUES = 100_000_000
_MOST_TEXT_BYTES = 1000


def read_delivered_table(name: str, content: bytes, base: Dataset, layout: RowLayout | TableLayout) -> Drop:
    """Reads a delivered file.

    Args:
        name: Its name.
        content: Its bytes.
        base: The model's own data, whose form it must have.
        layout: What is in the columns.

    Raises:
        RejectedError: It cannot be taken.
    """
    file = Path(name)
    if file.suffix.lower() not in SUFFIXES:
        raise RejectedError(f"is not a table, needs {' or '.join(SUFFIXES)}. Convert it.")
    samples, missing = 1, 0
    try:
        if file.suffix.lower() == ".parquet":
            _check_parquet(content, layout)
        table = read_table(file, layout.columns, layout.names, layout.delimiter, content)
        lacking = rows_lacking_values(table)
        samples, missing = _counted(lacking, layout)
        if lacking.all():
            raise RejectedError(f"all {len(lacking)} rows lack values. Fill them in.", samples, missing)
        if isinstance(layout, TableLayout):
            return _windows(file, table, base, layout, lacking)
        return _rows(file, table.filter(pa.array(~lacking)), base, layout, lacking)
    except RejectedError:
        raise
    except DataError as error:
        left_out = f" (rows are counted without the {missing} that lack values)" if missing else ""
        raise RejectedError(f"{error}{left_out}", samples, missing) from error


def _rows(file: Path, table: pa.Table, base: Dataset, layout: RowLayout, lacking: npt.NDArray[np.bool_]) -> Drop:
    rows = rows_of(file, table, layout)
    dataset = _dataset(file, base, rows.samples, rows.answers, rows.groups, {})
    return Drop(dataset, len(lacking), int(lacking.sum()))


def _windows(file: Path, table: pa.Table, base: Dataset, layout: TableLayout, lacking: npt.NDArray[np.bool_]) -> Drop:
    samples, missing = _counted(lacking, layout)
    if lacking.any():
        first = int(np.flatnonzero(lacking)[0]) + 1
        raise RejectedError(
            f"row {first} lacks a value ({int(lacking.sum())} rows in all): a window cannot leave a row out. Fill it in, or "
            "give what comes after it another recording's name.",
            samples,
            missing,
        )
    windows = windows_of(file, [(file, table)], layout)
    columns = {RECORDING: windows.recordings}
    dataset = _dataset(file, base, windows.samples, windows.answers, windows.groups, columns)
    return Drop(dataset, len(dataset.labels), 0)


def _dataset(
    file: Path,
    base: Dataset,
    samples: npt.NDArray[np.float32],
    answers: list[str] | npt.NDArray[np.float64],
    groups: tuple[str, ...] | None,
    columns: dict[str, tuple[str, ...]],
) -> Dataset:
    return Dataset(
        name=base.name,
        images=samples,
        labels=np.array(answers, dtype=np.float64)
        if base.has_values
        else np.array(class_positions(base, list(answers)), dtype=np.int64),
        labels_names=base.labels_names,
        fixed_split=None,
        groups=groups,
        source=str(file),
        kind=base.kind,
        channel_names=base.channel_names,
        columns=columns,
    )


def _counted(lacking: npt.NDArray[np.bool_], layout: RowLayout | TableLayout) -> tuple[int, int]:
    """How many samples a table holds, and how many of them lack values: rows, or windows one after the other."""
    if isinstance(layout, RowLayout):
        return len(lacking), int(lacking.sum())
    starts = np.arange(0, max(1, len(lacking) - layout.window_samples + 1), layout.window_samples)
    return len(starts), int(sum(lacking[start : start + layout.window_samples].any() for start in starts))


def _check_parquet(content: bytes, layout: RowLayout | TableLayout) -> None:
    """Whether a Parquet file unpacks to what it looks like, before it is unpacked."""
    try:
        with pa.parquet.ParquetFile(pa.BufferReader(content), read_dictionary=layout.names) as parquet:
            values = parquet.metadata.num_rows * max(1, parquet.metadata.num_columns)
            if values > MOST_VALUES:
                raise RejectedError(
                    f"holds {values} values, may be {MOST_VALUES} at most. Deliver it in several files.",
                    parquet.metadata.num_rows,
                )
            schema = parquet.schema_arrow
            odd = [
                field.name
                for field in schema
                if field.name not in layout.names and not _is_number(field.type) and field.name in layout.columns
            ]
            if odd:
                raise RejectedError(
                    f'column "{odd[0]}" holds {schema.field(odd[0]).type}, needs numbers. Convert it.',
                    parquet.metadata.num_rows,
                )
            for name in layout.names:
                if name in schema.names:
                    _check_texts(name, parquet.read(columns=[name]))
    except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
        raise RejectedError(f"not a readable table ({error}). Save it again as UTF-8 CSV or Parquet.") from error


def _check_texts(name: str, table: pa.Table) -> None:
    """Whether names are short: a dictionary of one long text unpacks to as many copies as there are rows."""
    for chunk in table.column(0).chunks:
        values = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
        longest = max((len(str(value)) for value in values.to_pylist()), default=0)
        if longest > _MOST_TEXT_BYTES:
            raise RejectedError(
                f'column "{name}" holds a text of {longest} characters, may have {_MOST_TEXT_BYTES} at most. Shorten it.',
                table.num_rows,
            )


def _is_number(kind: pa.DataType) -> bool:
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_timestamp, pa.types.is_boolean)
    return any(check(kind) for check in checks)
