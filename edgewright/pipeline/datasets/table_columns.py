"""Read the columns of one table strictly: what is absent, not a number, or not finite is named by file, column and row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]

from edgewright.errors import DataError
from edgewright.pipeline.datasets.dataset_checks import LARGEST_VALUE

_SHOWN_COLUMNS = 20


def read_table(
    file: Path, columns: list[str], texts: list[str], delimiter: str, content: bytes | None = None
) -> pa.Table:
    """Read some columns of a Parquet or CSV file.

    Args:
        file: ``.parquet``, or ``.csv`` in UTF-8 with a header.
        columns: Which ones.
        texts: Those of them that name something: a CSV file's ``007`` must not become 7.
        delimiter: Between the columns of a CSV file.
        content: The file's bytes where they were read already.

    Raises:
        DataError: The file is unreadable or empty, or a column is missing or there twice.
    """
    source = file if content is None else pa.BufferReader(content)
    try:
        if file.suffix.lower() == ".parquet":
            table, names = _read_parquet(source, columns)
        else:
            table = _read_csv(source, texts, delimiter)
            names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not a readable table ({error}). Save it again as UTF-8 CSV or Parquet.") from error
    for column in columns:
        if names.count(column) != 1:
            what = "is there twice" if column in names else "is not there"
            shown = ", ".join(names[:_SHOWN_COLUMNS])
            raise DataError(
                f'{file}: column "{column}" {what}; the file has: {shown}. Correct the name or the delimiter.'
            )
    if table.num_rows == 0:
        raise DataError(f"{file}: the table has no rows, needs at least one window of them. Remove the file.")
    return table.select(columns)


def rows_lacking_values(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows lack a value: an absent one, a number that is not finite, an empty name.

    Returns:
        bool ``[L]``.
    """
    lacking = np.zeros(table.num_rows, dtype=np.bool_)
    for column in table.columns:
        lacking |= column.is_null().to_numpy(zero_copy_only=False) if column.null_count else False
        if pa.types.is_floating(column.type):
            lacking |= ~np.isfinite(column.to_numpy().astype(np.float64))
        elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            lacking |= np.array([text == "" for text in column.to_pylist()], dtype=np.bool_)
    return lacking


def channel_values(file: Path, table: pa.Table, column: str) -> npt.NDArray[np.float32]:
    """Read a sensor channel.

    Returns:
        float32 ``[L]``, finite and within ``LARGEST_VALUE``.

    Raises:
        DataError: A value is absent, not a number, not finite or huge.
    """
    return number_values(file, table, column).astype(np.float32)


def number_values(file: Path, table: pa.Table, column: str) -> npt.NDArray[np.float64]:
    """Read a column of numbers.

    Returns:
        float64 ``[L]``, finite and within ``LARGEST_VALUE``.

    Raises:
        DataError: A value is absent, not a number, not finite or huge.
    """
    values = _numbers(file, table, column).astype(np.float64)
    _refuse(file, column, values, ~np.isfinite(values), "needs a finite number. Repair or drop the rows.")
    remedy = f"may be ±{LARGEST_VALUE:.0f} at most: a fill value, a clock or a wrong unit. Correct it or drop the rows."
    _refuse(file, column, values, np.abs(values) > LARGEST_VALUE, remedy)
    return values


def time_values(file: Path, table: pa.Table, column: str) -> npt.NDArray[np.float64]:
    """Read time.

    Returns:
        float64 ``[L]``: numbers as they are; time stamps as seconds since the column's first one.

    Raises:
        DataError: A value is absent, not finite, or neither a number nor a time stamp.
    """
    kind = table.schema.field(column).type
    if not pa.types.is_timestamp(kind):
        values = _numbers(file, table, column).astype(np.float64)
        _refuse(file, column, values, ~np.isfinite(values), "needs a finite number. Repair or drop the rows.")
        return values
    _refuse_absent(file, table, column)
    try:
        ticks = table.column(column).cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise DataError(
            f'{file}: column "{column}" holds a time that nanoseconds cannot count: it must lie between 1678 and 2261. '
            "Correct it or drop the rows."
        ) from error
    seconds: npt.NDArray[np.float64] = (ticks - ticks[0]) / 1e9
    return seconds


def text_values(file: Path, table: pa.Table, column: str) -> list[str]:
    """Read labels, recordings or groups.

    Returns:
        L texts; integers as decimal digits, booleans as ``false`` and ``true``.

    Raises:
        DataError: A value is absent, empty or has space around it, or the column holds something else.
    """
    _refuse_absent(file, table, column)
    kind = table.schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    allowed = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean)
    if not any(allows(kind) for allows in allowed):
        raise DataError(
            f'{file}: column "{column}" holds {kind}, needs texts, integers or booleans: what names a class or a recording '
            "must be exact. Write it as text."
        )
    try:
        texts: list[str] = table.column(column).cast(kind).cast(pa.string()).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f'{file}: column "{column}" is not UTF-8 text ({error}). Save it again as UTF-8.') from error
    for row, text in enumerate(texts, start=1):
        if not text or text != text.strip():
            raise DataError(
                f'{file}, row {row}: "{column}" is {text!r}, needs a name without space around it. Strip it.'
            )
    return texts


def _read_parquet(source: Path | pa.BufferReader, columns: list[str]) -> tuple[pa.Table, list[str]]:
    """The columns that are there once, and the names of all."""
    with pa.parquet.ParquetFile(source) as parquet:
        names = parquet.schema_arrow.names
        return parquet.read(columns=[name for name in columns if names.count(name) == 1]), names


def _read_csv(source: Path | pa.BufferReader, texts: list[str], delimiter: str) -> pa.Table:
    # An empty cell is absent, whatever the column's type; "NA" and the like stay texts and are refused as such.
    convert = pa.csv.ConvertOptions(
        null_values=[""], strings_can_be_null=True, column_types=dict.fromkeys(texts, pa.string())
    )
    return pa.csv.read_csv(source, parse_options=pa.csv.ParseOptions(delimiter=delimiter), convert_options=convert)


def _numbers(file: Path, table: pa.Table, column: str) -> npt.NDArray[Any]:
    _refuse_absent(file, table, column)
    kind = table.schema.field(column).type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers: npt.NDArray[Any] = table.column(column).to_numpy()
        return numbers
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        for row, text in enumerate(table.column(column).to_pylist(), start=1):
            if not _is_number(text):
                raise DataError(f'{file}, row {row}: "{column}" is {text!r}, needs a number. Repair or drop the rows.')
    raise DataError(f'{file}: column "{column}" holds {kind}, needs numbers. Convert the column.')


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse_absent(file: Path, table: pa.Table, column: str) -> None:
    if table.column(column).null_count:
        rows = np.flatnonzero(table.column(column).is_null().to_numpy())
        raise DataError(
            f'{file}, row {rows[0] + 1}: "{column}" is absent ({len(rows)} rows in all), every row needs a value. '
            "Fill it in or drop the rows."
        )


def _refuse(file: Path, column: str, values: npt.NDArray[np.float64], bad: npt.NDArray[np.bool_], remedy: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        count = f" ({len(rows)} rows in all)" if len(rows) > 1 else ""
        raise DataError(f'{file}, row {rows[0] + 1}: "{column}" is {values[rows[0]]:.6g}{count}, {remedy}')
