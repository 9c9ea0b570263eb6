"""What an ONNX file drags in, read from its bytes without loading it.

ONNX Runtime 1.31 opens a model that was given as bytes and still reads external data from the *current folder* (older
ones refused all external data). A bundle's digest would then no longer cover the weights. So the file is walked first:
the protobuf wire format is simple, tensors' contents are skipped by their length, and a small model takes 0.3 ms. (The
`onnx` package would be one more thing to install on a device, and 13 MiB of its memory.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgewright.errors import EngineError

# Message -> field number -> message of the field (onnx.proto3). Only the ways that lead to a tensor or to a node.
_CHILDREN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_NODE_DOMAIN, _FUNCTION_DOMAIN = 7, 10
_TENSOR_NAME, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 8, 13, 14
_MAX_DEPTH = 100  # protobuf's own limit; the engine could not load deeper files either


@dataclass(frozen=True)
class OnnxScan:
    """What was found.

    Attributes:
        external_tensors: Names of tensors whose contents are not in the file.
        node_domains: Operator domains that nodes use; ``""`` is ONNX's own.
        function_domains: Domains for which the file brings functions of its own.
    """

    external_tensors: tuple[str, ...]
    node_domains: frozenset[str]
    function_domains: frozenset[str]


def scan_onnx(model: bytes) -> OnnxScan:
    """Walk an ONNX file.

    Raises:
        EngineError: The bytes are not a protobuf message, or nest too deeply.
    """
    external: list[str] = []
    domains: set[str] = set()
    functions: set[str] = set()
    pending: list[tuple[str, int, int, int]] = [("model", 0, len(model), 0)]
    while pending:
        kind, start, end, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise EngineError(f"the model nests more than {_MAX_DEPTH} messages: it is corrupt or hostile.")
        name, is_external, domain = "", False, ""
        for number, wire, at, until in _fields(model, start, end):
            child = _CHILDREN[kind].get(number)
            if child is not None and wire == 2:
                pending.append((child, at, until, depth + 1))
            elif kind == "tensor" and number == _TENSOR_NAME:
                name = _text(model, at, until)
            elif kind == "tensor" and number == _TENSOR_EXTERNAL:
                is_external = True
            elif kind == "tensor" and number == _TENSOR_LOCATION and wire == 0:
                is_external = is_external or model[at] != 0
            elif (kind, number) in (("node", _NODE_DOMAIN), ("function", _FUNCTION_DOMAIN)):
                domain = _text(model, at, until)
        if kind == "node":
            domains.add(domain)
        elif kind == "function":
            functions.add(domain)
        elif is_external:
            external.append(name)
    return OnnxScan(tuple(sorted(external)), frozenset(domains), frozenset(functions))


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, wire type, start, end of the contents) of one message."""
    while at < end:
        key, at = _varint(data, at, end)
        wire = key & 7
        if wire == 0:
            _, until = _varint(data, at, end)
        elif wire == 1:
            until = at + 8
        elif wire == 2:
            length, at = _varint(data, at, end)
            until = at + length
        elif wire == 5:
            until = at + 4
        else:
            raise EngineError(f"the model is not an ONNX file (wire type {wire} at byte {at}): it is corrupt.")
        if until > end:
            raise EngineError(f"the model is truncated or corrupt: byte {at} promises {until - end} bytes too many.")
        yield key >> 3, wire, at, until
        at = until


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise EngineError(f"the model is not an ONNX file (broken number at byte {at}): it is truncated or corrupt.")


def _text(data: bytes, at: int, until: int) -> str:
    return data[at:until].decode("utf-8", errors="replace")
