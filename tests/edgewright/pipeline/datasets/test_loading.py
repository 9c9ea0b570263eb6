"""Whatever a recipe names is loaded as its task asks for it; what is poisoned is refused by name, from every source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from edgewright.errors import DataError
from edgewright.pipeline.data_settings import DataSettings
from edgewright.pipeline.datasets.loading import load_dataset, open_source, source_sha256
from edgewright.pipeline.stages.snapshot import split_dataset
from edgewright.pipeline.task_settings import AnomalySettings, ClassificationSettings, RegressionSettings, TaskSettings

CLASSES = ClassificationSettings(kind="classification")
FAULTS = AnomalySettings(kind="anomaly", normal="fine")
VALUES = RegressionSettings(kind="regression")
SETTINGS: TypeAdapter[DataSettings] = TypeAdapter(DataSettings)
ROW_SOURCES = ("npz", "table", "entry_point")
SPLIT = {"calibration_share": 0.2, "validation_share": 0.2, "test_share": 0.4, "calibration_samples": 64}


def parse(section: dict[str, Any], **more: Any) -> DataSettings:
    return SETTINGS.validate_python({**section, **more})


def build(section: dict[str, Any], task: TaskSettings = CLASSES, **more: Any) -> Any:
    """Load and split as a build does."""
    data = parse(section, **{**SPLIT, **more})
    return split_dataset(load_dataset(data, task), data, task)


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_the_same_rows_from_every_source(own_data: Any, source: str) -> None:
    arrays = own_data.arrays()
    dataset = load_dataset(parse(own_data.write(source, arrays)), CLASSES)
    assert np.array_equal(dataset.images, arrays["x"])
    assert [dataset.labels_names[label] for label in dataset.labels] == arrays["y"].tolist()
    assert dataset.groups == tuple(arrays["group"].tolist())
    assert (dataset.kind, dataset.has_values) == ("row", False)


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_values_to_answer_from_every_source(own_data: Any, source: str) -> None:
    arrays = own_data.arrays(values=True)
    dataset = load_dataset(parse(own_data.write(source, arrays)), VALUES)
    assert dataset.labels.dtype == np.float64
    assert np.array_equal(dataset.labels, arrays["y"])
    assert dataset.has_values and dataset.labels_names == ()


@pytest.mark.parametrize("source", ["npz", "entry_point"])
def test_whole_numbers_may_be_values(own_data: Any, source: str) -> None:
    arrays = own_data.arrays()
    arrays["y"] = np.arange(len(arrays["y"]))
    assert load_dataset(parse(own_data.write(source, arrays)), VALUES).labels[7] == 7.0


def test_the_digits_are_limited_per_class_outside_their_test_split() -> None:
    dataset = load_dataset(parse({"dataset": "digits", "limit_per_class": 5}), CLASSES)
    assert dataset.fixed_split is not None
    assert (int((~dataset.fixed_split).sum()), int(dataset.fixed_split.sum())) == (50, 10_000)


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_the_digest_follows_the_content(own_data: Any, source: str) -> None:
    arrays = own_data.arrays()
    first = source_sha256(parse(own_data.write(source, arrays)), CLASSES)
    assert source_sha256(parse(own_data.write(source, arrays)), CLASSES) == first
    arrays["x"][3, 1] += 1
    assert source_sha256(parse(own_data.write(source, arrays)), CLASSES) != first


def test_a_function_of_ones_own_runs_once_per_build(own_data: Any) -> None:
    section = own_data.write("entry_point", own_data.arrays())
    source = open_source(parse(section), CLASSES)
    (own_data.folder / "own.npz").unlink()
    assert len(source.load().labels) == 1200


# --- what does not fit the task -----------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_an_unknown_normal_class_is_told_with_the_known_ones(own_data: Any, source: str) -> None:
    task = AnomalySettings(kind="anomaly", normal="ok")
    with pytest.raises(DataError, match=r'task.normal "ok" is not a class of the data, known are "fault", "fine"'):
        load_dataset(parse(own_data.write(source, own_data.arrays())), task)


@pytest.mark.parametrize("source", ["npz", "entry_point"])
def test_values_are_no_classes_and_texts_no_values(own_data: Any, source: str) -> None:
    with pytest.raises(DataError, match=r"y is float64 .*set task.kind: regression if these are values"):
        load_dataset(parse(own_data.write(source, own_data.arrays(values=True))), CLASSES)
    with pytest.raises(DataError, match=r"y is <U5 \[1200\], need numbers \[N\]: task.kind is regression"):
        load_dataset(parse(own_data.write(source, own_data.arrays())), VALUES)


def test_what_holds_classes_only_answers_no_values() -> None:
    with pytest.raises(DataError, match=r"shuttle .*holds classes, a regression needs values"):
        load_dataset(parse({"dataset": "shuttle"}), VALUES)


def test_a_function_that_returns_other_than_its_kind_is_refused(own_data: Any) -> None:
    (own_data.folder / "own_rows.py").write_text(
        "import numpy as np\n"
        "from edgewright.pipeline.datasets.dataset import Dataset\n"
        "def windows():\n"
        "    x = np.zeros((4, 3, 2), np.float32)\n"
        "    return Dataset('w', x, np.array([0, 1, 0, 1]), ('a', 'b'), None, None, 'memory', 'window')\n"
        "def values():\n"
        "    x = np.zeros((4, 3), np.float32)\n"
        "    return Dataset('v', x, np.array([0.5, 1, 2, 3]), (), None, None, 'memory', 'row')\n"
    )
    section = {"dataset": "entry_point", "entry_point": "own_rows:windows", "kind": "row"}
    with pytest.raises(DataError, match=r'a Dataset of windows, data.kind is "row". Set data.kind: window'):
        load_dataset(parse(section), CLASSES)
    with pytest.raises(DataError, match="a Dataset of values, the task asks for classes"):
        load_dataset(parse({**section, "entry_point": "own_rows:values"}), CLASSES)


# --- poison, from every source ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ROW_SOURCES)
@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "nan|NaN"), (np.inf, "inf|infinite"), (1e30, "beyond ±16777216|may be ±16777216")],
)
def test_samples_that_are_no_measurements_are_refused(own_data: Any, source: str, value: float, message: str) -> None:
    arrays = own_data.arrays()
    arrays["x"][17, 1] = value
    with pytest.raises(DataError, match=message) as caught:
        build(own_data.write(source, arrays))
    assert "(17)" in str(caught.value) or "row 18" in str(caught.value)


@pytest.mark.parametrize("source", ROW_SOURCES)
@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "nan|NaN"), (np.inf, "inf|infinite"), (1e30, "beyond ±16777216|may be ±16777216")],
)
def test_values_that_are_no_measurements_are_refused(own_data: Any, source: str, value: float, message: str) -> None:
    arrays = own_data.arrays(values=True)
    arrays["y"][17] = value
    with pytest.raises(DataError, match=message) as caught:
        build(own_data.write(source, arrays), VALUES)
    assert "(17)" in str(caught.value) or "row 18" in str(caught.value)


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_one_content_in_two_groups_is_a_leak(own_data: Any, source: str) -> None:
    arrays = own_data.arrays()
    arrays["x"][18] = arrays["x"][17]  # both fine, machines m17 and m18
    with pytest.raises(DataError, match=r'one group, .*samples 17 \("m17"\) and 18 \("m18"\)'):
        build(own_data.write(source, arrays))


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_one_content_with_two_labels_or_values_is_refused(own_data: Any, source: str) -> None:
    arrays = own_data.arrays()
    arrays["x"][63] = arrays["x"][1]
    arrays["group"][63] = arrays["group"][1]
    with pytest.raises(DataError, match=r'one label, .*samples 63 \("fault"\) and 1 \("fine"\)'):
        build(own_data.write(source, arrays))
    arrays = own_data.arrays(values=True)
    arrays["x"][61] = arrays["x"][1]
    with pytest.raises(DataError, match=r"one value, .*samples (1|61) .* and (1|61) "):
        build(own_data.write(source, arrays), VALUES)


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_a_class_in_one_group_only_leaves_splits_without_it(own_data: Any, source: str) -> None:
    arrays = own_data.arrays()
    arrays["y"] = np.where(arrays["group"] == "m07", "fault", "fine")
    with pytest.raises(DataError, match='split has no sample of class "fault"'):
        build(own_data.write(source, arrays))
    with pytest.raises(DataError, match=r'samples of the (validation|test) split are "fine", needs anomalies too'):
        build(own_data.write(source, arrays), FAULTS)


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_one_class_in_all_is_refused(own_data: Any, source: str) -> None:
    arrays = own_data.arrays()
    arrays["y"] = np.full(len(arrays["y"]), "fine")
    with pytest.raises(DataError, match="need at least two distinct names"):
        build(own_data.write(source, arrays))


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_a_constant_channel_is_named(own_data: Any, source: str) -> None:
    arrays = own_data.arrays()
    arrays["x"][:, 2] = 0.1
    with pytest.raises(DataError, match=r'channel (2|"c") is 0.1 in all \d+ samples .*Drop the channel'):
        build(own_data.write(source, arrays))


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_values_without_spread_are_refused(own_data: Any, source: str) -> None:
    arrays = own_data.arrays(values=True)
    arrays["y"][:] = 3.5
    with pytest.raises(DataError, match=r"split have the value 3.5, needs values that differ"):
        build(own_data.write(source, arrays), VALUES)


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_too_few_samples_are_refused(own_data: Any, source: str) -> None:
    arrays = {name: array[:240] for name, array in own_data.arrays().items()}
    with pytest.raises(DataError, match=r"the (calibration|test) split has \d+ samples, needs at least (64|299)"):
        build(own_data.write(source, arrays))


@pytest.mark.parametrize("source", ROW_SOURCES)
def test_folds_refuse_the_same_poison(own_data: Any, source: str) -> None:
    folds = {"folds": {"folds": 3, "validation_groups": 4, "calibration_groups": 5}, "calibration_samples": 64}
    arrays = own_data.arrays()
    data = parse(own_data.write(source, arrays), **folds)
    taken = split_dataset(load_dataset(data, CLASSES), data, CLASSES)
    tested = [digest for fold in taken for digest in fold.test.sample_sha256]
    assert len(taken) == 3 and len(set(tested)) == len(tested) == 1200
    arrays["x"][18] = arrays["x"][17]
    data = parse(own_data.write(source, arrays), **folds)
    with pytest.raises(DataError, match=r"fold 1 of 3: one content must have one group"):
        split_dataset(load_dataset(data, CLASSES), data, CLASSES)


def test_without_groups_there_are_no_folds(own_data: Any) -> None:
    arrays = own_data.arrays()
    del arrays["group"]
    data = parse(own_data.write("npz", arrays), folds={"folds": 3})
    with pytest.raises(DataError, match="has no groups, folds hold out groups"):
        split_dataset(load_dataset(data, CLASSES), data, CLASSES)


# --- pictures -----------------------------------------------------------------------------------------------------


def test_pictures_are_split_and_leaks_among_them_are_refused(own_data: Any) -> None:
    section = {**own_data.pictures(), "group_pattern": "^(part[0-9]+)_"}
    (snapshot,) = build(section, test_share=0.5)
    assert sum(len(split.labels) for split in snapshot.splits.values()) == 800
    folder = own_data.folder / "pictures"
    copied = next((folder / "whole").glob("part01_*.png"))
    (folder / "whole" / "part03_copy.png").write_bytes(copied.read_bytes())
    with pytest.raises(DataError, match=r'one group.*"part0[13]".*"part0[13]"'):
        build(section)
    (folder / "whole" / "part03_copy.png").rename(folder / "cracked" / "part03_copy.png")
    with pytest.raises(DataError, match=r'one label.*samples \d+ \("(whole|cracked)"\)'):
        build(section)


def test_pictures_of_one_grey_are_refused(own_data: Any) -> None:
    from PIL import Image

    section = own_data.pictures(4)
    for file in (own_data.folder / "pictures").rglob("*.png"):
        Image.new("L", (5, 4), 7).save(file)
    data = parse(section)
    dataset = load_dataset(data, CLASSES)
    with pytest.raises(DataError, match="one content must have one label"):
        split_dataset(dataset, data, CLASSES)


# --- values -------------------------------------------------------------------------------------------------------


def test_a_windows_value_is_that_of_its_last_row(own_data: Any) -> None:
    lines = ["run,x,wear"]
    for run in ("r1", "r2"):
        lines += [f"{run},{index}.5,{index}" for index in range(10)]
    (own_data.folder / "runs.csv").write_text("\n".join(lines) + "\n")
    section = {
        "dataset": "table",
        "path": "runs.csv",
        "channels": ["x"],
        "target": "wear",
        "recording": "run",
        "window_samples": 4,
        "stride_samples": 3,
    }
    dataset = load_dataset(parse(section), VALUES)
    assert dataset.labels.tolist() == [3.0, 6.0, 9.0] * 2
    assert dataset.images[:, -1, 0].tolist() == [3.5, 6.5, 9.5] * 2
    assert dataset.groups == ("r1",) * 3 + ("r2",) * 3


def test_values_have_no_limit_per_class(own_data: Any) -> None:
    section = own_data.write("npz", own_data.arrays(values=True))
    with pytest.raises(DataError, match=r"holds values, not classes. Remove limit_per_class"):
        load_dataset(parse(section, limit_per_class=10), VALUES)
