"""Dynamic INT8: matrix products run on integers without a calibration, and a network without any is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import StageError
from edgewright.pipeline.quantization.dynamic import quantize_dynamic
from edgewright.pipeline.quantization.onnx import prepare_for_quantization
from edgewright.pipeline.targets import IntegerType

CODES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
DRAW = np.random.default_rng(0)


def dense(operator: str) -> bytes:
    """Two layers of 64 and 10 from ``[batch, 16, 1, 1]``, as Gemm with transposed weights or as MatMul and Add."""
    weights = [DRAW.standard_normal(shape).astype(np.float32) for shape in ((16, 64), (64, 10))]
    biases = [DRAW.standard_normal(size).astype(np.float32) for size in (64, 10)]
    constants, nodes, at = [], [helper.make_node("Flatten", ["x"], ["t0"], name="flat")], "t0"
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        out = "y" if number else "h"
        stored = weight.T.copy() if operator == "Gemm" else weight
        constants += [numpy_helper.from_array(stored, f"w{number}"), numpy_helper.from_array(bias, f"b{number}")]
        if operator == "Gemm":
            nodes.append(helper.make_node("Gemm", [at, f"w{number}", f"b{number}"], [out], name=f"g{number}", transB=1))
        else:
            nodes.append(helper.make_node("MatMul", [at, f"w{number}"], [f"m{number}"], name=f"m{number}"))
            nodes.append(helper.make_node("Add", [f"m{number}", f"b{number}"], [out], name=f"a{number}"))
        at = out
        if not number:
            nodes.append(helper.make_node("Relu", ["h"], ["r"], name="relu"))
            at = "r"
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16, 1, 1])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "g", [image], [scores], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = made.SerializeToString()
    return content


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
@pytest.mark.parametrize("weight", ["int8", "uint8"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_matrix_products_become_integer_ones_and_answer_nearly_the_same(
    operator: str, weight: IntegerType, per_channel: bool
) -> None:
    content = dense(operator)
    quantized = quantize_dynamic(prepare_for_quantization(content), weight, per_channel)
    assert (quantized.quantized_operators, quantized.float_operators) == (2, 0)
    inputs = DRAW.standard_normal((200, 16, 1, 1)).astype(np.float32)
    exact, rounded = (
        open_engine("onnxruntime", each, EngineSettings()).run(inputs) for each in (content, quantized.content)
    )
    assert np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()
    assert not np.array_equal(exact, rounded)
    stored = Counter(
        tensor.data_type
        for tensor in onnx.load_from_string(quantized.content).graph.initializer
        if len(tensor.dims) == 2
    )
    assert stored == {CODES[weight]: 2}


def test_a_convolution_stays_in_float(float_onnx: Callable[[int], bytes]) -> None:
    quantized = quantize_dynamic(prepare_for_quantization(float_onnx(18)), "int8", True)
    assert (quantized.quantized_operators, quantized.float_operators) == (1, 9)
    made = onnx.load_from_string(quantized.content)
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", 18)]
    assert made.graph.input == onnx.load_from_string(float_onnx(18)).graph.input


def test_the_prepared_model_is_left_as_it_was_and_the_same_bytes_come_again() -> None:
    prepared = prepare_for_quantization(dense("Gemm"))
    before = prepared.SerializeToString(deterministic=True)
    first, second = (quantize_dynamic(prepared, "int8", True) for _ in range(2))
    assert first == second
    assert prepared.SerializeToString(deterministic=True) == before


def test_a_network_without_a_matrix_product_is_refused() -> None:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, 6, 6])
    weights = numpy_helper.from_array(DRAW.standard_normal((4, 1, 3, 3)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="c")], "g", [image], [scores], [weights]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(StageError, match=r"has none: its compute operators are Conv\. Quantize it with method: static"):
        quantize_dynamic(prepare_for_quantization(made.SerializeToString()), "int8", True)
