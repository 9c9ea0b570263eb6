"""Export of Keras models to ONNX: channels first, a batch that is really free, clean graphs, and files that quantize."""

# One row is one spoiled model and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.pipeline.activations import observe
from edgewright.pipeline.calibration import estimate_ranges
from edgewright.pipeline.quantization.onnx import prepare_for_quantization, quantize_static
from keras_onnx_exports import OPSETS, Exports, digests_again, exports
from tflite_conversions import SHAPES, TOLERANCE, batches_of

NETWORKS = ("image", "window", "dense", "tokens")
FORMATS = {13: 7, 17: 8, 18: 8, 21: 10}  # the oldest format that knows the operator set


@pytest.fixture(scope="module")
def made() -> Exports:
    return exports()


@pytest.mark.parametrize("opset", OPSETS)
def test_any_opset_gives_a_sound_file_with_a_free_batch(made: Exports, opset: int) -> None:
    exported = made.exported["image", opset]
    proto = onnx.load_from_string(exported.content)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", opset)]
    assert (exported.opset, proto.ir_version) == (opset, FORMATS[opset])
    (image,), (scores,) = proto.graph.input, proto.graph.output
    sizes = [[size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim] for each in (image, scores)]
    assert sizes == [["batch", *SHAPES["image"]], ["batch", 5]]
    assert (image.name, scores.name) == ("image", "scores")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("opset", [13, 18])
def test_onnx_runtime_answers_what_keras_answers_in_batches_of_any_size(made: Exports, name: str, opset: int) -> None:
    exported, samples, expected = made.exported[name, opset], made.samples[name], made.answers[name]
    with contextlib.closing(open_engine("onnxruntime", exported.content, EngineSettings())) as engine:
        for count in (1, 4, 7, len(samples)):
            np.testing.assert_allclose(engine.run(samples[:count]), expected[:count], atol=TOLERANCE)
    assert exported.parity <= TOLERANCE


def test_folding_leaves_only_what_computes(made: Exports) -> None:
    for opset in OPSETS:
        assert made.exported["image", opset].operators == {
            **{"Conv": 3, "Relu": 2, "Add": 1},
            **{"GlobalAveragePool": 1, "Squeeze": 1, "Gemm": 1},
        }


def test_batch_norms_behind_dense_layers_are_in_their_weights(made: Exports) -> None:
    assert made.exported["dense", 18].operators == {"Reshape": 1, "Gemm": 3, "Relu": 2}


def test_attention_has_no_arithmetic_on_shapes(made: Exports) -> None:
    """Dense layers on tokens, layer norms of Keras' own epsilon and reshapes all ask TensorFlow for the batch's size."""
    for opset in (13, 18):
        operators = set(made.exported["tokens", opset].operators)
        assert not operators & {"Shape", "Gather", "Slice", "Expand", "Concat", "Cast", "ReduceProd", "Identity"}


def test_tensors_that_are_held_beside_weights_are_constants(made: Exports) -> None:
    assert made.exported["window", 18].operators["Sub"] == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_reaches_every_operator_that_computes(made: Exports, name: str) -> None:
    prepared = prepare_for_quantization(made.exported[name, 18].content)
    seen = observe(prepared, batches_of(made.samples[name]))
    quantized = quantize_static(prepared, estimate_ranges(seen, "minmax", 99.9), "uint8", "int8", True)
    assert (quantized.quantized_operators, quantized.float_operators) == (
        {"image": 4, "window": 4, "dense": 3}.get(name, 8),
        0,
    )
    with contextlib.closing(open_engine("onnxruntime", quantized.content, EngineSettings())) as engine:
        found = engine.run(made.samples[name])
    assert np.corrcoef(found.ravel(), made.answers[name].ravel())[0, 1] > 0.98


def test_nodes_tell_their_layers(made: Exports) -> None:
    graph = onnx.load_from_string(made.exported["image", 18].content).graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    for layer in ("stem", "depthwise", "second", "sum"):
        assert any(f"network/{layer}" in name for name in names), layer
    assert not any("__" in name for name in (*names, *(tensor.name for tensor in graph.initializer)))


def test_another_process_that_did_something_else_before_exports_the_same_bytes(made: Exports) -> None:
    found = {name: hashlib.sha256(made.exported[name, 18].content).hexdigest() for name in ("image", "tokens")}
    assert digests_again() == found


def test_the_file_tells_nothing_of_the_machine_that_made_it(made: Exports) -> None:
    for trace in (".py", str(Path.cwd()), str(Path.home()), "site-packages", "edgewright", "inference"):
        assert trace.encode() not in made.exported["image", 18].content


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("too old", "StageError: Keras models can be written in ONNX opsets 13 to 21, asked for was 12. Set export.opset to one of them."),
        ("too new", "StageError: Keras models can be written in ONNX opsets 13 to 21, asked for was 22. Set export.opset to one of them."),
        ("foreign operator", "StageError: export to ONNX opset 18 failed: ONNX has no operator for TensorFlow's Lgamma (node 'network/tf.math.lgamma/Lgamma'). Replace the layers that need it."),
        ("not a number", "StageError: the exported model differs from Keras by nan in an output on 60 real samples; at most 0.0001 is allowed (export.parity_tolerance)."),
        ("shape arithmetic", "StageError: export left operators that folding should have removed: Gather, Shape, Slice."),
        ("frozen batch", "StageError: export to ONNX opset 18 failed: the network's inputs are [2, 12, 12, 3]; needed is one, [None, height, width, channels]. Build it from a keras.Input."),
    ],
)  # fmt: skip
def test_a_network_that_would_not_serve_is_refused(made: Exports, what: str, message: str) -> None:
    assert made.refused[what] == message


def test_a_batch_size_inside_of_the_network_is_refused(made: Exports) -> None:
    told = made.refused["frozen inside"]
    assert told.startswith(
        "StageError: export to ONNX opset 18 failed: the graph from tf2onnx cannot be run with 3 samples, as if it were made "
        "for another number: "
    )
    assert "\n" not in told
