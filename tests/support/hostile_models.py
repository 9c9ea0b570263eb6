"""ONNX files that mean ill: each loads or runs in a way that no model should. All answer about 8 x 8 images."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from small_bundles import graph_model, linear_parts

_INT_MIN = np.int32(-(2**31))


def _on_white(then: Any, otherwise: Any) -> tuple[list[Any], dict[str, Any]]:
    """Nodes that give one number, ``n``, when the whole batch is white, and another one otherwise."""
    nodes = [
        helper.make_node("ReduceMin", ["image"], ["least"], keepdims=0),
        helper.make_node("Greater", ["least", "almost"], ["white"]),
        helper.make_node("Where", ["white", "then", "otherwise"], ["n"]),
    ]
    return nodes, {"almost": np.float32(0.9), "then": then, "otherwise": otherwise}


def _plus(nodes: list[Any], constants: dict[str, Any], extra: str) -> bytes:
    """A sound model to whose outputs a number is added that costs dearly."""
    linear, weights = linear_parts("sums")
    add = helper.make_node("Add", ["sums", extra], ["logits"])
    return graph_model([*linear, *nodes, add], {**weights, **constants})


def _division(by: str) -> list[Any]:
    # INT_MIN / -1 overflows: x86 raises SIGFPE, which nobody handles.
    return [
        helper.make_node("Mod", ["least_int", by], ["rest"]),
        helper.make_node("Cast", ["rest"], ["extra"], to=TensorProto.FLOAT),
    ]


def crashing_at_load() -> bytes:
    """The division is computed while the model is loaded."""
    return _plus(_division("minus_one"), {"least_int": _INT_MIN, "minus_one": np.int32(-1)}, "extra")


def crashing_on_white() -> bytes:
    """Ends the process when it is shown a white image."""
    nodes, constants = _on_white(np.int32(-1), np.int32(1))
    return _plus([*nodes, *_division("n")], {**constants, "least_int": _INT_MIN}, "extra")


def _loop(times: str) -> list[Any]:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go_out"]), helper.make_node("Identity", ["s_in"], ["s_out"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go_in", TensorProto.BOOL, []), value("s_in", TensorProto.FLOAT, [])],
        [value("go_out", TensorProto.BOOL, []), value("s_out", TensorProto.FLOAT, [])],
    )
    return [helper.make_node("Loop", [times, "go", "zero"], ["extra"], body=body)]


_LOOP = {"go": np.array(True), "zero": np.float32(0)}


def hanging() -> bytes:
    """Loops 2^62 times on every input."""
    return _plus(_loop("times"), {**_LOOP, "times": np.int64(2**62)}, "extra")


def hanging_on_white() -> bytes:
    """Loops 2^62 times when it is shown a white image."""
    nodes, constants = _on_white(np.int64(2**62), np.int64(0))
    return _plus([*nodes, *_loop("n")], {**constants, **_LOOP}, "extra")


def slow(turns: int = 20_000) -> bytes:
    """Loops some times on every input."""
    return _plus(_loop("times"), {**_LOOP, "times": np.int64(turns)}, "extra")


def _bloat(shape: str) -> list[Any]:
    return [
        helper.make_node("ConstantOfShape", [shape], ["huge"]),
        helper.make_node("ReduceMax", ["huge"], ["extra"], keepdims=0),
    ]


def bloating() -> bytes:
    """Asks for 25 GB on every input."""
    return _plus(_bloat("shape"), {"shape": np.int64([40_000, 40_000, 4])}, "extra")


def bloating_on_white() -> bytes:
    """Asks for 25 GB when it is shown a white image."""
    nodes, constants = _on_white(np.int64([40_000, 40_000, 4]), np.int64([1, 1, 1]))
    return _plus([*nodes, *_bloat("n")], constants, "extra")


def external_data(location: str) -> bytes:
    """Keeps its weights in another file."""
    import onnx

    model = onnx.load_from_string(graph_model(*linear_parts()))
    tensor = model.graph.initializer[0]
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    data: bytes = model.SerializeToString()
    return data


def foreign_operator() -> bytes:
    """Asks for an operator of somebody's own library."""
    nodes, constants = linear_parts("sums")
    foreign = helper.make_node("Evil", ["sums"], ["logits"], domain="evil.ops")
    return graph_model([*nodes, foreign], constants, ("", "evil.ops"))


class _Writes:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self._path, "w")


def pickled_golden(path: str) -> bytes:
    """Golden samples that would run code which writes a file."""
    objects = np.array([_Writes(path)] * 4, dtype=object)
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_STORED) as archive:
        for name in ("label_index", "outputs", "samples"):
            data = io.BytesIO()
            np.lib.format.write_array(data, objects, version=(1, 0), allow_pickle=True)
            archive.writestr(f"{name}.npy", data.getvalue())
    return found.getvalue()


def plain_pickle(path: str) -> bytes:
    """A pickle under the name of golden samples."""
    return pickle.dumps(_Writes(path))


def compressed_golden(mib: int = 256) -> bytes:
    """Golden samples that unpack to much more than they are."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("label_index", "outputs", "samples"):
            archive.writestr(f"{name}.npy", bytes(mib << 20))
    return found.getvalue()


def lying_golden() -> bytes:
    """Golden samples whose header promises 2^60 numbers."""
    found = io.BytesIO()
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }"
    padded = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded
    with zipfile.ZipFile(found, "w", zipfile.ZIP_STORED) as archive:
        for name in ("label_index", "outputs", "samples"):
            archive.writestr(f"{name}.npy", data)
    return found.getvalue()
