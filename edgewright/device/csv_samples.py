"""Numbers from a CSV file, a few lines at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import DataError

_LINE_MAX_BYTES = 1 << 20  # 40,000 numbers: no line of a sensor's file is longer


def read_csv(path: Path, columns: int, block_lines: int) -> Iterator[NDArray[np.float64]]:
    """Yield the numbers of a file in blocks of lines: float64 ``[L, columns]``.

    Commas between the columns, points in the numbers. A first line without any number is a header and passed over;
    empty lines are too.

    Args:
        path: The file, UTF-8.
        columns: How many numbers stand in each line.
        block_lines: Lines per block; the last block may have fewer, and there is at least one block.

    Raises:
        DataError: A line has other than so many columns, or a cell is no number; or there is no line of numbers.
        OSError: The file cannot be read.
    """
    block: list[list[float]] = []
    found = False
    with path.open("rb") as stream:
        for number, cells in _lines(path, stream):
            if not found and number == 1 and not any(_is_number(cell) for cell in cells):
                continue
            found = True
            block.append(_numbers(path, number, cells, columns))
            if len(block) == block_lines:
                yield np.array(block, np.float64)
                block = []
    if not found:
        raise DataError(f"{path} holds no line of numbers.")
    if block:
        yield np.array(block, np.float64)


def _lines(path: Path, stream: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    number = 0
    while line := stream.readline(_LINE_MAX_BYTES + 1):
        number += 1
        if len(line) > _LINE_MAX_BYTES:
            raise DataError(f"{path}: line {number} is longer than {_LINE_MAX_BYTES} bytes: this is no CSV of samples.")
        text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="replace").strip()
        if text:
            yield number, [cell.strip().strip('"') for cell in text.split(",")]


def _numbers(path: Path, number: int, cells: list[str], columns: int) -> list[float]:
    if len(cells) != columns:
        hint = " Separate them by commas." if len(cells) == 1 else ""
        raise DataError(f"{path}: line {number} must have {columns} columns, found {len(cells)}.{hint}")
    for place, cell in enumerate(cells):
        if not _is_number(cell):
            raise DataError(f"{path}: line {number}, column {place + 1}: {cell[:40]!r} is no number.")
    return [float(cell) for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python's own 1_000, which nothing else reads as a number
