"""INT8 files: the target's integer types are really in them, per channel, and an old runtime can still read them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import StageError
from edgewright.pipeline.activations import observe
from edgewright.pipeline.calibration import Ranges, estimate_ranges
from edgewright.pipeline.calibration_set import in_batches
from edgewright.pipeline.quantization.model import QuantizedModel
from edgewright.pipeline.quantization.onnx import prepare_for_quantization, quantize_static
from edgewright.pipeline.targets import IntegerType

CODES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
FloatOnnx = Callable[[int], bytes]
Quantize = Callable[..., QuantizedModel]


@pytest.fixture(scope="module")
def quantize(float_onnx: FloatOnnx, some_digits: Any) -> Quantize:
    """Quantize the trained model with ranges from 64 digits."""
    inputs = some_digits.inputs[:64]
    prepared, ranges = {}, {}

    def make(
        opset: int = 13, activation: IntegerType = "uint8", weight: IntegerType = "int8", per_channel: bool = True
    ) -> QuantizedModel:
        if opset not in prepared:
            prepared[opset] = prepare_for_quantization(float_onnx(opset))
            seen = observe(prepared[opset], in_batches(inputs, range(64), lambda part: part))
            ranges[opset] = estimate_ranges(seen, "minmax", 99.9)
        return quantize_static(prepared[opset], ranges[opset], activation, weight, per_channel)

    return make


def zero_point_types(content: bytes) -> tuple[set[int], set[int]]:
    """Types of the zero points of activations and of weights, as the file's nodes use them."""
    graph = onnx.load_from_string(content).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    activations = {constants[node.input[2]].data_type for node in graph.node if node.op_type == "QuantizeLinear"}
    weights = {
        constants[node.input[0]].data_type
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    return activations, weights - {TensorProto.INT32}  # biases


@pytest.mark.parametrize(("activation", "weight"), [("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8")])
def test_the_targets_types_are_really_in_the_file(
    quantize: Quantize, activation: IntegerType, weight: IntegerType
) -> None:
    quantized = quantize(activation=activation, weight=weight)
    assert zero_point_types(quantized.content) == ({CODES[activation]}, {CODES[weight]})
    assert (quantized.quantized_operators, quantized.float_operators) == (10, 0)


def test_weights_have_one_scale_per_output_channel(quantize: Quantize) -> None:
    def scales(content: bytes) -> list[tuple[int, ...]]:
        """Shapes of the scales of convolution weights."""
        graph = onnx.load_from_string(content).graph
        constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        nodes = [node for node in graph.node if len(constants.get(node.input[0], ())) == 4]
        return sorted(constants[node.input[1]] for node in nodes)

    assert scales(quantize().content) == [(8,)] * 6 + [(16,)] * 3
    assert scales(quantize(per_channel=False).content) == [()] * 9


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("activation", ["uint8", "int8"])
def test_it_still_answers_like_the_float_model_and_is_smaller(
    quantize: Quantize, float_onnx: FloatOnnx, some_digits: Any, opset: int, activation: IntegerType
) -> None:
    held_out = some_digits.inputs[800:]
    content = quantize(opset, activation).content
    answers = [
        open_engine("onnxruntime", model, EngineSettings()).run(held_out).argmax(1)
        for model in (float_onnx(opset), content)
    ]
    assert (answers[0] == answers[1]).mean() > 0.95
    assert len(content) < len(float_onnx(opset))


@pytest.mark.parametrize("opset", [13, 18])
def test_the_file_asks_for_no_newer_runtime_than_the_float_file(
    quantize: Quantize, float_onnx: FloatOnnx, opset: int
) -> None:
    """The tools stamp every operator set they know on a file; older runtimes refuse it for that alone."""
    before, after = onnx.load_from_string(float_onnx(opset)), onnx.load_from_string(quantize(opset).content)
    assert [(entry.domain, entry.version) for entry in after.opset_import] == [("", opset)]
    assert after.ir_version == before.ir_version


def test_the_same_model_and_ranges_give_the_same_bytes(quantize: Quantize) -> None:
    assert quantize().content == quantize().content
    assert b"/tmp" not in quantize().content


def test_input_and_output_stay_what_they_were(quantize: Quantize, float_onnx: FloatOnnx) -> None:
    before, after = onnx.load_from_string(float_onnx(13)), onnx.load_from_string(quantize().content)
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output


def test_the_root_loggers_level_is_given_back(quantize: Quantize) -> None:
    before = logging.getLogger().level
    quantize()
    assert logging.getLogger().level == before


# --- what is refused ----------------------------------------------------------------------------------------------


def test_a_pair_of_types_without_kernels_is_refused(quantize: Quantize) -> None:
    with pytest.raises(StageError, match=r"INT8 quantization failed: ValueError: .*QInt8.*QUInt8"):
        quantize(activation="int8", weight="uint8")


def test_a_model_in_which_nothing_can_be_quantized_is_refused() -> None:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [image], [scores])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    ranges = Ranges("minmax", {"x": (-1.0, 1.0), "y": (0.0, 1.0)})
    with pytest.raises(StageError, match="left every Conv, Gemm and MatMul in float; such a file only runs slower"):
        quantize_static(prepare_for_quantization(model.SerializeToString()), ranges, "uint8", "int8", True)


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x08\x07"], ids=["empty", "text", "header"])
def test_bytes_that_are_no_model_cannot_be_prepared(content: bytes) -> None:
    with pytest.raises(StageError, match="the float model cannot be prepared for INT8"):
        prepare_for_quantization(content)


def test_a_missing_range_is_an_error_and_not_a_guess(float_onnx: FloatOnnx) -> None:
    prepared = prepare_for_quantization(float_onnx(13))
    with pytest.raises(StageError, match="INT8 quantization failed"):
        quantize_static(prepared, Ranges("minmax", {"image": (0.0, 1.0)}), "uint8", "int8", True)


def test_weights_are_rounded_to_their_own_scale(quantize: Quantize, float_onnx: FloatOnnx) -> None:
    """Each channel's largest weight uses the whole range of the integer type."""
    graph = onnx.load_from_string(quantize().content).graph
    stored = [numpy_helper.to_array(tensor) for tensor in graph.initializer if len(tensor.dims) == 4]
    for weights in stored:
        assert weights.dtype == np.int8
        assert (np.abs(weights.astype(int)).max(axis=(1, 2, 3)) == 127).all()
