"""Calibration of TFLite files: samples, digests and audit as for ONNX; the ranges told are those that the INT8 file holds."""

from __future__ import annotations

import hashlib

import pytest

from edgewright.pipeline.quantization.tflite_file import read_tflite
from tflite_aware import CALIBRATION_SAMPLES, Made, Tried, aware_networks


@pytest.fixture(scope="module")
def made() -> Made:
    return aware_networks()


def ranges_in(tried: Tried) -> list[tuple[float, float] | None]:
    return [tensor.range for tensor in read_tflite(tried.quantized.content).tensors]


# --- minmax -------------------------------------------------------------------------------------------------------


def test_every_activation_of_the_float_file_is_told_with_the_range_of_the_int8_file(made: Made) -> None:
    tried = made.tried["minmax"]
    assert [each.node for each in tried.audit.tensors] == [
        "image",
        "stem + stem_norm + stem_relu",
        "depthwise + depthwise_norm",
        "second + second_norm",
        "sum + sum_relu",
        "pool",
        "scores",
    ]
    assert tried.audit.without_range == ()
    held = ranges_in(tried)
    for each in tried.audit.tensors:
        assert (each.low, each.high) in held
        step = (each.high - each.low) / 255
        assert each.low <= each.observed_low + step
        assert each.observed_high - step <= each.high
        assert 0 <= each.clipped_share < 0.05
    (trial,) = tried.trials
    assert trial.method == tried.audit.method == "minmax"
    assert trial.ranges == {each.tensor: (each.low, each.high) for each in tried.audit.tensors}


def test_the_samples_are_chosen_by_digest_as_for_any_format(made: Made) -> None:
    audit = made.tried["minmax"].audit
    digests = {hashlib.sha256(sample.tobytes()).hexdigest() for sample in made.samples}
    assert len(set(audit.sample_sha256)) == audit.samples == CALIBRATION_SAMPLES
    assert set(audit.sample_sha256) <= digests
    assert audit.coverage == dict.fromkeys("abcde", 4)
    assert (audit.split, audit.split_samples) == ("calibration", 60)
    assert audit.sample_sha256 == made.tried["aware"].audit.sample_sha256


def test_the_range_of_the_input_is_that_of_the_chosen_samples_alone(made: Made) -> None:
    audit = made.tried["minmax"].audit
    chosen = [each for each in made.samples if hashlib.sha256(each.tobytes()).hexdigest() in audit.sample_sha256]
    image = audit.tensors[0]
    assert image.observed_low == min(sample.min() for sample in chosen)
    assert image.observed_high == max(sample.max() for sample in chosen)


def test_other_calibration_sets_are_converted_and_judged_too(made: Made) -> None:
    tried = made.tried["minmax"]
    assert tried.audit.spread is not None, tried.audit.no_spread_because
    assert tried.audit.spread.resamples == (0, 1, 2, 3, 4)
    assert tried.judged == 1 + 5 + 1
    assert tried.said == ("calibrating by minmax", *(f"other calibration samples {k}/5" for k in range(1, 6)))


# --- ranges that were learned -------------------------------------------------------------------------------------


def test_learned_ranges_are_told_as_such_and_need_no_other_samples(made: Made) -> None:
    tried = made.tried["aware"]
    assert tried.audit.method == tried.trials[0].method == "aware"
    assert tried.audit.spread is None
    assert tried.audit.no_spread_because.startswith("the ranges were learned in quantization-aware training")
    assert (tried.said, tried.judged) == (("converting with learned ranges",), 1)


def test_every_learned_range_is_that_of_the_int8_file(made: Made) -> None:
    tried = made.tried["aware"]
    assert [each.node for each in tried.audit.tensors] == [each.node for each in made.tried["minmax"].audit.tensors]
    held = ranges_in(tried)
    assert all((each.low, each.high) in held for each in tried.audit.tensors)


def test_a_layer_that_the_converter_merged_away_is_named_instead_of_guessed(made: Made) -> None:
    tried = made.tried["dense aware"]
    assert tried.audit.without_range == ("norm",)
    assert {"image", "relu", "scores"} <= {each.node for each in tried.audit.tensors}
    held = ranges_in(tried)
    assert all((each.low, each.high) in held for each in tried.audit.tensors)


# --- what is refused ----------------------------------------------------------------------------------------------


def test_estimators_that_the_converter_does_not_have_are_refused(made: Made) -> None:
    assert made.refused["other estimators"] == (
        "StageError: quantize.calibration names percentile, entropy: TFLite's converter knows minmax alone. Set calibration: "
        "[minmax]."
    )


def test_a_range_that_leaves_one_step_for_all_values_is_refused_with_a_remedy_that_exists(made: Made) -> None:
    told = made.refused["absurd range"]
    assert told.startswith("CalibrationError: the range of input 'image' by minmax is [")
    assert told.endswith("Look for samples with huge values; quantize with method: dynamic, which needs no ranges.")
