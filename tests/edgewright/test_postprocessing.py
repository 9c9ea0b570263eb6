from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats

from edgewright.errors import BundleError, DataError, EngineError
from edgewright.postprocessing import (
    AnomalyScore,
    Classification,
    Postprocessing,
    Regression,
    postprocessing_from_json,
)

PETS = Classification(("cat", "dog", "fish"))
ODD = AnomalyScore(0.25)
HEAT = Regression(20.0, 5.0, "temperature", "°C")
ALL: list[Postprocessing] = [PETS, ODD, HEAT]
ANY_FLOAT = floats(-(2.0**127), 2.0**127, width=32)


def nothing(count: int, *shape: int) -> Any:
    """Inputs where they do not matter."""
    return np.zeros((count, *(shape or (1, 1, 1))), np.float32)


# ---- classes


def test_the_greatest_output_wins_and_its_softmax_is_the_probability() -> None:
    found = PETS.decide(np.array([[0, np.log(3), 0], [5, 5, 5]], np.float32), nothing(2))
    assert list(found.label_index) == [1, 0]
    assert found.score == pytest.approx([0.6, 1 / 3])
    assert (found.label_index.dtype, found.score.dtype, len(found)) == (np.int64, np.float32, 2)


@given(arrays(np.float32, (5, 3), elements=ANY_FLOAT))
def test_any_finite_outputs_give_a_probability(outputs: Any) -> None:
    found = PETS.decide(outputs, nothing(5))
    assert np.all((found.score >= np.float32(1 / 3)) & (found.score <= 1))
    assert np.array_equal(found.outputs, outputs)


@pytest.mark.parametrize("labels", [(), ("one",), ("a", "a"), ("a", "")])
def test_labels_must_tell_classes_apart(labels: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="two different"):
        Classification(labels)


# ---- anomalies


def test_the_score_is_the_mean_squared_difference_to_the_input() -> None:
    inputs = np.arange(12, dtype=np.float32).reshape(2, 3, 1, 2)
    outputs = inputs.reshape(2, 6).copy()
    outputs[1, 4] += 3
    found = ODD.decide(outputs, inputs)
    assert list(found.score) == [0.0, 1.5]
    assert [ODD.labels[index] for index in found.label_index] == ["normal", "anomaly"]


def test_a_score_at_the_threshold_is_normal_as_float32_sees_it() -> None:
    """0.1 is no float32: the threshold is rounded as the scores are, or a score could lie above its own value."""
    found = AnomalyScore(0.1).decide(np.sqrt(np.full((1, 1), 0.1, np.float32)), nothing(1))
    assert (found.score[0], found.label_index[0]) == (np.float32(0.1), 0)


@given(arrays(np.float32, (3, 4), elements=ANY_FLOAT), arrays(np.float32, (3, 4, 1, 1), elements=ANY_FLOAT))
def test_any_finite_outputs_give_a_finite_score(outputs: Any, inputs: Any) -> None:
    found = ODD.decide(outputs, inputs)
    assert np.isfinite(found.score).all()
    assert np.array_equal(found.label_index, found.score > 0.25)


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf"), 1e39])
def test_a_threshold_is_a_number_from_0_up(threshold: float) -> None:
    with pytest.raises(DataError, match="threshold must be a number from 0 up"):
        AnomalyScore(threshold)


# ---- values


def test_a_value_is_in_its_own_unit() -> None:
    found = HEAT.decide(np.array([[0.0], [-2.0]], np.float32), nothing(2))
    assert list(found.score) == [20.0, 10.0]
    assert list(found.label_index) == [0, 0]
    assert HEAT.labels == ("temperature",)


def test_a_value_beyond_float32_is_no_answer() -> None:
    with pytest.raises(EngineError, match="which float32 cannot hold"):
        HEAT.decide(np.array([[3e38]], np.float32), nothing(1))


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ((0.0, 0.0, "x", ""), "std above 0"),
        ((float("nan"), 1.0, "x", ""), "finite"),
        ((0.0, 1.0, "", ""), "must be a name"),
        ((0.0, 1.0, "x\x1b[2J", ""), "quantity must be at most 60 printable"),
        ((0.0, 1.0, "x", "m" * 21), "unit must be at most 20 printable"),
    ],
)
def test_impossible_regressions_cannot_exist(fields: Any, rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        Regression(*fields)


# ---- all of them


@pytest.mark.parametrize(("asked", "outputs"), [(PETS, 3), (ODD, 24), (HEAT, 1)])
def test_it_knows_how_many_outputs_the_network_has(asked: Postprocessing, outputs: int) -> None:
    assert asked.outputs((2, 3, 4)) == outputs
    assert len(asked.decide(np.zeros((5, outputs), np.float32), nothing(5, 2, 3, 4))) == 5
    for wrong in ((5, outputs + 1), (4, outputs)):
        with pytest.raises(EngineError, match=rf"needed \[5, {outputs}\]"):
            asked.decide(np.zeros(wrong, np.float32), nothing(5, 2, 3, 4))


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("asked", ALL)
def test_outputs_that_are_not_finite_are_no_answer(asked: Postprocessing, broken: float) -> None:
    outputs = np.zeros((4, asked.outputs((1, 1, 2))), np.float32)
    outputs[2, -1] = broken
    with pytest.raises(EngineError, match="1 of 4 samples: it is dead"):
        asked.decide(outputs, nothing(4, 1, 1, 2))


@pytest.mark.parametrize("asked", ALL)
def test_it_survives_json(asked: Postprocessing) -> None:
    assert postprocessing_from_json(json.loads(json.dumps(asked.to_json()))) == asked


@pytest.mark.parametrize(
    ("asked", "change"),
    [
        (PETS, {"kind": "boxes"}),
        (PETS, {"labels": [1, 2]}),
        (PETS, {"more": 0}),
        (PETS, {"kind": "anomaly"}),
        (ODD, {"threshold": "0"}),
        (ODD, {"labels": ["normal", "anomaly"]}),
        (HEAT, {"unit": None}),
        (HEAT, {"kind": ["regression"]}),
    ],
)
def test_other_json_is_refused(asked: Postprocessing, change: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        postprocessing_from_json({**asked.to_json(), **change})
