"""Recordings in tables, cut into windows: what the columns mean, and where a window may lie.

A window never crosses from one recording to the next, from one label to the next, or over a gap in time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]

from edgewright.errors import DataError
from edgewright.pipeline.datasets.arrays import check_class_names
from edgewright.pipeline.datasets.table_columns import channel_values, number_values, text_values, time_values
from edgewright.pipeline.datasets.windows import check_window, cut_windows


@dataclass(frozen=True)
class TableLayout:
    """Which column is what, and how windows are cut.

    Attributes:
        answer: Column of the class: texts, integers or booleans, one per row; with ``values`` of the number to answer.
        channels: Columns of the sensor channels, numbers; their order is the order of the model's channels.
        window_samples: Length of a window, in rows.
        stride_samples: From one window's start to the next one's, in rows; at most ``window_samples``.
        time: Column of time, numbers or time stamps, which must grow within a recording; None: rows are in order and
            without gaps, which nothing then checks.
        recording: Column that tells recordings apart; None: every file is one recording.
        group: Column of what must stay in one split (person, machine), the same throughout a recording; None: the
            recording itself.
        largest_step_x: Where ``time`` is given: the longest step from row to row, as a multiple of the recording's
            median step; a longer one is a gap.
        delimiter: Between the columns of a CSV file.
        values: Whether ``answer`` holds values, not classes. A window's value is that of its last row: what is to be
            known when the window is complete.

    Raises:
        DataError: No channels, a column named twice, or a window or stride out of bounds.
    """

    answer: str
    channels: tuple[str, ...]
    window_samples: int
    stride_samples: int
    time: str | None = None
    recording: str | None = None
    group: str | None = None
    largest_step_x: float = 1.5
    delimiter: str = ","
    values: bool = False

    def __post_init__(self) -> None:
        """Check names and bounds."""
        if not self.channels:
            raise DataError("table layout: channels is empty, needs at least one column. Name the sensor channels.")
        names = self.columns
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"table layout: {twice} serve two purposes, each column may serve one. Correct the names.")
        check_window("table layout", self.window_samples, self.stride_samples)
        if not self.largest_step_x >= 1:
            raise DataError(f"table layout: largest_step_x is {self.largest_step_x}, needs at least 1. Raise it.")

    @property
    def columns(self) -> list[str]:
        """Every column that is read."""
        numbers = (self.time, self.answer if self.values else None)
        return [*self.names, *(name for name in numbers if name), *self.channels]

    @property
    def names(self) -> list[str]:
        """The columns that name something."""
        return [name for name in (None if self.values else self.answer, self.recording, self.group) if name]


@dataclass(frozen=True, eq=False)
class _Recording:
    """One recording's rows.

    Attributes:
        where: File and, if there is a column of them, name of the recording.
        first_row: Its first row in the file, counted from 1.
    """

    name: str
    where: str
    first_row: int
    series: npt.NDArray[np.float32]
    answers: list[str] | npt.NDArray[np.float64]
    groups: list[str] | None
    time: npt.NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class Windows:
    """What some tables hold, cut into windows.

    Attributes:
        samples: float32 ``[N, T, C]``.
        answers: N class names or values.
        groups: The group of each.
        recordings: The recording of each.
    """

    samples: npt.NDArray[np.float32]
    answers: list[Any]
    groups: tuple[str, ...]
    recordings: tuple[str, ...]


def windows_of(path: Path, tables: Iterable[tuple[Path, pa.Table]], layout: TableLayout) -> Windows:
    """Cut the recordings of some tables into windows.

    Args:
        path: Where the tables lie, for errors.
        tables: Each with the file that it was read from.
        layout: What is in the columns.

    Raises:
        DataError: As ``load`` for what the tables hold.
    """
    recordings = [recording for file, table in tables for recording in _recordings(file, table, layout)]
    _check_once(recordings)
    parts = [(recording, *_cut(recording, layout)) for recording in recordings]
    answers = [answer for _, _, answers in parts for answer in answers]
    groups = tuple(group for recording, windows, _ in parts for group in [_group_of(recording)] * len(windows))
    if not layout.values:
        _check_labels(path, recordings, set(answers), layout)
    return Windows(
        samples=np.concatenate([windows for _, windows, _ in parts]),
        answers=answers,
        groups=groups,
        recordings=tuple(recording.name for recording, windows, _ in parts for _ in windows),
    )


def _recordings(file: Path, table: pa.Table, layout: TableLayout) -> Iterator[_Recording]:
    """Give a file's recordings in its order."""
    series = np.stack([channel_values(file, table, channel) for channel in layout.channels], axis=1)
    answers: list[str] | npt.NDArray[np.float64]
    answers = (number_values if layout.values else text_values)(file, table, layout.answer)
    groups = text_values(file, table, layout.group) if layout.group else None
    time = time_values(file, table, layout.time) if layout.time else None
    for name, start, end in _pieces(file, table, layout):
        where = f'{file}, recording "{name}"' if layout.recording else str(file)
        recording = _Recording(
            name=name,
            where=where,
            first_row=start + 1,
            series=series[start:end],
            answers=answers[start:end],
            groups=None if groups is None else groups[start:end],
            time=None if time is None else time[start:end],
        )
        _check_time(recording, layout)
        yield recording


def _pieces(file: Path, table: pa.Table, layout: TableLayout) -> Iterator[tuple[str, int, int]]:
    if layout.recording is None:
        yield file.stem, 0, table.num_rows
        return
    yield from _runs(text_values(file, table, layout.recording))


def _runs(texts: Sequence[Any] | npt.NDArray[Any]) -> Iterator[tuple[str, int, int]]:
    """Give each stretch of equal texts: the text, its start, its end."""
    bounds = [0, *(index for index in range(1, len(texts)) if texts[index] != texts[index - 1]), len(texts)]
    for start, end in itertools.pairwise(bounds):
        yield texts[start], start, end


def _check_time(recording: _Recording, layout: TableLayout) -> None:
    if recording.time is None or len(recording.time) < 2:
        return
    steps = np.diff(recording.time)
    median = float(np.median(steps))
    backwards = np.flatnonzero(steps <= 0)
    if len(backwards):
        row = recording.first_row + int(backwards[0]) + 1
        raise DataError(
            f'{recording.where}, row {row}: "{layout.time}" does not grow ({recording.time[backwards[0]]:.15g}, then '
            f"{recording.time[backwards[0] + 1]:.15g}). Sort the rows by time and drop those that are there twice."
        )
    gaps = np.flatnonzero(steps > layout.largest_step_x * median)
    if len(gaps):
        row = recording.first_row + int(gaps[0]) + 1
        raise DataError(
            f'{recording.where}, row {row}: a step of {steps[gaps[0]]:.6g} in "{layout.time}", may be '
            f"{layout.largest_step_x:g} x the median step {median:.6g} at most ({len(gaps)} such gaps). Give what comes "
            "after a gap another recording's name, fill it, or raise largest_step_x."
        )


def _check_once(recordings: list[_Recording]) -> None:
    """Refuse a recording in two pieces: its windows would be cut as if its rows followed each other, or counted twice."""
    first: dict[str, _Recording] = {}
    for recording in recordings:
        other = first.setdefault(recording.name, recording)
        if other is not recording:
            raise DataError(
                f'recording "{recording.name}" starts in {other.where}, row {other.first_row}, and again in '
                f"{recording.where}, row {recording.first_row}. Put its rows together, or tell two recordings apart."
            )


def _check_labels(path: Path, recordings: list[_Recording], in_windows: set[str], layout: TableLayout) -> None:
    """Refuse a class that the windows leave out: it would vanish without a word."""
    check_class_names(str(path), sorted({label for recording in recordings for label in recording.answers}))
    for recording in recordings:
        for label, start, end in _runs(recording.answers):
            if label not in in_windows:
                raise DataError(
                    f'{recording.where}, row {recording.first_row + start}: "{layout.answer}" is "{label}" for {end - start} '
                    f"rows, and nowhere for the {layout.window_samples} of a window. Shorten the window, correct the label "
                    "or drop the rows."
                )


def _cut(recording: _Recording, layout: TableLayout) -> tuple[npt.NDArray[np.float32], list[Any]]:
    """Cut one recording into windows: of one label each, or each with the value of its last row."""
    length, stride = layout.window_samples, layout.stride_samples
    if layout.values:
        windows = [cut_windows(recording.series, length, stride)]
        answers = list(recording.answers[length - 1 :: stride])
        longest = len(recording.series)
    else:
        runs = list(_runs(recording.answers))
        windows = [cut_windows(recording.series[start:end], length, stride) for _, start, end in runs]
        answers = [label for (label, _, _), cut in zip(runs, windows, strict=True) for _ in cut]
        longest = max(end - start for _, start, end in runs)
    if not answers:
        raise DataError(
            f"{recording.where}: {longest} rows{'' if layout.values else ' of one label'} at most, a window needs {length}. "
            "Shorten the window or drop the recording."
        )
    return np.concatenate(windows), answers


def _group_of(recording: _Recording) -> str:
    if recording.groups is None:
        return recording.name
    for index, group in enumerate(recording.groups):
        if group != recording.groups[0]:
            raise DataError(
                f'{recording.where}, row {recording.first_row + index}: group "{group}", but the recording started in '
                f'"{recording.groups[0]}": one recording must have one group. Correct it, or tell two recordings apart.'
            )
    return recording.groups[0]
