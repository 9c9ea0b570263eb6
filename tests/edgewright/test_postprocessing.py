from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats

from edgewright.errors import BundleError, DataError, EngineError
from edgewright.postprocessing import Classification

PETS = Classification(("cat", "dog", "fish"))


def test_the_greatest_output_wins_and_its_softmax_is_the_probability() -> None:
    found = PETS.decide(np.array([[0, np.log(3), 0], [5, 5, 5]], np.float32))
    assert list(found.label_index) == [1, 0]
    assert found.probability == pytest.approx([0.6, 1 / 3])
    assert (found.label_index.dtype, found.probability.dtype, len(found)) == (np.int64, np.float32, 2)


@given(arrays(np.float32, (5, 3), elements=floats(-(2.0**127), 2.0**127, width=32)))
def test_any_finite_outputs_give_a_probability(outputs: Any) -> None:
    found = PETS.decide(outputs)
    assert np.all((found.probability >= np.float32(1 / 3)) & (found.probability <= 1))
    assert np.array_equal(found.outputs, outputs)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_no_answer(broken: float) -> None:
    outputs = np.zeros((4, 3), np.float32)
    outputs[2, 1] = broken
    with pytest.raises(EngineError, match=r"1 of 4 samples \(first: number 2\)"):
        PETS.decide(outputs)


def test_outputs_of_another_model_are_refused() -> None:
    with pytest.raises(EngineError, match=r"\[2, 4\], needed \[N, 3\]"):
        PETS.decide(np.zeros((2, 4), np.float32))


@pytest.mark.parametrize("labels", [(), ("one",), ("a", "a"), ("a", "")])
def test_labels_must_tell_classes_apart(labels: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="two different"):
        Classification(labels)


def test_it_survives_json() -> None:
    assert Classification.from_json(PETS.to_json()) == PETS


@pytest.mark.parametrize("change", [{"kind": "boxes"}, {"labels": [1, 2]}, {"more": 0}])
def test_other_json_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        Classification.from_json({**PETS.to_json(), **change})
