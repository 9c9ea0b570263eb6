"""What every conversion to fewer bits gives, and what all of them clean up after their tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


COMPUTE_OPERATORS = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True)
class QuantizedModel:
    """A model file with fewer bits than float32.

    Attributes:
        content: The file's bytes.
        quantized_operators: Compute operators (convolutions and matrix products) that run on fewer bits.
        float_operators: Compute operators that stayed in float32.
    """

    content: bytes
    quantized_operators: int
    float_operators: int


def cleaned(model: onnx.ModelProto, original: onnx.ModelProto) -> bytes:
    """Takes back what the tools stamp on a file, checks it, and gives its bytes.

    The tools name every operator set that they know and their own format version. A runtime that is as old as the opset
    asked for refuses a file for such stamps, although it could run every node.
    """
    import onnx

    keep_format(model, original)
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def keep_format(model: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """Gives a model the format version of the original, and only the operator sets that its nodes use."""
    model.ir_version = original.ir_version
    used = {node.domain for node in model.graph.node}
    needed = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(needed)
