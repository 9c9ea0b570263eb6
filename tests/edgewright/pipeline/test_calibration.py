"""Calibration: which samples, which ranges, and the audit that refuses what would give a dead model."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgewright.errors import CalibrationError
from edgewright.pipeline.calibration import CalibrationSet, Method, calibrate, select_calibration_set
from edgewright.pipeline.quantization.onnx import prepare_for_quantization

METHODS: tuple[Method, ...] = ("minmax", "percentile")
CLASSES = ("cat", "dog", "eel")


# --- which samples ------------------------------------------------------------------------------------------------


def split(labels: list[int], seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], tuple[str, ...]]:
    """Samples that know their own number, with digests in no order."""
    digests = np.random.default_rng(seed).permutation(len(labels))
    inputs = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1)
    return inputs, np.array(labels), tuple(f"{digest:064x}" for digest in digests)


@settings(max_examples=50, deadline=None)
@given(counts=st.tuples(*[st.integers(1, 30)] * 3), share=st.floats(0.1, 1), seed=st.integers(0, 99))
def test_classes_are_taken_in_turn_and_the_choice_depends_on_content_alone(
    counts: tuple[int, ...], share: float, seed: int
) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    count = max(1, int(share * len(labels)))
    inputs, truth, digests = split(labels, seed)
    chosen = select_calibration_set(inputs, truth, digests, CLASSES, count)
    numbers = chosen.inputs.reshape(-1).astype(int)
    assert len(set(numbers)) == count
    assert [digests[number] for number in numbers] == list(chosen.sample_sha256)
    found = Counter(CLASSES[truth[number]] for number in numbers)
    assert chosen.samples_per_class == {name: found[name] for name in CLASSES}
    for name, available in zip(CLASSES, counts, strict=True):  # no class gets less than its share while it has more
        assert chosen.samples_per_class[name] >= min(available, count // 3)
    order = np.random.default_rng(seed).permutation(len(labels))
    again = select_calibration_set(inputs[order], truth[order], tuple(digests[i] for i in order), CLASSES, count)
    assert again.sample_sha256 == chosen.sample_sha256


def test_too_few_samples_say_how_many_and_where() -> None:
    with pytest.raises(
        CalibrationError, match=r"has 4 samples, needs at least 64 \(data\.calibration_samples\)\. Lower"
    ):
        select_calibration_set(*split([0, 1, 2, 0]), CLASSES, 64)


def test_a_class_without_a_sample_is_named() -> None:
    with pytest.raises(CalibrationError, match=r"no sample of class 'eel'\. Raise data\.calibration_share\."):
        select_calibration_set(*split([0, 1, 0, 1]), CLASSES, 2)


# --- ranges -------------------------------------------------------------------------------------------------------


def as_set(inputs: npt.NDArray[np.float32]) -> CalibrationSet:
    return CalibrationSet(inputs, tuple(str(index) for index in range(len(inputs))), {"any": len(inputs)})


NOISE = np.random.default_rng(0).standard_normal((40, 1, 8, 8)).astype(np.float32)
CONSTANTS = {
    "w": np.random.default_rng(1).standard_normal((4, 1, 3, 3)).astype(np.float32),
    "minus_inf": np.array(-np.inf, np.float32),
    "zero": np.array(0, np.float32),
    "deep": np.array([-1000] * 4, np.float32),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
}
CONV = helper.make_node("Conv", ["x", "w"], ["c"], name="conv")


def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A graph from ``x`` [batch, 1, 8, 8] to ``y`` of four channels."""
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, None, None])
    wanted = {name for node in nodes for name in node.input}
    constants = [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items() if name in wanted]
    graph = helper.make_graph(list(nodes), "g", [image], [scores], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


SOUND = model(CONV, helper.make_node("Relu", ["c"], ["y"], name="relu"))


def test_minmax_keeps_every_value(float_onnx: Callable[[int], bytes], some_digits: Any) -> None:
    prepared = prepare_for_quantization(float_onnx(13))
    ranges = calibrate(prepared, as_set(some_digits.inputs[:40]), "minmax", 99.0)
    made = {name for node in prepared.graph.node for name in node.output}
    assert made | {"image"} <= set(ranges.low_high)
    assert ranges.low_high["image"] == (some_digits.inputs[:40].min(), some_digits.inputs[:40].max())


def test_the_two_methods_agree_at_100_percent_and_the_percentile_is_narrower_below() -> None:
    everything = calibrate(SOUND, as_set(NOISE), "minmax", 0).low_high
    nearly = calibrate(SOUND, as_set(NOISE), "percentile", 99.999).low_high
    fewer = calibrate(SOUND, as_set(NOISE), "percentile", 95.0).low_high
    assert set(nearly) == set(everything)
    for name, (low, high) in everything.items():
        assert nearly[name] == pytest.approx((low, high), abs=0.02 * (high - low))
        assert high - low > 1.3 * (fewer[name][1] - fewer[name][0])


def test_calibrating_twice_gives_the_same_ranges() -> None:
    for method in METHODS:
        assert calibrate(SOUND, as_set(NOISE), method, 99.9) == calibrate(SOUND, as_set(NOISE), method, 99.9)


def test_nothing_is_said_while_calibrating(capfd: pytest.CaptureFixture[str]) -> None:
    for method in METHODS:
        calibrate(SOUND, as_set(NOISE), method, 99.9)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", METHODS)
def test_memory_does_not_grow_with_the_number_of_samples(
    float_onnx: Callable[[int], bytes], some_digits: Any, method: Method
) -> None:
    """A batch's intermediate tensors are all that is held: at 10,000 samples holding them all would take gigabytes."""
    prepared = prepare_for_quantization(float_onnx(13))
    peaks = []
    for count in (32, 256):
        calibration = as_set(np.resize(some_digits.inputs, (count, 1, 28, 28)))
        tracemalloc.start()
        calibrate(prepared, calibration, method, 99.99)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


# --- the audit ----------------------------------------------------------------------------------------------------

DEAD_MODELS = {
    "padding with -inf": (
        model(
            CONV,
            helper.make_node("Pad", ["c", "pads", "minus_inf"], ["p"], name="padder"),
            helper.make_node("MaxPool", ["p"], ["y"], name="pool", kernel_shape=[2, 2]),
        ),
        r"node 'padder' \(Pad\) is \[-inf, .*\]: a range must be finite",
    ),
    "division by zero": (
        model(CONV, helper.make_node("Div", ["c", "zero"], ["y"], name="divider")),
        r"node 'divider' \(Div\) is \[-inf, inf\]: a range must be finite",
    ),
    "zero by zero": (
        model(
            CONV,
            helper.make_node("Relu", ["c"], ["r"], name="relu"),
            helper.make_node("Div", ["r", "r"], ["y"], name="divider"),
        ),
        r"node 'divider' \(Div\) is \[nan, nan\]: a range must be finite",
    ),
    "a dead activation": (
        model(
            helper.make_node("Conv", ["x", "w", "deep"], ["c"], name="conv"),
            helper.make_node("Relu", ["c"], ["y"], name="corpse"),
        ),
        r"node 'corpse' \(Relu\) is \[0, 0\]: it has no width, the tensor is dead on all calibration samples",
    ),
    "a node without a name": (
        model(CONV, helper.make_node("Div", ["c", "zero"], ["y"])),
        r"node 'y' \(Div\) is \[-inf, inf\]",
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dead", "message"), DEAD_MODELS.values(), ids=DEAD_MODELS.keys())
def test_a_range_that_would_kill_the_model_is_refused_by_the_nodes_name(
    dead: onnx.ModelProto, message: str, method: Method
) -> None:
    with pytest.raises(CalibrationError, match=message):
        calibrate(dead, as_set(NOISE), method, 99.9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_one_bad_pixel_of_one_sample_is_noticed(method: Method, poison: float) -> None:
    """The library's own minimum and maximum overlook a single NaN."""
    inputs = NOISE.copy()
    inputs[17, 0, 3, 5] = poison
    with pytest.raises(CalibrationError, match=r"the range of input 'x' is \[.*(nan|inf)\]: a range must be finite"):
        calibrate(SOUND, as_set(inputs), method, 99.9)


def test_a_percentile_that_cuts_everything_away_is_not_called_dead() -> None:
    rare = np.zeros_like(NOISE)
    rare[0, 0, 4, 4] = 1
    assert calibrate(SOUND, as_set(rare), "minmax", 99.0)
    with pytest.raises(
        CalibrationError, match=r"at 99 % is .* has no width, though the tensor has values outside it\. "
    ):
        calibrate(SOUND, as_set(rare), "percentile", 99.0)
