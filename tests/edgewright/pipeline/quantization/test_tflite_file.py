"""Reading TFLite files: operators, tensors and ranges as they stand there; whatever else the bytes are is one error."""

from __future__ import annotations

import random

import numpy as np
import pytest

from edgewright.errors import StageError
from edgewright.pipeline.quantization.tflite_file import TfliteTensor, layers_of, read_tflite
from tflite_conversions import Conversions, conversions


@pytest.fixture(scope="module")
def made() -> Conversions:
    return conversions()


def test_weights_and_what_makes_a_tensor_are_found(made: Conversions) -> None:
    file = read_tflite(made.exported["image"].content)
    first = file.operators[0]
    assert first.name == "CONV_2D"
    weights = file.tensors[first.inputs[1]]
    assert (weights.shape, weights.type, weights.scales) == ((16, 3, 3, 3), "float32", ())
    assert weights.constant is not None
    assert np.isfinite(weights.constant).all()
    assert file.makers[first.outputs[0]] is first
    assert file.tensors[first.outputs[0]].constant is None


def test_activations_are_what_follows_from_the_input_and_no_weights(made: Conversions) -> None:
    file = read_tflite(made.quantized["float16"].content)  # here, operators make weights: out of float16
    names = [layers_of(file.tensors[position].name) for position in file.activations()]
    assert names == [
        "serving_default_image:0",
        "stem + stem_norm + stem_relu",
        "depthwise + depthwise_norm",
        "second + second_norm",
        "sum + sum_relu",
        "pool",
        "StatefulPartitionedCall:0",
    ]


@pytest.mark.parametrize(
    ("tensor", "layers"),
    [
        ("net/relu/Relu;net/norm/FusedBatchNormV3;net/conv/Conv2D1", "conv + norm + relu"),
        ("net/quant_scores/MatMul;net/quant_scores/BiasAdd", "scores"),
        ("serving_default_image:0", "serving_default_image:0"),
        ("", ""),
    ],
)
def test_layers_are_told_by_the_names_that_the_converter_joined(tensor: str, layers: str) -> None:
    assert layers_of(tensor) == layers


@pytest.mark.parametrize(
    ("kind", "zero", "expected"), [("int8", -128, (0.0, 127.5)), ("uint8", 0, (0.0, 127.5)), ("int8", 0, (-64.0, 63.5))]
)
def test_a_range_is_what_the_integers_stand_for(kind: str, zero: int, expected: tuple[float, float]) -> None:
    assert TfliteTensor("t", kind, (1,), (0.5,), (zero,), None).range == expected


def test_floats_biases_and_weights_per_channel_have_no_one_range() -> None:
    assert TfliteTensor("t", "float32", (1,), (), (), None).range is None
    assert TfliteTensor("t", "int32", (1,), (0.5,), (0,), None).range is None
    assert TfliteTensor("t", "int8", (2,), (0.5, 0.25), (0, 0), None).range is None


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0" * 100, b"a recipe and not a model"])
def test_bytes_that_are_no_tflite_file_are_one_clear_error(content: bytes) -> None:
    with pytest.raises(StageError, match=r"^a TFLite file has 'TFL3' at byte 4, this one has not: it is none\.$"):
        read_tflite(content)


def test_a_damaged_file_is_read_or_refused_but_never_ends_otherwise(made: Conversions) -> None:
    content, chance = made.quantized["uint8"].content, random.Random(3)
    refused = 0
    for _ in range(60):
        broken = bytearray(content[: chance.randrange(40, len(content))])
        for _ in range(20):
            broken[chance.randrange(8, len(broken))] = chance.randrange(256)
        try:
            read_tflite(bytes(broken))
        except StageError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30
