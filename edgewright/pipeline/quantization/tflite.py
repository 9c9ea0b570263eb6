"""Keras models as TFLite files with fewer bits: dynamic range, float16, and INT8 throughout.

Asked for INT8 alone, TensorFlow's converter still leaves operators in float32 that have no INT8 kernel, between a
dequantization and a quantization, and says nothing. So what it made is read again, and a file with such operators is refused
by their names.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tf_keras as keras

from edgewright.errors import StageError
from edgewright.pipeline.calibration_set import Batches
from edgewright.pipeline.export.tflite_converter import convert, is_aware, new_converter, refuse_aware
from edgewright.pipeline.quantization.model import QuantizedModel
from edgewright.pipeline.quantization.tflite_file import COMPUTE_OPERATORS, TfliteFile, layers_of, read_tflite
from edgewright.pipeline.targets import IntegerType

# The converter leaves smaller weights as they are where activations stay float32: rounding them would save nothing.
_LEAST_DYNAMIC_WEIGHTS = 1024
_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)
_CASTS = frozenset({"QUANTIZE", "DEQUANTIZE"})


def convert_dynamic(model: keras.Model) -> QuantizedModel:
    """Dynamic range: INT8 weights per channel; every inference rounds its own activations. Input and output are float32.

    Args:
        model: A float network.

    Raises:
        StageError: The conversion failed, or no operator was converted.
    """
    refuse_aware(model, "dynamic INT8")
    converter = new_converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content = convert(converter, "conversion to dynamic INT8")
    made = _counted(content, read_tflite(content), frozenset({"int8"}))
    if made.quantized_operators == 0:
        raise StageError(
            f"dynamic INT8 converts convolutions and matrix products with at least {_LEAST_DYNAMIC_WEIGHTS:,} weights, and "
            "this network has none. Quantize it with method: static."
        )
    return made


def convert_float16(model: keras.Model) -> QuantizedModel:
    """Float16: weights of half the size; input, output and sums stay float32.

    Args:
        model: A float network.

    Raises:
        StageError: The conversion failed, a weight is not finite in float16, or no operator was converted.
    """
    refuse_aware(model, "float16")
    converter = new_converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    content = convert(converter, "conversion to float16")
    file = read_tflite(content)
    _refuse_what_does_not_fit(file)
    made = _counted(content, file, frozenset({"float16"}))
    if made.quantized_operators == 0:
        raise StageError(
            "conversion to float16 left every convolution and matrix product in float32; such a file is no smaller. Leave "
            "this variant out."
        )
    return made


def convert_static(model: keras.Model, batches: Batches, io_type: IntegerType, per_channel: bool) -> QuantizedModel:
    """INT8 throughout, input and output included; ranges are the lowest and highest values on the calibration samples.

    The ranges of a network from quantization-aware training are those that it learned.

    Args:
        model: A float network, or one from ``make_aware`` that was trained.
        batches: The calibration samples.
        io_type: Integer type of input and output.
        per_channel: One scale per output channel of the weights.

    Raises:
        StageError: The conversion failed, or operators were left in float32.
    """

    def samples() -> Iterator[list[npt.NDArray[np.float32]]]:
        for batch in batches():
            for sample in batch:
                yield [np.moveaxis(sample, 0, -1)[np.newaxis]]

    converter = new_converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(io_type)
    # The only way there is; whether it was heeded is looked up in the file.
    converter._experimental_disable_per_channel = not per_channel
    content = convert(converter, "conversion to INT8")
    file = read_tflite(content)
    _refuse_float(file)
    if file.types((*file.inputs, *file.outputs)) != (io_type, io_type):
        found = ", ".join(file.types((*file.inputs, *file.outputs)))
        raise StageError(f"conversion to INT8 gave input and output of types {found}, asked for was {io_type}.")
    made = _counted(content, file, frozenset({"int8"}))
    if made.quantized_operators == 0:
        raise StageError("conversion to INT8 found no convolution and no matrix product: there is nothing to gain.")
    if not per_channel:
        _refuse_scales_per_channel(file, is_aware(model))
    return made


def _counted(content: bytes, file: TfliteFile, types: frozenset[str]) -> QuantizedModel:
    """Compute operators whose weights have one of these types, and the others."""
    compute = [operator for operator in file.operators if operator.name in COMPUTE_OPERATORS]
    fewer = sum(file.weights_of(operator).type in types for operator in compute)
    return QuantizedModel(content, fewer, len(compute) - fewer)


def _refuse_float(file: TfliteFile) -> None:
    touching = [each for each in file.operators if "float32" in file.types((*each.inputs, *each.outputs))]
    left = [each for each in touching if each.name not in _CASTS] or touching
    if left:
        first = layers_of(file.tensors[left[0].outputs[0]].name)
        names = ", ".join(dict.fromkeys(operator.name for operator in left))
        raise StageError(
            f"conversion to INT8 left operators in float32: {names} (first: {first!r}). They have no INT8 kernel; replace "
            "their layers, or quantize with method: dynamic or float16."
        )


def _refuse_scales_per_channel(file: TfliteFile, aware: bool) -> None:
    for operator in file.operators:
        weights = file.weights_of(operator) if operator.name in COMPUTE_OPERATORS else None
        if weights is not None and len(weights.scales) > 1:
            why = (
                "quantization-aware training learned them so"
                if aware
                else "this version of the converter does not heed per_channel: false"
            )
            raise StageError(
                f"the weights {layers_of(weights.name)!r} have {len(weights.scales)} scales, asked for was one: {why}. Set "
                "quantize.per_channel to true."
            )


def _refuse_what_does_not_fit(file: TfliteFile) -> None:
    """The converter clamps what lies beyond float16 in silence: such weights stand at its end."""
    for tensor in file.tensors:
        if tensor.type != "float16" or tensor.constant is None:
            continue
        values = np.abs(tensor.constant.astype(np.float32))
        broken = ~(values < _LARGEST_FLOAT16)
        if broken.any():
            raise StageError(
                f"{int(broken.sum())} of {values.size} weights in {layers_of(tensor.name)!r} are not finite in float16, "
                f"which ends at {_LARGEST_FLOAT16:g}. Train with more weight decay, or leave float16 out."
            )
