"""Float16: half the size with float32 at both ends; what float16 cannot hold is refused by the name of its node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import StageError
from edgewright.pipeline.quantization.float16 import convert_to_float16

FloatOnnx = Callable[[int], bytes]


@pytest.mark.parametrize("opset", [13, 18])
def test_it_answers_like_the_float_model_at_half_the_size(float_onnx: FloatOnnx, some_digits: Any, opset: int) -> None:
    content = float_onnx(opset)
    converted = convert_to_float16(content)
    assert (converted.quantized_operators, converted.float_operators) == (10, 0)
    held_out = some_digits.inputs[800:]
    exact, rounded = (
        open_engine("onnxruntime", each, EngineSettings()).run(held_out) for each in (content, converted.content)
    )
    assert rounded.dtype == np.float32
    assert (exact.argmax(1) == rounded.argmax(1)).mean() > 0.99
    assert len(converted.content) < 0.62 * len(content)


def test_input_output_and_operator_set_stay_what_they_were(float_onnx: FloatOnnx) -> None:
    before, after = (
        onnx.load_from_string(each) for each in (float_onnx(18), convert_to_float16(float_onnx(18)).content)
    )
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output
    assert after.ir_version == before.ir_version
    assert after.opset_import == before.opset_import


def test_no_weight_stays_in_float32_and_the_same_bytes_come_again(float_onnx: FloatOnnx) -> None:
    first, second = (convert_to_float16(float_onnx(18)) for _ in range(2))
    assert first == second
    stored = {tensor.data_type for tensor in onnx.load_from_string(first.content).graph.initializer}
    assert TensorProto.FLOAT not in stored


def dense(weight: float) -> bytes:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])
    values = np.ones((4, 2), np.float32)
    values[2, 1] = weight
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="head")
    graph = helper.make_graph([node], "g", [image], [scores], [numpy_helper.from_array(values, "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = made.SerializeToString()
    return content


@pytest.mark.parametrize("weight", [1e5, -7e4, np.inf, np.nan])
def test_a_weight_that_float16_cannot_hold_is_refused_and_not_clamped(weight: float) -> None:
    with pytest.raises(
        StageError,
        match=r"node 'head' \(MatMul\): 1 of 8 weights in 'w' are not finite in float16 \(first: .*ends at 65504",
    ):
        convert_to_float16(dense(weight))
    assert convert_to_float16(dense(65504.0)).quantized_operators == 1


def test_a_model_in_which_nothing_computes_is_refused() -> None:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="r")], "g", [image], [scores])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(StageError, match="left every Conv, Gemm and MatMul in float32; such a file only runs slower"):
        convert_to_float16(made.SerializeToString())


@pytest.mark.parametrize("content", [b"", b"no model at all"], ids=["empty", "text"])
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    with pytest.raises(StageError, match="float16"):
        convert_to_float16(content)
