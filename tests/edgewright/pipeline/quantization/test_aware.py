"""Quantization-aware training: a copy that learns with rounding in place, whose learned ranges are in the INT8 file."""

# One row is one spoiled model and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.pipeline.quantization.tflite_file import TfliteFile, layers_of, read_tflite
from tflite_aware import PRUNED, Made, aware_networks


@pytest.fixture(scope="module")
def made() -> Made:
    return aware_networks()


def zeros_of(file: TfliteFile) -> dict[str, float]:
    """Share of a layer's INT8 weights that are zero, by layer."""
    return {
        layers_of(tensor.name): float((tensor.constant == 0).mean())
        for tensor in file.tensors
        if tensor.type == "int8" and tensor.constant is not None
    }


def test_the_network_that_was_given_is_not_touched(made: Made) -> None:
    assert made.untouched
    assert all(trained.moved for trained in made.trained.values())


@pytest.mark.parametrize("name", ["plain", "keeps zeros"])
def test_it_becomes_int8_throughout(made: Made, name: str) -> None:
    quantized = made.trained[name].quantized
    file = read_tflite(quantized.content)
    assert file.types((*file.inputs, *file.outputs)) == ("uint8", "uint8")
    assert all("float" not in tensor.type for tensor in file.tensors)
    assert (quantized.quantized_operators, quantized.float_operators) == (4, 0)
    assert set(file.count_operators()) == {"QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"}


@pytest.mark.parametrize("name", ["plain", "keeps zeros"])
def test_the_device_answers_what_the_network_learned_to_answer(made: Made, name: str) -> None:
    trained = made.trained[name]
    content = trained.quantized.content
    with contextlib.closing(open_engine("litert", content, EngineSettings(("XNNPACK",)))) as engine:
        found = engine.run(made.samples)
    file = read_tflite(content)
    step = file.tensors[file.outputs[0]].scales[0]
    assert np.abs(found - trained.answers).max() <= 4 * step


def test_zeros_of_pruning_stay_zero_where_that_is_asked_for(made: Made) -> None:
    kept, lost = (zeros_of(read_tflite(made.trained[name].quantized.content)) for name in ("keeps zeros", "plain"))
    for layer in PRUNED:
        assert kept[layer] >= 0.5
        assert lost[layer] < 0.4
    assert kept["scores"] < 0.1


def test_bounds_begin_where_the_float_network_lies_on_the_samples(made: Made) -> None:
    bounds = made.trained["plain"].bounds
    assert set(bounds) >= {"stem_relu", "sum_relu", "pool", "scores"}
    for layer, (low, high) in bounds.items():
        seen = made.float_outputs[layer]
        np.testing.assert_allclose((low, high), (min(seen[0], 0), max(seen[1], 0)), atol=1e-5)


def test_without_samples_bounds_begin_at_six(made: Made) -> None:
    assert set(made.first_bounds.values()) == {(-6.0, 6.0)}


KNOWN = "Replace such layers by those that it knows (Conv2D, DepthwiseConv2D, Dense, BatchNormalization right behind them, ReLU, Add, pooling), or leave quantize.aware out."
ALREADY = "StageError: the network is already quantized (by quantization-aware training): {what} takes a float one. Convert this one with method: static."


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("unknown layer", f"StageError: quantization-aware training cannot round 'layer_norm' (LayerNormalization). {KNOWN}"),
        ("unknown layer, zeros kept", f"StageError: quantization-aware training cannot round 'layer_norm' (LayerNormalization). {KNOWN}"),
        ("norm behind a sum", f"StageError: quantization-aware training cannot round 'loose_norm' (BatchNormalization). {KNOWN}"),
        ("aware twice", ALREADY.format(what="quantization-aware training")),
        ("aware as float", ALREADY.format(what="a float TFLite file")),
        ("aware as onnx", ALREADY.format(what="an ONNX file")),
        ("aware as dynamic", ALREADY.format(what="dynamic INT8")),
        ("aware per tensor", "StageError: the weights 'stem' have 16 scales, asked for was one: quantization-aware training learned them so. Set quantize.per_channel to true."),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_clear_error(made: Made, what: str, message: str) -> None:
    assert made.refused[what] == message
