"""What a float TFLite file's activations are: every tensor that follows from the input, refused by the name of its layers."""

from __future__ import annotations

import numpy as np
import pytest

from edgewright.errors import CalibrationError, StageError
from edgewright.pipeline.tflite_activations import observe_tflite
from tflite_conversions import Conversions, batches_of, conversions


@pytest.fixture(scope="module")
def made() -> Conversions:
    return conversions()


def test_every_tensor_is_seen_in_the_order_of_the_graph(made: Conversions) -> None:
    seen = observe_tflite(made.exported["image"].content, batches_of(made.samples["image"]))
    assert [(each.node, each.operator) for each in seen] == [
        ("image", "input"),
        ("stem + stem_norm + stem_relu", "CONV_2D"),
        ("depthwise + depthwise_norm", "DEPTHWISE_CONV_2D"),
        ("second + second_norm", "CONV_2D"),
        ("sum + sum_relu", "ADD"),
        ("pool", "MEAN"),
        ("scores", "FULLY_CONNECTED"),
    ]
    places = 16 * 12 * 12
    per_sample = [3 * 12 * 12, places, places, places, places, 16, 5]
    assert [int(each.counts.sum()) for each in seen] == [60 * count for count in per_sample]


def test_input_and_scores_are_those_that_keras_has(made: Conversions) -> None:
    seen = observe_tflite(made.exported["image"].content, batches_of(made.samples["image"]))
    assert (seen[0].low, seen[0].high) == (made.samples["image"].min(), made.samples["image"].max())
    scores = made.answers["image"]
    np.testing.assert_allclose((seen[-1].low, seen[-1].high), (scores.min(), scores.max()), atol=1e-5)
    assert seen[1].low == 0.0
    assert seen[1].repeated[0.0] > 0.2 * seen[1].counts.sum()


def test_the_order_of_samples_and_their_batches_do_not_matter(made: Conversions) -> None:
    samples, content = made.samples["row"], made.exported["row"].content
    one = observe_tflite(content, batches_of(samples))
    other = observe_tflite(content, lambda: iter([samples[40:][::-1], samples[:40]]))
    for first, second in zip(one, other, strict=True):
        assert (first.low, first.high) == (second.low, second.high)
        assert np.array_equal(first.counts, second.counts)


@pytest.mark.parametrize(("value", "told"), [(np.nan, r"\[nan, nan\]"), (np.inf, r"inf\]")])
def test_a_tensor_that_is_not_finite_is_refused_by_its_place(made: Conversions, value: float, told: str) -> None:
    spoiled = made.samples["image"].copy()
    spoiled[3, 0, 0, 0] = value
    with pytest.raises(CalibrationError, match=rf"the range of input 'image' is .*{told}: a range must be finite"):
        observe_tflite(made.exported["image"].content, batches_of(spoiled))


def test_a_dead_tensor_is_refused_by_its_layers(made: Conversions) -> None:
    message = r"the range of node 'stem \+ stem_norm \+ stem_relu' \(CONV_2D\) is \[0, 0\]: it has no width"
    with pytest.raises(CalibrationError, match=message):
        observe_tflite(made.dead, batches_of(made.samples["image"]))


def test_absurdly_large_values_are_refused(made: Conversions) -> None:
    with pytest.raises(CalibrationError, match=r"the range of input 'image' is .* absurd beyond 1e\+06"):
        observe_tflite(made.exported["image"].content, batches_of(made.samples["image"] * 1e6))


def test_a_file_that_is_quantized_already_is_refused(made: Conversions) -> None:
    with pytest.raises(StageError, match=r"already quantized \(input and output are uint8, uint8\)"):
        observe_tflite(made.quantized["uint8"].content, batches_of(made.samples["image"]))
    with pytest.raises(StageError, match="it is none"):
        observe_tflite(b"no model", batches_of(made.samples["image"]))
