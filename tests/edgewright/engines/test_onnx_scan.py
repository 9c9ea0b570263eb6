from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgewright.engines.onnx_scan import scan_onnx
from edgewright.errors import EngineError


def external(name: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "w.bin"
    return tensor


def model(*nodes: Any, initializers: Any = (), functions: Any = ()) -> bytes:
    graph = helper.make_graph(list(nodes), "g", [], [], list(initializers))
    data: bytes = helper.make_model(graph, functions=list(functions)).SerializeToString()
    return data


def test_a_plain_model_has_its_own_domain_and_nothing_outside(zoo: Any) -> None:
    found = scan_onnx(zoo.int8("mlp"))
    assert found.external_tensors == ()
    assert found.node_domains == {""}


def test_external_initializers_are_found() -> None:
    assert scan_onnx(model(initializers=[external("w")])).external_tensors == ("w",)


def test_either_mark_of_external_data_suffices() -> None:
    location_only, entry_only = external("location"), external("entry")
    location_only.ClearField("external_data")
    entry_only.ClearField("data_location")
    found = scan_onnx(model(initializers=[location_only, entry_only]))
    assert found.external_tensors == ("entry", "location")


def test_external_tensors_are_found_wherever_a_tensor_may_stand() -> None:
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=external("deep"))], "inner", [], [])
    loop = helper.make_node("Loop", ["a", "b"], ["c"], body=inner)
    function = helper.make_function(
        "f", "Inside", [], ["c"], [helper.make_node("Constant", [], ["c"], value=external("in function"))], []
    )
    found = scan_onnx(model(loop, functions=[function]))
    assert found.external_tensors == ("deep", "in function")
    assert found.function_domains == {"f"}


def test_domains_are_found_in_inner_graphs_too() -> None:
    inner = helper.make_graph([helper.make_node("Evil", [], ["c"], domain="evil.ops")], "inner", [], [])
    assert "evil.ops" in scan_onnx(model(helper.make_node("If", ["a"], ["c"], then_branch=inner))).node_domains


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_scanned_or_refused(data: bytes) -> None:
    try:
        scan_onnx(data)
    except EngineError as error:
        assert "corrupt" in str(error) or "hostile" in str(error)


@given(st.integers(0, 10**6))
def test_truncated_models_are_refused_or_shorter(cut: int) -> None:
    data = model(helper.make_node("Relu", ["a"], ["b"]), initializers=[external("w")])
    try:
        scan_onnx(data[: cut % len(data)])
    except EngineError as error:
        assert "truncated or corrupt" in str(error)


def test_endless_nesting_is_refused() -> None:
    data = b""
    for _ in range(120):  # attribute.g in node.attribute in graph.node, over and over
        for key in (0x32, 0x2A, 0x0A):
            data = bytes([key]) + _length(len(data)) + data
    data = b"\x3a" + _length(len(data)) + data
    with pytest.raises(EngineError, match="nests more than 100"):
        scan_onnx(data)


def _length(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
