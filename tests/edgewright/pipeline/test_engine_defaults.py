"""What ONNX Runtime makes of a model when nothing is said, held against its own words for the same thing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import StageError
from edgewright.pipeline.engine_defaults import DYNAMIC, STATIC, _quantized, methods_for


def tensors(model: onnx.ModelProto, operator: str, place: int) -> list[np.ndarray[Any, Any]]:
    """The constants at one input of all nodes of an operator."""
    by_name = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return [by_name[node.input[place]] for node in model.graph.node if node.op_type == operator]


def test_the_dynamic_default_is_for_networks_of_matrix_products_alone(zoo: Any) -> None:
    assert methods_for(zoo.float32("mlp")) == (STATIC, DYNAMIC)
    assert methods_for(zoo.float32("cnn")) == (STATIC,)


def test_the_static_default_is_signed_and_per_tensor(zoo: Any) -> None:
    samples = zoo.preprocessing.apply(zoo.raw[:40])
    model = onnx.load_model_from_string(_quantized(zoo.float32("cnn"), samples))
    operators = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= operators
    assert not {"QLinearConv", "ConvInteger"} & operators
    assert {zero.dtype for zero in tensors(model, "QuantizeLinear", 2)} == {np.dtype(np.int8)}
    assert all(scale.size == 1 for scale in tensors(model, "DequantizeLinear", 1)), "one scale per tensor"
    weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer if len(tensor.dims) >= 2]
    assert {weight.dtype for weight in weights} == {np.dtype(np.int8)}


def test_the_static_default_takes_ranges_from_the_smallest_and_largest_value_of_all_samples(zoo: Any) -> None:
    samples = zoo.preprocessing.apply(zoo.raw[:40])
    model = onnx.load_model_from_string(_quantized(zoo.float32("cnn"), samples))
    of_the_input = next(node for node in model.graph.node if "image" in node.input)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    expected = (max(float(samples.max()), 0.0) - min(float(samples.min()), 0.0)) / 255
    assert float(constants[of_the_input.input[1]]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("architecture", "static"), [("cnn", True), ("mlp", True), ("mlp", False)])
def test_what_comes_out_still_reads_digits(zoo: Any, architecture: str, static: bool) -> None:
    model = zoo.float32(architecture)
    content = _quantized(model, zoo.preprocessing.apply(zoo.raw[:40]) if static else None)
    engine = open_engine("onnxruntime", content, EngineSettings())
    answered = engine.run(zoo.preprocessing.apply(zoo.raw[:300])).argmax(axis=1)
    assert np.mean(answered == zoo.truth[:300]) > 0.85
    assert len(content) < 0.5 * len(model)


def test_what_the_quantizer_trips_over_becomes_one_error() -> None:
    node = onnx.helper.make_node("Identity", ["image"], ["scores"])
    shape = onnx.helper.make_tensor_value_info("image", 1, ["batch", 9])
    graph = onnx.helper.make_graph(
        [node], "g", [shape], [onnx.helper.make_tensor_value_info("scores", 1, ["batch", 9])]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(StageError, match="quantize_static with its defaults failed: "):
        _quantized(model.SerializeToString(), np.ones((1, 7), np.float32))
