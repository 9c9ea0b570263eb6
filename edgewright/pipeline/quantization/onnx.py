"""Static INT8 quantization of ONNX models: QDQ, per-channel weights, calibrated ranges, integer types of the target.

The types decide everything: on x86 uint8 activations with int8 weights run 2-3 times faster than float, other pairs no
faster; so they come from the target and never from a default.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from edgewright.errors import StageError
from edgewright.pipeline.calibration import Ranges
from edgewright.pipeline.quantization.model import COMPUTE_OPERATORS, QuantizedModel, cleaned, keep_format
from edgewright.pipeline.targets import IntegerType


def prepare_for_quantization(content: bytes) -> onnx.ModelProto:
    """Infers shapes and folds what a quantizer stumbles over (batch norm, constants) in a float model.

    Raises:
        StageError: The file cannot be prepared.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        before, after = Path(scratch) / "float.onnx", Path(scratch) / "prepared.onnx"
        before.write_bytes(content)
        try:
            # What is no sound model, the tool only logs, and goes on.
            onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)
            # Symbolic shape inference is for transformers; ONNX's own suffices for a symbolic batch.
            quant_pre_process(before, after, skip_symbolic_shape=True)
        except Exception as error:
            raise StageError(f"the float model cannot be prepared for INT8: {error}") from error
        prepared = onnx.load(after)
    keep_format(prepared, onnx.load_model_from_string(content))
    return prepared


@contextmanager
def quiet_root_logger() -> Iterator[None]:
    """The quantizers talk through the root logger; its level is given back."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def quantize_static(
    prepared: onnx.ModelProto,
    ranges: Ranges,
    activation_type: IntegerType,
    weight_type: IntegerType,
    per_channel: bool,
) -> QuantizedModel:
    """Quantizes a prepared float model with calibrated ranges.

    Args:
        prepared: From ``prepare_for_quantization``.
        ranges: From ``estimate_ranges``, of the same model.
        activation_type: Integer type of activations.
        weight_type: Integer type of weights.
        per_channel: One scale per output channel of the weights.

    Raises:
        StageError: The quantizer failed, or no compute operator was quantized.
    """
    import numpy as np
    import onnxruntime.quantization as ort
    from onnxruntime.quantization.calibrate import TensorData, TensorsData, save_tensors_data

    # The quantizer only needs lows and highs here; how they were found was settled by calibration.
    data = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ranges.low_high.items()
    }
    types = {"uint8": ort.QuantType.QUInt8, "int8": ort.QuantType.QInt8}
    with tempfile.TemporaryDirectory() as scratch, quiet_root_logger():
        cache, result = Path(scratch) / "ranges.json", Path(scratch) / "int8.onnx"
        save_tensors_data(TensorsData(ort.CalibrationMethod.MinMax, data), cache)
        try:
            ort.quantize_static(
                prepared,
                result,
                None,
                quant_format=ort.QuantFormat.QDQ,
                per_channel=per_channel,
                activation_type=types[activation_type],
                weight_type=types[weight_type],
                calibrate_method=ort.CalibrationMethod.MinMax,
                calibration_cache_path=cache,
            )
        except Exception as error:
            raise StageError(f"INT8 quantization failed: {type(error).__name__}: {error}") from error
        model = onnx.load(result)
    content = cleaned(model, prepared)
    quantized, floating = _count_compute(model)
    if quantized == 0:
        raise StageError("INT8 quantization left every Conv, Gemm and MatMul in float; such a file only runs slower.")
    return QuantizedModel(content, quantized, floating)


def _count_compute(model: onnx.ModelProto) -> tuple[int, int]:
    dequantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    compute = [node for node in model.graph.node if node.op_type in COMPUTE_OPERATORS]
    quantized = sum(node.input[0] in dequantized and node.input[1] in dequantized for node in compute)
    return quantized, len(compute) - quantized
