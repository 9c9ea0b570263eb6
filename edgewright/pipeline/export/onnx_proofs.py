"""What is proved of an exported ONNX graph, whatever framework it is from."""

from __future__ import annotations

import onnx

from edgewright.errors import StageError

# Shape arithmetic in the graph means that something was traced instead of folded: such files run slower and quantize badly.
_SHAPE_OPERATORS = frozenset({"Shape", "Gather", "Slice", "ConstantOfShape", "Loop", "If", "Expand", "Where"})


def prove_form(proto: onnx.ModelProto, opset: int) -> None:
    """Checks a graph as far as that can be done without running it.

    Args:
        proto: The exported model.
        opset: The operator set that was asked for.

    Raises:
        StageError: One of these does not hold: this operator set and no other, a symbolic batch of inputs and outputs, no
            operator that folding should have removed.
        onnx.checker.ValidationError: It is no valid model.
    """
    onnx.checker.check_model(proto, full_check=True)
    written = {entry.domain: entry.version for entry in proto.opset_import}
    if written != {"": opset}:
        raise StageError(f"export wrote operator sets {written} where only opset {opset} was asked for.")
    for value in (*proto.graph.input, *proto.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if not first.dim_param:
            raise StageError(
                f"export froze the batch of {value.name!r} at {first.dim_value}; a symbolic batch is needed."
            )
    folded_badly = sorted({node.op_type for node in proto.graph.node} & (_SHAPE_OPERATORS | {"Identity", "Constant"}))
    if folded_badly:
        raise StageError(f"export left operators that folding should have removed: {', '.join(folded_badly)}.")


def count_operators(proto: onnx.ModelProto) -> dict[str, int]:
    """Number of nodes by operator type, in the order of the graph."""
    operators: dict[str, int] = {}
    for node in proto.graph.node:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    return operators
