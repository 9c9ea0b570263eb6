"""Cleaning graphs from tf2onnx, on graphs made by hand: shapes settle, dense layers take in, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.errors import StageError
from edgewright.pipeline.export.onnx_cleanup import clean_up

SAMPLES = np.random.default_rng(3).normal(size=(5, 2, 1, 3)).astype(np.float32)
WEIGHTS = np.random.default_rng(4).normal(size=(6, 4)).astype(np.float32)
SCALE, SHIFT = np.array([1, 2, 3, 4], np.float32), np.array([0.5, 0, -0.5, 1], np.float32)
FLAT = numpy_helper.from_array(np.array([-1, 6], np.int64), "flat")


def constant(name: str, values: npt.NDArray[np.float32]) -> onnx.TensorProto:
    return numpy_helper.from_array(values, name)


def graph(
    nodes: Sequence[onnx.NodeProto], *constants: onnx.TensorProto, output: Sequence[int] = (4,)
) -> onnx.ModelProto:
    """A graph from ``image`` to ``scores``, as tf2onnx writes them: nameless batches, another operator set besides."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["unk__1", 2, 1, 3])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["unk__2", *output])
    made = helper.make_graph(list(nodes), "tf2onnx", [image], [scores], list(constants), doc_string="of 12:30")
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(made, opset_imports=opsets, ir_version=11)


def node(operator: str, inputs: str, output: str, **attributes: int) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], name=output.removesuffix(":0"), **attributes)


def answers(model: onnx.ModelProto) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: npt.NDArray[np.float32] = session.run(None, {"image": SAMPLES})[0]
    return found


def operators(model: onnx.ModelProto) -> list[str]:
    return [each.op_type for each in model.graph.node]


NORMED = (
    node("Reshape", "image flat", "net/flat__7:0"),
    node("MatMul", "net/flat__7:0 weights", "net/dense/MatMul:0"),
    node("Mul", "net/dense/MatMul:0 scale", "net/norm/mul:0"),
    node("Add", "net/norm/mul:0 shift", "scores"),
)
CONSTANTS = (FLAT, constant("weights", WEIGHTS), constant("scale", SCALE), constant("shift", SHIFT))


def test_a_norm_behind_a_dense_layer_goes_into_its_constants() -> None:
    model = graph(NORMED, *CONSTANTS)
    cleaned = clean_up(graph(NORMED, *CONSTANTS), SAMPLES, 18)
    assert operators(cleaned) == ["Reshape", "Gemm"]
    np.testing.assert_allclose(answers(cleaned), answers(model), atol=1e-5)


def test_constants_that_others_share_stay_what_they_were() -> None:
    """Two layers that begin with equal values: tf2onnx stores them once."""
    second = (
        *(node("MatMul", "net/flat__7:0 weights", "a:0"), node("Mul", "a:0 scale", "b:0")),
        node("Relu", "net/flat__7:0", "r:0"),
        *(node("MatMul", "r:0 weights", "c:0"), node("Mul", "c:0 shift", "d:0")),
        node("Add", "b:0 d:0", "scores"),
    )
    model = graph((NORMED[0], *second), *CONSTANTS)
    cleaned = clean_up(graph((NORMED[0], *second), *CONSTANTS), SAMPLES, 18)
    assert operators(cleaned).count("Mul") == 0
    np.testing.assert_allclose(answers(cleaned), answers(model), atol=1e-5)


def test_what_is_used_twice_is_not_merged() -> None:
    twice = (*NORMED[:3], node("Add", "net/norm/mul:0 net/dense/MatMul:0", "scores"))
    model = graph(twice, *CONSTANTS)
    cleaned = clean_up(graph(twice, *CONSTANTS), SAMPLES, 18)
    assert "Mul" in operators(cleaned)
    np.testing.assert_allclose(answers(cleaned), answers(model), atol=1e-5)


def test_a_shape_that_asks_for_the_batch_becomes_a_constant() -> None:
    asking = (
        node("Shape", "image", "shape:0"),
        node("Gather", "shape:0 first", "size:0", axis=0),
        node("Concat", "size:0 six", "wanted:0", axis=0),
        node("Reshape", "image wanted:0", "flat:0"),
        node("MatMul", "flat:0 weights", "scores"),
    )
    numbers = [numpy_helper.from_array(np.array([each], np.int64), name) for name, each in (("first", 0), ("six", 6))]
    model = graph(asking, *numbers, CONSTANTS[1])
    cleaned = clean_up(graph(asking, *numbers, CONSTANTS[1]), SAMPLES, 18)
    assert operators(cleaned) == ["Reshape", "MatMul"]
    shape = next(each for each in cleaned.graph.initializer if each.name == cleaned.graph.node[0].input[1])
    assert numpy_helper.to_array(shape).tolist() == [-1, 6]
    np.testing.assert_allclose(answers(cleaned), answers(model), atol=1e-6)


def test_a_reshape_that_changes_nothing_goes() -> None:
    same = numpy_helper.from_array(np.array([-1, 2, 1, 3], np.int64), "same")
    useless = (
        node("Reshape", "image same", "same:0"),
        node("Reshape", "same:0 flat", "flat:0"),
        node("MatMul", "flat:0 weights", "scores"),
    )
    assert operators(clean_up(graph(useless, same, *CONSTANTS), SAMPLES, 18)) == ["Reshape", "MatMul"]


@pytest.mark.parametrize(("opset", "ir_version"), [(13, 7), (17, 8), (21, 10)])
def test_only_the_opset_asked_for_in_the_oldest_format_that_knows_it(opset: int, ir_version: int) -> None:
    cleaned = clean_up(graph(NORMED, *CONSTANTS), SAMPLES, opset)
    assert [(entry.domain, entry.version) for entry in cleaned.opset_import] == [("", opset)]
    assert cleaned.ir_version == ir_version
    assert cleaned.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_names_and_order_depend_on_nothing_but_the_graph() -> None:
    """Counts in names, the order of nodes and of constants, and when it was made: none of them is in the bytes."""
    first = clean_up(graph(NORMED, *CONSTANTS), SAMPLES, 18)
    other = [onnx.NodeProto.FromString(each.SerializeToString()) for each in NORMED]
    other[0].output[0] = other[1].input[0] = "net/flat__1234:0"
    second = graph(other, *reversed(CONSTANTS))
    second.graph.doc_string = "of 14:45"
    assert clean_up(second, SAMPLES, 18).SerializeToString(deterministic=True) == first.SerializeToString(
        deterministic=True
    )
    assert [each.name for each in first.graph.node] == ["Reshape", "scores"]


def test_an_operator_of_tensorflow_is_refused_by_name() -> None:
    foreign = (node("Reshape", "image flat", "f:0"), node("Lgamma", "f:0", "net/gamma/Lgamma:0"), *NORMED[1:])
    message = r"^ONNX has no operator for TensorFlow's Lgamma \(node 'net/gamma/Lgamma'\)\. Replace the layers"
    with pytest.raises(StageError, match=message):
        clean_up(graph(foreign, *CONSTANTS), SAMPLES, 18)


def test_an_output_of_unknown_shape_is_refused() -> None:
    model = graph(NORMED, *CONSTANTS)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(StageError, match=r"^the shape of 'scores' depends on values\. Take arithmetic on shapes"):
        clean_up(model, SAMPLES, 18)
