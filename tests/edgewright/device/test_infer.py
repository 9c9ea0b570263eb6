"""Answers on files, in process; `test_agent` shows the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.bundle import Bundle
from edgewright.device.infer import AnomalyAnswer, LabelAnswer, ValueAnswer, answer_files
from edgewright.errors import DataError
from edgewright.predictor import open_predictor

Make = Callable[..., Bundle]


def answers(bundle: Bundle, *files: Path, limit: int | None = None) -> list[Any]:
    with open_predictor(bundle) as predictor:
        return list(answer_files(predictor, files, limit))


@pytest.fixture
def anomaly(make_bundle: Make, sensors: Any, tmp_path: Path) -> Bundle:
    """A bundle that scores rows."""
    return make_bundle(tmp_path / "anomaly", **sensors.bundle_fields("anomaly"))


@pytest.fixture
def regression(make_bundle: Make, sensors: Any, tmp_path: Path) -> Bundle:
    """A bundle that answers a value about windows."""
    return make_bundle(tmp_path / "regression", **sensors.bundle_fields("regression"))


def test_classes_have_a_label_and_its_probability(bundle: Bundle, zoo: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", zoo.raw[:100])
    found = answers(bundle, tmp_path / "a.npy")
    assert [answer.index for answer in found] == list(range(100))
    assert all(isinstance(answer, LabelAnswer) and 0.1 <= answer.probability <= 1 for answer in found)
    assert np.mean([int(answer.label) for answer in found] == zoo.truth[:100]) > 0.85
    assert found[0].describe() == f"{found[0].label:<12}  {found[0].probability:.3f}"


def test_anomalies_have_a_score_beside_the_threshold(anomaly: Bundle, sensors: Any, tmp_path: Path) -> None:
    np.savetxt(tmp_path / "rows.csv", sensors.rows[:100], delimiter=",", header="a,b,c,d,e,f", comments="")
    np.save(tmp_path / "rows.npy", sensors.rows[:100])
    found = answers(anomaly, tmp_path / "rows.csv")
    assert all(isinstance(answer, AnomalyAnswer) for answer in found)
    assert [answer.label == "anomaly" for answer in found] == [answer.score > 0.15 for answer in found]
    assert np.mean([answer.label_index for answer in found] == sensors.abnormal[:100]) > 0.95
    assert [answer.score for answer in answers(anomaly, tmp_path / "rows.npy")] == [answer.score for answer in found]
    assert found[0].describe() == f"normal        score {found[0].score:.4g} (threshold 0.15)"


def test_values_have_a_unit(regression: Bundle, sensors: Any, tmp_path: Path) -> None:
    np.savetxt(tmp_path / "window.csv", sensors.windows[5], delimiter=",")
    np.save(tmp_path / "windows.npy", sensors.windows[:100].astype(np.float64))
    found = answers(regression, tmp_path / "window.csv", tmp_path / "windows.npy")
    assert [answer.index for answer in found] == [0, *range(100)]
    assert all(isinstance(answer, ValueAnswer) and answer.unit == "mm" for answer in found)
    assert found[0].value == pytest.approx(found[6].value, rel=1e-5)
    assert [answer.value for answer in found[1:]] == pytest.approx(list(sensors.values[:100]), abs=3)
    assert found[0].describe() == f"travel        {found[0].value:.6g} mm"


def test_a_limit_counts_over_all_files(anomaly: Bundle, sensors: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", sensors.rows[:70])
    files = [tmp_path / "rows.npy"] * 3
    assert [answer.index for answer in answers(anomaly, *files, limit=71)] == [*range(70), 0]


def test_an_error_names_the_file_and_the_samples_own_number(anomaly: Bundle, sensors: Any, tmp_path: Path) -> None:
    rows = sensors.rows[:100].copy()
    rows[77, 0] = np.inf
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(DataError, match=r"rows\.npy: sample 77 holds NaN, an infinity"):
        answers(anomaly, tmp_path / "rows.npy")


def test_windows_are_refused_by_a_model_of_rows(anomaly: Bundle, sensors: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "windows.npy", sensors.windows)
    with pytest.raises(DataError, match=r"has the shape \[300, 20, 3\], samples must be \[N, 6\]"):
        answers(anomaly, tmp_path / "windows.npy")
