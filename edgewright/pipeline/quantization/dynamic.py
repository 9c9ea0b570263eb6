"""Dynamic INT8 quantization of ONNX models: weights become integers, activations at every inference.

There is nothing to calibrate: every inference finds the ranges of its own activations, which costs time. Only matrix
products (MatMul, Gemm) are converted: the engine's integer convolution without calibrated ranges is slower than float.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from edgewright.errors import StageError
from edgewright.pipeline.quantization.model import COMPUTE_OPERATORS, QuantizedModel, cleaned
from edgewright.pipeline.quantization.onnx import quiet_root_logger
from edgewright.pipeline.targets import IntegerType

# What DynamicQuantizeLinear gives; ONNX defines no other.
DYNAMIC_ACTIVATION_TYPE: IntegerType = "uint8"


def quantize_dynamic(prepared: onnx.ModelProto, weight_type: IntegerType, per_channel: bool) -> QuantizedModel:
    """Quantizes the matrix products of a prepared float model.

    Args:
        prepared: From ``prepare_for_quantization``.
        weight_type: Integer type of weights; activations are uint8.
        per_channel: One scale per output channel of the weights.

    Raises:
        StageError: The quantizer failed, or the model has no matrix product with constant weights.
    """
    import onnxruntime.quantization as ort

    types = {"uint8": ort.QuantType.QUInt8, "int8": ort.QuantType.QInt8}
    copy = onnx.ModelProto()
    copy.CopyFrom(prepared)
    # The quantizer transposes the weights of a Gemm and then trips over the shapes that were inferred before.
    del copy.graph.value_info[:]
    with tempfile.TemporaryDirectory() as scratch, quiet_root_logger():
        result = Path(scratch) / "dynamic.onnx"
        try:
            ort.quantize_dynamic(
                copy,
                result,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=per_channel,
                weight_type=types[weight_type],
            )
        except Exception as error:
            raise StageError(f"dynamic INT8 quantization failed: {type(error).__name__}: {error}") from error
        model = onnx.load(result)
    content = cleaned(model, prepared)
    operators = [node.op_type for node in model.graph.node]
    quantized = operators.count("MatMulInteger")
    if quantized == 0:
        found = sorted({node.op_type for node in prepared.graph.node} & COMPUTE_OPERATORS)
        raise StageError(
            "dynamic INT8 converts matrix products (MatMul, Gemm) with constant weights, and this network has none: its "
            f"compute operators are {', '.join(found) or 'none'}. Quantize it with method: static."
        )
    return QuantizedModel(content, quantized, sum(operator in COMPUTE_OPERATORS for operator in operators))
