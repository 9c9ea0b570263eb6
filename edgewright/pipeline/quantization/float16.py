"""Conversion of ONNX models to float16: half the size; input and output stay float32.

Float16 ends at 65,504. The tools silently clamp what lies beyond; here it is refused, by the name of the node.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgewright.errors import StageError
from edgewright.pipeline.quantization.model import COMPUTE_OPERATORS, QuantizedModel, cleaned


def convert_to_float16(content: bytes) -> QuantizedModel:
    """Converts weights and operators of a float model to float16.

    Raises:
        StageError: A weight is not finite in float16, the converter failed, or no compute operator was converted.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    try:
        original = onnx.load_model_from_string(content)
        onnx.checker.check_model(original)
    except Exception as error:
        raise StageError(f"the float model cannot be converted to float16: {error}") from error
    _refuse_what_does_not_fit(original)
    try:
        model = convert_float_to_float16(onnx.load_model_from_string(content), keep_io_types=True)
        # The converter puts its casts at the end; ONNX wants every node after those that it reads.
        OnnxModel.graph_topological_sort(model.graph)
    except Exception as error:
        raise StageError(f"conversion to float16 failed: {type(error).__name__}: {error}") from error
    half, full = _count_compute(model)
    if half == 0:
        raise StageError(
            "conversion to float16 left every Conv, Gemm and MatMul in float32; such a file only runs slower. "
            "Leave this variant out."
        )
    return QuantizedModel(cleaned(model, original), half, full)


def _refuse_what_does_not_fit(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            broken = ~np.isfinite(values.astype(np.float16))
        if broken.any():
            user = next((node for node in model.graph.node if tensor.name in node.input), None)
            place = f"node {user.name or tensor.name!r} ({user.op_type})" if user else f"tensor {tensor.name!r}"
            raise StageError(
                f"{place}: {int(broken.sum())} of {values.size} weights in {tensor.name!r} are not finite in float16 (first: "
                f"{values[broken].flat[0]:g}; float16 ends at 65504). Train with more weight decay, or leave float16 out."
            )


def _count_compute(model: onnx.ModelProto) -> tuple[int, int]:
    """Compute operators in float16 and in float32, told by their weights and by what the casts in front of them give."""
    half = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    half |= {value.name for value in model.graph.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    compute = [node for node in model.graph.node if node.op_type in COMPUTE_OPERATORS]
    converted = sum(node.input[0] in half or node.input[1] in half for node in compute)
    return converted, len(compute) - converted
