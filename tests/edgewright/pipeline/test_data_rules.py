"""Between the fields of ``data``, the task and the files: all problems at once, each with key, value, rule, remedy."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from edgewright.errors import DataError
from edgewright.pipeline import data_rules
from edgewright.pipeline.data_rules import check_data, check_loaded, kind_of, source_facts
from edgewright.pipeline.data_settings import DataSettings
from edgewright.pipeline.document import read_document
from edgewright.pipeline.task_settings import AnomalySettings, ClassificationSettings, RegressionSettings, TaskSettings

CLASSES = ClassificationSettings(kind="classification")
VALUES = RegressionSettings(kind="regression")
SETTINGS: TypeAdapter[DataSettings] = TypeAdapter(DataSettings)
FOLDS = {"folds": 3, "validation_groups": 1, "calibration_groups": 1}


def faults(normal: str) -> AnomalySettings:
    return AnomalySettings(kind="anomaly", normal=normal)


def problems_of(section: dict[str, Any], task: TaskSettings = CLASSES) -> list[str]:
    return [f"{problem.key} {problem.message}" for problem in check_data(SETTINGS.validate_python(section), task)]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sections below name, relative to the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("cracked", "whole"):
        Path("pictures", name).mkdir(parents=True)
    Path("runs.csv").touch()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 3)).astype(np.float32)
    np.savez("own.npz", x=x, y=np.where(x[:, 0] > 0, "hot", "cold"), group=np.arange(900) // 30)
    Path("own_source.py").write_text("raise SystemExit('imported too early')\n")


PICTURES = {"dataset": "image_folder", "path": "pictures", "mode": "grey"}
NPZ = {"dataset": "npz", "path": "own.npz", "kind": "row"}
TABLE = {"dataset": "table", "path": "runs.csv", "channels": ["a", "b"], "label": "state"}
FUNCTION = {"dataset": "entry_point", "entry_point": "own_source:rows"}


@pytest.mark.parametrize(
    ("section", "task"),
    [
        ({"dataset": "digits"}, CLASSES),
        ({"dataset": "digits", "calibration_samples": 80}, faults("3")),
        ({"dataset": "motion"}, CLASSES),
        ({"dataset": "shuttle"}, faults("normal")),
        (PICTURES, CLASSES),
        (PICTURES, faults("whole")),
        ({**PICTURES, "group_pattern": "^(a)", "folds": FOLDS}, CLASSES),
        (NPZ, VALUES),
        ({**NPZ, "folds": FOLDS}, CLASSES),
        (TABLE, CLASSES),
        ({**TABLE, "window_samples": 8, "stride_samples": 8, "time": "t", "recording": "r", "folds": FOLDS}, CLASSES),
        ({**TABLE, "label": None, "target": "wear"}, VALUES),
        (FUNCTION, VALUES),
        ({**FUNCTION, "test_share": 0.0}, CLASSES),
    ],
)
def test_what_is_sound_is_left_alone(section: dict[str, Any], task: TaskSettings) -> None:
    assert problems_of(section, task) == []


def test_the_shipped_recipe_of_digits_is_sound() -> None:
    recipe = read_document(Path(__file__).parents[3] / "deployments" / "recipes" / "digits.yaml")
    assert problems_of(recipe["data"]) == []


@pytest.mark.parametrize(
    ("section", "task", "message"),
    [
        (
            {"dataset": "digits", "validation_share": 0.8, "calibration_share": 0.2},
            CLASSES,
            "data.validation_share 0.8 and calibration_share 0.2 take 100% of the pool and leave too little to train on. "
            "Keep their sum below 95%.",
        ),
        (
            {"dataset": "shuttle", "validation_share": 0.5, "test_share": 0.5},
            faults("normal"),
            "data.validation_share 0.5 and calibration_share 0.05 and test_share 0.5 take 105% of the data",
        ),
        ({**NPZ, "folds": FOLDS, "test_share": 0.2}, CLASSES, "data.test_share is not used with folds"),
        ({**NPZ, "folds": FOLDS, "validation_share": 0.2}, CLASSES, "data.validation_share is not used with folds"),
        ({**PICTURES, "folds": FOLDS}, CLASSES, "data.folds hold out groups, and without data.group_pattern"),
        ({**TABLE, "folds": FOLDS}, CLASSES, "data.folds hold out groups, and without data.group every row"),
        ({"dataset": "digits", "package_folder": "x"}, CLASSES, "data.package_folder is only used with source: full"),
        ({"dataset": "digits", "source": "full"}, CLASSES, 'data.source digits: source "full" needs node_modules'),
        ({"dataset": "motion", "stride_samples": 161}, CLASSES, "data.stride_samples 161 is above window_samples 160"),
        ({"dataset": "solar_cells"}, CLASSES, "data.dataset solar_cells: the package elpv-dataset is not installed"),
        ({**PICTURES, "path": "absent"}, CLASSES, 'data.path "absent" is no folder here'),
        ({**NPZ, "path": "pictures"}, CLASSES, 'data.path "pictures" is no file here, needs an npz. Correct the path'),
        ({**TABLE, "path": "absent"}, CLASSES, 'data.path "absent" is not there'),
        (
            {**FUNCTION, "entry_point": "absent_source:rows"},
            CLASSES,
            'data.entry_point module "absent_source" cannot be',
        ),
        ({"dataset": "digits"}, faults("11"), 'task.normal "11" is not a class of the data, known are "0", "1"'),
        ({"dataset": "shuttle"}, faults("fine"), 'task.normal "fine" is not a class of the data, known are "normal"'),
        (PICTURES, faults("ok"), 'task.normal "ok" is not a class of the data, known are "cracked", "whole"'),
        ({"dataset": "motion"}, VALUES, 'task.kind "regression" needs values, and motion holds classes'),
        (PICTURES, VALUES, 'task.kind "regression" needs values'),
        ({**NPZ, "limit_per_class": 9}, VALUES, "data.limit_per_class is not used with task.kind: regression"),
        (TABLE, VALUES, "data.target is missing: task.kind is regression. Name the column to answer."),
        (TABLE, VALUES, "data.label is not used with task.kind: regression. Remove it."),
        ({**TABLE, "label": None}, CLASSES, "data.label is missing: task.kind is classification"),
        ({**TABLE, "channels": ["a", "a"]}, CLASSES, 'data.channels[1] "a" is data.channels[0] already'),
        ({**TABLE, "group": "state"}, CLASSES, 'data.group "state" is data.label already, each column may serve one'),
        ({**TABLE, "time": "t"}, CLASSES, "data.time is only used with window_samples"),
        (
            {**TABLE, "window_samples": 4, "stride_samples": 5},
            CLASSES,
            "data.stride_samples 5 is above window_samples 4",
        ),
        (
            {"dataset": "digits", "calibration_samples": 5000},
            CLASSES,
            "data.calibration_samples 5000 are more than the about 950 samples of the calibration split (5.0% of 19000). "
            "Lower it, or raise data.calibration_share.",
        ),
        (
            {"dataset": "digits", "limit_per_class": 100},
            CLASSES,
            "200 are more than the about 50 samples of the calibration split (5.0% of 1000). Lower it, or raise "
            "data.calibration_share or data.limit_per_class.",
        ),
        (
            {"dataset": "digits", "limit_per_class": 1000},
            faults("3"),
            "200 are more than the about 50 normal samples of the calibration split (5.0% of 1000)",
        ),
        (
            {"dataset": "shuttle", "limit_per_class": 1000},
            faults("anomaly"),
            "200 are more than the about 50 normal samples of the calibration split (5.0% of 1000)",
        ),
    ],
)
def test_a_broken_rule_is_told_before_anything_is_loaded(
    section: dict[str, Any], task: TaskSettings, message: str
) -> None:
    assert message in "\n".join(problems_of(section, task))


def test_a_module_that_has_no_source_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "made_by_hand", ModuleType("made_by_hand"))
    (problem,) = problems_of({**FUNCTION, "entry_point": "made_by_hand:rows"})
    assert 'data.entry_point module "made_by_hand" cannot be found' in problem


def test_all_problems_are_told_at_once() -> None:
    keys = [
        each.split()[0]
        for each in problems_of({**TABLE, "path": "absent", "time": "state", "stride_samples": 3}, VALUES)
    ]
    assert keys == ["data.target", "data.label", "data.time", "data.stride_samples", "data.time", "data.path"]


def test_what_a_sample_is_is_known_without_loading() -> None:
    kinds = {
        "image": [{"dataset": "digits"}, PICTURES, {"dataset": "solar_cells"}, FUNCTION],
        "window": [{"dataset": "motion"}, {**TABLE, "window_samples": 4}],
        "row": [{"dataset": "shuttle"}, NPZ, TABLE],
    }
    for kind, sections in kinds.items():
        assert [kind_of(SETTINGS.validate_python(section)) for section in sections] == [kind] * len(sections)


# --- loaded -------------------------------------------------------------------------------------------------------


def test_a_network_learns_what_it_has_to_fit() -> None:
    data = SETTINGS.validate_python(NPZ)
    facts = source_facts(data, CLASSES)
    assert (facts.kind, facts.input_shape, facts.outputs, facts.class_names) == ("row", (3, 1, 1), 2, ("cold", "hot"))
    assert (facts.samples, facts.groups, facts.columns) == (900, 30, ())
    assert source_facts(data, faults("cold")).outputs == 3
    windows = source_facts(SETTINGS.validate_python({"dataset": "motion"}), CLASSES)
    assert (windows.kind, windows.input_shape, windows.outputs) == ("window", (6, 1, 160), 7)
    assert windows.groups == 10


def test_the_data_is_loaded_again_only_when_it_changed() -> None:
    data = SETTINGS.validate_python(NPZ)
    assert data_rules._loaded(data, CLASSES) is data_rules._loaded(data, CLASSES)
    x = np.zeros((4, 3), np.float32)
    np.savez("own.npz", x=x, y=np.array(["hot", "cold"] * 2))
    assert source_facts(data, CLASSES).samples == 4


def test_what_only_loading_can_tell_becomes_a_problem() -> None:
    shares = {"calibration_share": 0.2, "test_share": 0.4, "calibration_samples": 64}
    data = SETTINGS.validate_python({**NPZ, **shares})
    assert check_loaded(data, CLASSES) == []
    with np.load("own.npz") as arrays:
        spoiled = dict(arrays)
    spoiled["x"][5, 1] = np.nan
    np.savez("own.npz", **spoiled)
    (problem,) = check_loaded(data, CLASSES)
    assert problem.key == "data"
    assert "own (own.npz): 1 sample (5) has NaN or infinite values" in problem.message
    with pytest.raises(DataError, match="NaN"):
        source_facts(data, CLASSES)


def test_the_problem_of_a_fold_names_the_fold() -> None:
    data = SETTINGS.validate_python({**NPZ, "folds": FOLDS})
    (problem,) = check_loaded(data, CLASSES)
    assert "fold 1 of 3: the calibration split has 30 samples, needs at least 200" in problem.message
    assert "Lower calibration_samples or raise calibration_groups" in problem.message
