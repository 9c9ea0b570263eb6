"""TFLite files with fewer bits: the types asked for are really in them, and what stayed in float32 is refused by name."""

# One row is one spoiled model and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.pipeline.quantization.tflite_file import COMPUTE_OPERATORS, TfliteFile, TfliteTensor, read_tflite
from tflite_conversions import CLASSES, Conversions, conversions

COMPUTE = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@pytest.fixture(scope="module")
def made() -> Conversions:
    return conversions()


def file_of(made: Conversions, name: str) -> TfliteFile:
    return read_tflite(made.quantized[name].content)


def weights_of(file: TfliteFile) -> list[TfliteTensor]:
    return [file.tensors[operator.inputs[1]] for operator in file.operators if operator.name in COMPUTE]


# --- INT8 throughout ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["uint8", "int8", "int8 per tensor", "row", "window"])
def test_no_operator_of_an_int8_file_touches_a_float(made: Conversions, name: str) -> None:
    file, quantized = file_of(made, name), made.quantized[name]
    io_type = "int8" if name.startswith("int8") else "uint8"
    assert file.types((*file.inputs, *file.outputs)) == (io_type, io_type)
    assert all("float" not in tensor.type for tensor in file.tensors)
    assert (quantized.quantized_operators, quantized.float_operators) == (4, 0)


def test_names_of_input_and_output_survive(made: Conversions) -> None:
    for name in made.quantized:
        file = file_of(made, name)
        assert (file.input_names, file.output_names) == (("image",), ("scores",))


def test_weights_have_one_scale_per_channel_unless_told_otherwise(made: Conversions) -> None:
    assert [len(weights.scales) for weights in weights_of(file_of(made, "int8"))] == [16, 16, 16, CLASSES]
    assert [len(weights.scales) for weights in weights_of(file_of(made, "int8 per tensor"))] == [1, 1, 1, 1]


def test_the_range_of_the_input_is_what_the_calibration_samples_have(made: Conversions) -> None:
    file, samples = file_of(made, "uint8"), made.samples["image"]
    found = file.tensors[file.inputs[0]].range
    assert found is not None
    step = (found[1] - found[0]) / 255
    assert np.allclose(found, (samples.min(), samples.max()), atol=step)


@pytest.mark.parametrize("name", ["uint8", "int8", "int8 per tensor", "dynamic", "float16"])
def test_it_still_answers_like_keras_and_is_smaller(made: Conversions, name: str) -> None:
    content = made.quantized[name].content
    with contextlib.closing(open_engine("litert", content, EngineSettings(("XNNPACK",)))) as engine:
        found = engine.run(made.samples["image"])
    expected = made.answers["image"]
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    assert len(content) < 0.7 * len(made.exported["image"].content)


def test_the_same_network_and_samples_give_the_same_bytes(made: Conversions) -> None:
    assert made.quantized["uint8"].content == made.quantized["uint8 again"].content


# --- dynamic range and float16 ------------------------------------------------------------------------------------


def test_dynamic_range_converts_the_operators_with_many_weights_alone(made: Conversions) -> None:
    quantized, file = made.quantized["dynamic"], file_of(made, "dynamic")
    assert (quantized.quantized_operators, quantized.float_operators) == (1, 3)
    assert [weights.type for weights in weights_of(file)] == ["float32", "float32", "int8", "float32"]
    assert file.types((*file.inputs, *file.outputs)) == ("float32", "float32")


def test_float16_halves_all_weights_and_leaves_input_and_output(made: Conversions) -> None:
    quantized, file = made.quantized["float16"], file_of(made, "float16")
    assert (quantized.quantized_operators, quantized.float_operators) == (4, 0)
    assert file.types((*file.inputs, *file.outputs)) == ("float32", "float32")
    assert {tensor.type for tensor in file.tensors if tensor.constant is not None} == {"float16", "int32"}


def test_transposed_and_three_dimensional_convolutions_count_by_their_weights(made: Conversions) -> None:
    names = ["TRANSPOSE_CONV", "CONV_3D", "FULLY_CONNECTED"]
    for name, types in (("odd dynamic", ["int8", "float32", "int8"]), ("odd float16", ["float16"] * 3)):
        file, quantized = file_of(made, name), made.quantized[name]
        compute = [operator for operator in file.operators if operator.name in COMPUTE_OPERATORS]
        assert [operator.name for operator in compute] == names
        assert [file.weights_of(operator).type for operator in compute] == types
        assert (quantized.quantized_operators, quantized.float_operators) == (
            len(types) - types.count("float32"),
            types.count("float32"),
        )


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no int8 kernel", "StageError: conversion to INT8 left operators in float32: SIN, FLOOR (first: 'tf.math.sin'). They have no INT8 kernel; replace their layers, or quantize with method: dynamic or float16."),
        ("nothing to compute", "StageError: conversion to INT8 found no convolution and no matrix product: there is nothing to gain."),
        ("only annotated", "StageError: layer 'stem' is only annotated for quantization. Call quantize_apply, or give the model without annotations."),
        ("too small for dynamic", "StageError: dynamic INT8 converts convolutions and matrix products with at least 1,024 weights, and this network has none. Quantize it with method: static."),
        ("nothing for float16", "StageError: conversion to float16 left every convolution and matrix product in float32; such a file is no smaller. Leave this variant out."),
    ],
)  # fmt: skip
def test_a_conversion_that_does_not_give_what_was_asked_for_is_refused(
    made: Conversions, what: str, message: str
) -> None:
    assert made.refused[what] == message


def test_weights_beyond_float16_are_refused_and_not_clamped(made: Conversions) -> None:
    told = made.refused["beyond float16"]
    assert told.startswith("StageError: ")
    assert told.endswith(
        "of 2304 weights in 'second' are not finite in float16, which ends at 65504. Train with more weight decay, or leave "
        "float16 out."
    )
