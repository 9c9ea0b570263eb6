"""Export to float TFLite: TFLite's own operators, a batch of 1, the names of all formats, and proofs in the device's engine."""

# One row is one spoiled model and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.pipeline.quantization.tflite_file import read_tflite
from tflite_conversions import CLASSES, SHAPES, TOLERANCE, Conversions, conversions


@pytest.fixture(scope="module")
def made() -> Conversions:
    return conversions()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kernels", ["XNNPACK", "builtin"])
def test_the_device_answers_what_keras_answers_whatever_the_data(made: Conversions, name: str, kernels: str) -> None:
    exported, samples = made.exported[name], made.samples[name]
    with contextlib.closing(open_engine("litert", exported.content, EngineSettings((kernels,)))) as engine:
        found = engine.run(samples)
        assert engine.input_name == "image"
    difference = float(np.abs(found - made.answers[name]).max())
    assert difference <= TOLERANCE
    assert kernels == "builtin" or exported.parity == difference


@pytest.mark.parametrize("name", SHAPES)
def test_a_file_has_one_named_input_with_a_batch_of_1_and_channels_last(made: Conversions, name: str) -> None:
    channels, height, width = SHAPES[name]
    file = read_tflite(made.exported[name].content)
    assert (file.input_names, file.output_names) == (("image",), ("scores",))
    (image,), (scores,) = ([file.tensors[each] for each in side] for side in (file.inputs, file.outputs))
    assert (image.type, image.shape) == ("float32", (1, height, width, channels))
    assert (scores.type, scores.shape) == ("float32", (1, CLASSES))


def test_batch_norm_and_activations_are_folded_and_operators_counted(made: Conversions) -> None:
    expected = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 1, "ADD": 1, "MEAN": 1, "FULLY_CONNECTED": 1}
    for exported in made.exported.values():
        assert exported.operators == expected
        assert exported.opset is None


def test_the_same_weights_give_the_same_bytes(made: Conversions) -> None:
    assert made.again.content == made.exported["image"].content


def test_the_file_tells_nothing_of_the_machine_that_made_it(made: Conversions) -> None:
    for trace in (".py", str(Path.cwd()), str(Path.home()), "/tmp", "site-packages", "edgewright"):
        assert trace.encode() not in made.exported["image"].content


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("foreign operator", "StageError: conversion to TFLite failed: TFLite has no operator for Erf. Replace the layers that need it."),
        ("not a number", "StageError: the exported model differs from Keras by nan in an output on 60 real samples; at most 0.0001 is allowed (export.parity_tolerance)."),
        ("two inputs", "StageError: the network's inputs are [None, 2, 2, 1], [None, 2, 2, 1]; needed is one, [None, height, width, channels]. Build it from a keras.Input."),
        ("free size", "StageError: the network's inputs are [None, None, None, 3]; needed is one, [None, height, width, channels]. Build it from a keras.Input."),
        ("image output", "StageError: the TFLite file answers float32 [1, 2, 2, 1]; needed is float32 [1, K]."),
        ("wrapped for pruning", "StageError: layer 'stem' is still wrapped for pruning. Strip the pruned model first."),
    ],
)  # fmt: skip
def test_a_network_that_would_not_serve_is_refused(made: Conversions, what: str, message: str) -> None:
    assert made.refused[what] == message


def test_a_file_that_answers_otherwise_than_keras_is_refused_with_the_difference(made: Conversions) -> None:
    told = made.refused["other answers"]
    assert told.startswith("StageError: the exported model differs from Keras by 0.0")
    assert told.endswith("in an output on 60 real samples; at most 0.001 is allowed (export.parity_tolerance).")
