"""Exports Keras models to ONNX with tf2onnx, and proves what it exported before anyone uses it.

The graph is written in opset 17 at most, where tf2onnx knows global pooling, and taken to newer ones by ONNX's own converter:
asked for opset 18, tf2onnx leaves a transposition and a mean that quantize badly, and newer ones it does not know.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tensorflow as tf
import tf2onnx
import tf_keras as keras
from onnx import numpy_helper

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import StageError
from edgewright.pipeline.entry_points import first_line
from edgewright.pipeline.export.exported import INPUT_NAME, OUTPUT_NAME, ExportedModel
from edgewright.pipeline.export.onnx_cleanup import clean_up
from edgewright.pipeline.export.onnx_proofs import count_operators, prove_form
from edgewright.pipeline.export.parity import prove_parity
from edgewright.pipeline.export.quiet import quiet
from edgewright.pipeline.export.tflite_converter import input_shape, refuse_aware, refuse_wrapped
from edgewright.pipeline.training.keras import predict

_OLDEST_OPSET, _NEWEST_OPSET = 13, 21
_NEWEST_TRACED = 17


def export_onnx(
    model: keras.Model, samples: npt.NDArray[np.float32], opset: int, parity_tolerance: float
) -> ExportedModel:
    """Exports ``model`` with channels first and a symbolic batch, and proves the file.

    Args:
        model: Maps float32 ``[N, H, W, C]`` to float32 ``[N, K]``.
        samples: Real preprocessed samples, float32 ``[M, C, H, W]``, at least 4.
        opset: ONNX operator set to write, 13 to 21.
        parity_tolerance: Largest allowed difference of an output between Keras and ONNX Runtime.

    Returns:
        The file, which maps float32 ``image`` ``[batch, C, H, W]`` to ``scores`` ``[batch, K]``.

    Raises:
        StageError: The opset is none of those, the export failed, or one of: the opset asked for, a symbolic batch, runs with
            1 and 4 samples, constant folding, parity on the samples does not hold.
    """
    if not _OLDEST_OPSET <= opset <= _NEWEST_OPSET:
        raise StageError(
            f"Keras models can be written in ONNX opsets {_OLDEST_OPSET} to {_NEWEST_OPSET}, asked for was {opset}. Set "
            "export.opset to one of them."
        )
    refuse_wrapped(model)
    refuse_aware(model, "an ONNX file")
    try:
        with quiet(), _plain_layer_norms(model):
            traced = _trace(model, min(opset, _NEWEST_TRACED))
        proto = clean_up(traced, samples, opset)
    except StageError as error:
        raise StageError(f"export to ONNX opset {opset} failed: {error}") from error
    except Exception as error:
        raise StageError(f"export to ONNX opset {opset} failed: {first_line(error)}") from error
    prove_form(proto, opset)
    content = proto.SerializeToString(deterministic=True)
    with contextlib.closing(open_engine("onnxruntime", content, EngineSettings())) as engine:
        parity = prove_parity("Keras", predict(model, samples), engine, samples, parity_tolerance)
    return ExportedModel(content, opset, count_operators(proto), parity)


def _trace(model: keras.Model, opset: int) -> Any:
    signature = [tf.TensorSpec((None, *input_shape(model)), tf.float32, name=INPUT_NAME)]
    answer = tf.function(lambda image: {OUTPUT_NAME: model(image, training=False)}, input_signature=signature)
    # Its names carry a count of all that the process has made, and it sorts by names.
    tf2onnx.utils.INTERNAL_NAME = 1
    proto, _ = tf2onnx.convert.from_function(
        answer, signature, opset=opset, inputs_as_nchw=[INPUT_NAME], custom_op_handlers={"Erfc": (_erfc, [])}
    )
    _store_held_values(proto.graph, answer.get_concrete_function())
    return proto


def _store_held_values(graph: onnx.GraphProto, traced: Any) -> None:
    """Tensors that a network holds beside its weights, such as a mean to subtract, come out as inputs: they are constants."""
    held = {
        inside.name: value.numpy()
        for value, inside in zip(traced.captured_inputs, traced.graph.internal_captures, strict=True)
        if value.dtype != tf.resource
    }
    for value in [each for each in graph.input if each.name in held]:
        graph.initializer.append(numpy_helper.from_array(held[value.name], value.name))
        graph.input.remove(value)


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """``1 - erf(x)``: TensorFlow's GELU is computed by an operator that tf2onnx does not know."""
    types, shapes = [graph.get_dtype(node.output[0])], [graph.get_shape(node.output[0])]
    one = graph.make_const(f"{name}/one", np.array(1, np.float32))
    erf = graph.make_node("Erf", node.input, name=f"{name}/erf", dtypes=types, shapes=shapes)
    graph.remove_node(node.name)
    operands = [one.output[0], erf.output[0]]
    graph.make_node("Sub", operands, outputs=node.output, name=name, dtypes=types, shapes=shapes)


@contextlib.contextmanager
def _plain_layer_norms(model: keras.Model) -> Iterator[None]:
    """Keras computes a layer norm by the batch norm's kernel where it may: with weights as many as the batch has tokens."""
    norms = [layer for layer in model.submodules if isinstance(layer, keras.layers.LayerNormalization)]
    fused = [layer._fused for layer in norms]
    for layer in norms:
        layer._fused = False
    try:
        yield
    finally:
        for layer, before in zip(norms, fused, strict=True):
            layer._fused = before
