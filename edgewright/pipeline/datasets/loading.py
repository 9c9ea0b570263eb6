"""Loads whatever the recipe's section ``data`` names, as the task asks for it.

Every loader is imported where it is used: nobody waits for a table reader to load pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.errors import DataError
from edgewright.pipeline.data_settings import (
    DataSettings,
    DigitsSettings,
    EntryPointDataSettings,
    ImageFolderSettings,
    MotionSettings,
    NpzSettings,
    ShuttleSettings,
    SolarCellsSettings,
    TableSettings,
)
from edgewright.pipeline.datasets.dataset import Dataset, content_sha256, take_subset
from edgewright.pipeline.task_settings import AnomalySettings, RegressionSettings, TaskSettings

if TYPE_CHECKING:
    from edgewright.pipeline.datasets.table_recordings import TableLayout
    from edgewright.pipeline.datasets.table_rows import RowLayout


@dataclass(frozen=True)
class Source:
    """What a recipe's samples come from, opened.

    Attributes:
        sha256: Digests (hex) of what ``load`` reads, by file or by entry point.
        load: Loads the samples, see :func:`load_dataset`.
    """

    sha256: dict[str, str]
    load: Callable[[], Dataset]


def open_source(data: DataSettings, task: TaskSettings) -> Source:
    """Digest what a recipe's samples come from; nothing is decoded yet where they lie in files.

    A function of your own is run: no file says what it would return. It is not run again to load.

    Raises:
        DataError: The data is absent; of a function of your own, as ``load_dataset``.
    """
    if isinstance(data, EntryPointDataSettings):
        dataset = load_dataset(data, task)
        return Source({data.entry_point: content_sha256(dataset)}, lambda: dataset)
    with _readable(data):
        sha256 = _files_sha256(data)
    return Source(sha256, lambda: load_dataset(data, task))


def source_sha256(data: DataSettings, task: TaskSettings) -> dict[str, str]:
    """Digest what ``load_dataset`` would read: sha256 (hex) by file, or by entry point; raises as ``open_source``."""
    return open_source(data, task).sha256


def load_dataset(data: DataSettings, task: TaskSettings) -> Dataset:
    """Load the samples that a recipe names.

    Args:
        data: The recipe's section.
        task: What is asked of them: a regression needs values, all others classes.

    Returns:
        All samples, or at most ``limit_per_class`` of each class; split by nobody yet, unless the publisher did.

    Raises:
        DataError: The data is absent, breaks a rule, holds values where classes are needed or the other way round, or
            lacks the class that the task calls normal.
    """
    with _readable(data):
        dataset = _load(data, isinstance(task, RegressionSettings))
    if dataset.has_values != isinstance(task, RegressionSettings):
        raise DataError(
            f"{dataset.name} ({dataset.source}): holds classes, a regression needs values. Set task.kind: classification."
        )
    problem = normal_problem(dataset.labels_names, task)
    if problem:
        raise DataError(f"{dataset.name} ({dataset.source}): task.normal {problem}")
    return dataset if data.limit_per_class is None else take_subset(dataset, data.limit_per_class)


def normal_problem(labels_names: tuple[str, ...], task: TaskSettings) -> str | None:
    """What is wrong with the class that the task calls normal; None where nothing is, or where it names none."""
    if not isinstance(task, AnomalySettings) or task.normal in labels_names:
        return None
    known = ", ".join(f'"{name}"' for name in labels_names)
    return f'"{task.normal}" is not a class of the data, known are {known}. Correct the name.'


@contextmanager
def _readable(data: DataSettings) -> Iterator[None]:
    """A file that may not be read, or went away, is the data's fault; nothing else opens files here."""
    try:
        yield
    except OSError as error:
        where = error.filename or data.dataset
        raise DataError(
            f"{where}: cannot be read ({error.strerror or error}). Correct its place or its permissions."
        ) from error


def _files_sha256(
    data: DigitsSettings
    | MotionSettings
    | ShuttleSettings
    | ImageFolderSettings
    | NpzSettings
    | TableSettings
    | SolarCellsSettings,
) -> dict[str, str]:
    match data:
        case DigitsSettings():
            from edgewright.pipeline.datasets import digits

            return digits.source_sha256(data.source, Path(data.package_folder) if data.package_folder else None)
        case MotionSettings():
            from edgewright.pipeline.datasets import motion

            return motion.source_sha256()
        case ShuttleSettings():
            from edgewright.pipeline.datasets import shuttle

            return shuttle.source_sha256()
        case ImageFolderSettings():
            from edgewright.pipeline.datasets import image_folder

            return image_folder.source_sha256(Path(data.path))
        case NpzSettings():
            from edgewright.pipeline.datasets import npz_file

            return npz_file.source_sha256(Path(data.path))
        case TableSettings():
            from edgewright.pipeline.datasets import table_file

            return table_file.source_sha256(Path(data.path))
        case SolarCellsSettings():
            from edgewright.pipeline.datasets import solar_cells

            return solar_cells.source_sha256()


def _load(data: DataSettings, values: bool) -> Dataset:
    match data:
        case DigitsSettings():
            from edgewright.pipeline.datasets import digits

            return digits.load(data.source, Path(data.package_folder) if data.package_folder else None)
        case MotionSettings():
            from edgewright.pipeline.datasets import motion

            return motion.load(data.window_samples, data.stride_samples)
        case ShuttleSettings():
            from edgewright.pipeline.datasets import shuttle

            return shuttle.load()
        case ImageFolderSettings():
            from edgewright.pipeline.datasets import image_folder

            size_px = (data.size_px[0], data.size_px[1]) if data.size_px else None
            return image_folder.load(Path(data.path), data.mode, size_px, data.group_pattern)
        case NpzSettings():
            return _load_npz(data, values)
        case TableSettings():
            return _load_table(data, values)
        case EntryPointDataSettings():
            return _load_entry_point(data, values)
        case SolarCellsSettings():
            from edgewright.pipeline.datasets import solar_cells

            return solar_cells.load(data.size_px)


def _load_npz(data: NpzSettings, values: bool) -> Dataset:
    from edgewright.pipeline.datasets import npz_file

    return npz_file.load(
        Path(data.path),
        data.kind,
        labels_names=tuple(data.labels_names) if data.labels_names else None,
        channel_names=tuple(data.channel_names) if data.channel_names else None,
        values=values,
    )


def _load_entry_point(data: EntryPointDataSettings, values: bool) -> Dataset:
    from edgewright.pipeline.datasets import entry_point

    dataset = entry_point.load(data.entry_point, data.arguments, data.kind, values=values)
    if dataset.kind != data.kind:  # what was checked before loading went by the recipe's word
        raise DataError(
            f'{data.entry_point}: the function returned a Dataset of {dataset.kind}s, data.kind is "{data.kind}". '
            f"Set data.kind: {dataset.kind}."
        )
    return dataset


def _load_table(data: TableSettings, values: bool) -> Dataset:
    from edgewright.pipeline.datasets import table_file, table_rows

    layout = table_layout(data, values)
    if isinstance(layout, table_rows.RowLayout):
        return table_rows.load(Path(data.path), layout)
    return table_file.load(Path(data.path), layout)


def table_layout(data: TableSettings, values: bool) -> RowLayout | TableLayout:
    """What is in the columns of a recipe's tables.

    Raises:
        DataError: The column of the answers is not named.
    """
    from edgewright.pipeline.datasets.table_recordings import TableLayout
    from edgewright.pipeline.datasets.table_rows import RowLayout

    answer = data.target if values else data.label
    if answer is None:
        raise DataError(f"{data.path}: {'target' if values else 'label'} is missing. Name the column of the answers.")
    if data.window_samples is None:
        return RowLayout(answer, tuple(data.channels), data.group, data.delimiter, values)
    return TableLayout(
        answer,
        tuple(data.channels),
        data.window_samples,
        data.stride_samples or data.window_samples,
        data.time,
        data.recording,
        data.group,
        data.largest_step_x,
        data.delimiter,
        values,
    )
