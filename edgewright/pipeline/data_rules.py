"""The rules between the fields of a recipe's section ``data``, and between data, task and files.

``check_data`` looks at no sample and takes milliseconds. ``check_loaded`` loads and splits as a build would, so that
everything that is wrong with the data is known before anything trains.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import DataError, Problem, StageError
from edgewright.pipeline.broken_rule import show_value
from edgewright.pipeline.data_settings import (
    SHARES,
    DataSettings,
    DigitsSettings,
    EntryPointDataSettings,
    GroupedSection,
    ImageFolderSettings,
    MotionSettings,
    NpzSettings,
    PoolSection,
    SharesSection,
    ShuttleSettings,
    SolarCellsSettings,
    TableSettings,
)
from edgewright.pipeline.datasets import digits, motion, shuttle, solar_cells
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.known import known_classes, known_samples
from edgewright.pipeline.datasets.loading import normal_problem, open_source
from edgewright.pipeline.datasets.shipped import find_shipped
from edgewright.pipeline.entry_points import entry_point_sha256
from edgewright.pipeline.stages.snapshot import input_shape_of, split_dataset
from edgewright.pipeline.task_settings import AnomalySettings, RegressionSettings, TaskSettings
from edgewright.preprocessing import SampleKind

# With less left to train on there is nothing to prune and quantize.
_MOST_SHARES = 0.95
# Samples of each class are split by their digests, like coin tosses: how many deviations below its mean we call hopeless.
_DEVIATIONS = 5
_PATH_REMEDY = "Correct the path; it is relative to the folder that you start from."


@dataclass(frozen=True)
class SourceFacts:
    """What a network has to fit.

    Attributes:
        kind: What a sample is.
        input_shape: Channels, height, width of the model's input.
        outputs: How many outputs the task needs: one per class, per input value (anomalies), or one (regression).
        class_names: One per class; none where the labels are values.
        channel_names: One per channel; None where they have none.
        samples: How many there are in all.
        groups: How many groups there are; None where samples stand alone.
        columns: Names of what else is known of each sample.
    """

    kind: SampleKind
    input_shape: tuple[int, int, int]
    outputs: int
    class_names: tuple[str, ...]
    channel_names: tuple[str, ...] | None
    samples: int
    groups: int | None
    columns: tuple[str, ...]


def check_data(data: DataSettings, task: TaskSettings) -> list[Problem]:
    """Every problem that can be known without loading a sample."""
    problems = _check_shares(data) + _check_fields(data, task) + _check_task(data, task)
    missing = _check_source(data)
    return problems + missing + ([] if problems or missing else _check_calibration_split(data, task))


def check_loaded(data: DataSettings, task: TaskSettings) -> list[Problem]:
    """Loads and splits the data as a build would, in memory.

    Args:
        data: The recipe's section, without problems of its own.
        task: What is asked.

    Returns:
        The first problem that the data has, if any.
    """
    try:
        split_dataset(_loaded(data, task), data, task)
    except DataError as error:
        return [Problem("data", f"{error}")]
    return []


def kind_of(data: DataSettings) -> SampleKind:
    """What a sample is, known without loading."""
    match data:
        case NpzSettings() | EntryPointDataSettings():
            return data.kind
        case TableSettings():
            return "row" if data.window_samples is None else "window"
        case MotionSettings():
            return "window"
        case ShuttleSettings():
            return "row"
        case DigitsSettings() | ImageFolderSettings() | SolarCellsSettings():
            return "image"


def source_facts(data: DataSettings, task: TaskSettings) -> SourceFacts:
    """What a network has to fit; loads the data, once per process as long as its sources do not change.

    Raises:
        DataError: The data breaks a rule.
    """
    dataset = _loaded(data, task)
    shape = input_shape_of(dataset.kind, dataset.images.shape[1:])
    outputs = len(dataset.labels_names)
    if isinstance(task, AnomalySettings):
        outputs = math.prod(shape)
    elif isinstance(task, RegressionSettings):
        outputs = 1
    return SourceFacts(
        kind=dataset.kind,
        input_shape=shape,
        outputs=outputs,
        class_names=dataset.labels_names,
        channel_names=dataset.channel_names,
        samples=len(dataset.labels),
        groups=None if dataset.groups is None else len(set(dataset.groups)),
        columns=tuple(sorted(dataset.columns)),
    )


# The last data set that this process loaded, by its settings and its sources' digests.
_last: dict[str, Dataset] = {}


def _loaded(data: DataSettings, task: TaskSettings) -> Dataset:
    source = open_source(data, task)
    described = [data.model_dump(mode="json"), task.model_dump(mode="json"), source.sha256]
    key = json.dumps(described, sort_keys=True)
    dataset = _last.get(key)
    if dataset is None:
        dataset = source.load()
        _last.clear()
        _last[key] = dataset
    return dataset


def _check_shares(data: DataSettings) -> list[Problem]:
    if isinstance(data, GroupedSection) and data.folds is not None:
        return [
            Problem(
                f"data.{name}",
                "is not used with folds, which hold groups out instead. Remove it, or remove data.folds.",
            )
            for name in SHARES
            if name in data.model_fields_set
        ]
    named = {name: getattr(data, name) for name in SHARES if hasattr(data, name)}
    total = sum(named.values())
    if total < _MOST_SHARES:
        return []
    first, *others = [f"{'' if name == 'validation_share' else name + ' '}{share:g}" for name, share in named.items()]
    whole = "pool" if isinstance(data, PoolSection) else "data"
    message = (
        f"{first} and {' and '.join(others)} take {total:.0%} of the {whole} and leave too little to train on. "
        f"Keep their sum below {_MOST_SHARES:.0%}."
    )
    return [Problem("data.validation_share", message)]


def _check_fields(data: DataSettings, task: TaskSettings) -> list[Problem]:
    match data:
        case DigitsSettings() if data.package_folder and data.source != "full":
            return [Problem("data.package_folder", "is only used with source: full. Remove it, or set source: full.")]
        case MotionSettings():
            return _check_stride(data.window_samples, data.stride_samples)
        case ImageFolderSettings() if data.folds and not data.group_pattern:
            message = (
                "hold out groups, and without data.group_pattern every picture stands alone. Add it, or remove folds."
            )
            return [Problem("data.folds", message)]
        case TableSettings():
            return _check_table(data, task)
    return []


def _check_stride(window_samples: int, stride_samples: int | None) -> list[Problem]:
    if stride_samples is None or stride_samples <= window_samples:
        return []
    message = (
        f"{stride_samples} is above window_samples {window_samples}: it would skip part of every recording. Lower it."
    )
    return [Problem("data.stride_samples", message)]


def _check_table(data: TableSettings, task: TaskSettings) -> list[Problem]:
    problems = []
    needed, other = ("target", "label") if isinstance(task, RegressionSettings) else ("label", "target")
    if getattr(data, needed) is None:
        problems.append(Problem(f"data.{needed}", f"is missing: task.kind is {task.kind}. Name the column to answer."))
    if getattr(data, other) is not None:
        problems.append(Problem(f"data.{other}", f"is not used with task.kind: {task.kind}. Remove it."))
    places: dict[str, str] = {}
    single = {name: getattr(data, name) for name in ("label", "target", "time", "recording", "group")}
    for key, column in [*single.items(), *((f"channels[{index}]", name) for index, name in enumerate(data.channels))]:
        if column is None:
            continue
        if column in places:
            message = (
                f"{show_value(column)} is data.{places[column]} already, each column may serve one purpose. Correct it."
            )
            problems.append(Problem(f"data.{key}", message))
        places.setdefault(column, key)
    if data.window_samples is not None:
        return problems + _check_stride(data.window_samples, data.stride_samples)
    of_windows = ("stride_samples", "time", "recording")
    problems += [
        Problem(f"data.{name}", "is only used with window_samples. Remove it, or say how long a window is.")
        for name in of_windows
        if getattr(data, name) is not None
    ]
    if data.folds and not data.group:
        message = "hold out groups, and without data.group every row stands alone. Add it, or remove folds."
        problems.append(Problem("data.folds", message))
    return problems


def _check_task(data: DataSettings, task: TaskSettings) -> list[Problem]:
    """Whether the data can answer what is asked, as far as its classes are known by name."""
    if isinstance(task, RegressionSettings):
        if not isinstance(data, NpzSettings | TableSettings | EntryPointDataSettings):
            message = f'"regression" needs values, and {data.dataset} holds classes. Set task.kind: classification.'
            return [Problem("task.kind", message)]
        if data.limit_per_class is not None:
            return [Problem("data.limit_per_class", "is not used with task.kind: regression. Remove it.")]
        return []
    known = known_classes(data)
    problem = normal_problem(known, task) if known else None
    return [Problem("task.normal", problem)] if problem else []


def _check_source(data: DataSettings) -> list[Problem]:
    """Whether what the samples come from is there."""
    key = {"digits": "data.source", "entry_point": "data.entry_point"}.get(data.dataset, "data.dataset")
    try:
        _find_source(data)
    except (DataError, StageError) as error:
        return [Problem("data.path" if hasattr(data, "path") else key, f"{error}")]
    except OSError as error:
        return [
            Problem(
                "data.path" if hasattr(data, "path") else key, f"cannot be looked at: {error.strerror}. Correct it."
            )
        ]
    return []


def _find_source(data: DataSettings) -> None:
    match data:
        case DigitsSettings():
            digits.find(data.source, Path(data.package_folder) if data.package_folder else None)
        case MotionSettings():
            find_shipped(motion.NAME, motion.SHIPPED_FILE)
        case ShuttleSettings():
            find_shipped(shuttle.NAME, shuttle.SHIPPED_FILE)
        case SolarCellsSettings():
            solar_cells.check_installed()
        case EntryPointDataSettings():
            entry_point_sha256(data.entry_point)
        case ImageFolderSettings() if not Path(data.path).is_dir():
            raise DataError(f"{show_value(data.path)} is no folder here, needs one. {_PATH_REMEDY}")
        case NpzSettings() if not Path(data.path).is_file():
            raise DataError(f"{show_value(data.path)} is no file here, needs an npz. {_PATH_REMEDY}")
        case TableSettings() if not Path(data.path).exists():
            raise DataError(f"{show_value(data.path)} is not there. {_PATH_REMEDY}")


def _check_calibration_split(data: DataSettings, task: TaskSettings) -> list[Problem]:
    """Whether the calibration split can hold the samples asked for, where the number of samples is known."""
    per_class = known_samples(data)
    if per_class is None or not isinstance(data, PoolSection | SharesSection):
        return []
    counted = "samples"
    if isinstance(task, AnomalySettings):  # only normal samples calibrate
        per_class, counted = {task.normal: per_class[task.normal]}, "normal samples"
    pool = sum(per_class.values())
    expected = pool * data.calibration_share
    if data.calibration_samples <= expected + _DEVIATIONS * math.sqrt(expected):
        return []
    message = (
        f"{data.calibration_samples} are more than the about {expected:.0f} {counted} of the calibration split "
        f"({data.calibration_share:.1%} of {pool}). Lower it, or raise data.calibration_share"
        f"{' or data.limit_per_class' if data.limit_per_class else ''}."
    )
    return [Problem("data.calibration_samples", message)]
