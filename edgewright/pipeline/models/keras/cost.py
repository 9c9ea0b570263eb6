"""What a Keras model costs: weights, those of them that are not zero, multiply-accumulates, bytes.

Operations are counted in the graph that the model becomes for one sample, so that any network is counted, also one with
layers of its own. Counted are products of tensors (convolutions, matrix products); biases, norms and activations are not,
which is how papers count. The counter of the PyTorch line adds biases and norms: for the same network 0.8 % more (ResNet-8 of
32/64/128 channels) to 17 % more (DS-CNN of 32 channels).
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from edgewright.errors import StageError
from edgewright.pipeline.model_cost import ModelCost
from edgewright.pipeline.training.keras_weights import weights_to_bytes

_LOOPS = ("While", "StatelessWhile")


def measure_cost(model: keras.Model) -> ModelCost:
    """Counts a model's weights and the multiply-accumulates of one sample.

    Args:
        model: Of one input; without what pruning wraps around layers.

    Raises:
        StageError: Its graph holds something that cannot be counted.
    """
    weights = [weight.numpy() for weight in model.trainable_weights]
    content = weights_to_bytes(model)
    return ModelCost(
        parameters=sum(weight.size for weight in weights),
        nonzero_parameters=sum(int((weight != 0).sum()) for weight in weights),
        macs=count_macs(model),
        size_bytes=len(content),
        compressed_size_bytes=len(gzip.compress(content, mtime=0)),
    )


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulates of one sample; what loops goes round as often as for an empty sample.

    Raises:
        StageError: See ``measure_cost``.
    """
    sample = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    traced = tf.function(lambda image: model(image, training=False)).get_concrete_function(sample)
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    operations = frozen.graph.get_operations()
    loops = [operation for operation in operations if operation.type in _LOOPS]
    return _macs_of(operations) + (_macs_of_loops(frozen, loops) if loops else 0)


def _macs_of(operations: Iterable[Any]) -> int:
    return sum(_COUNTS[operation.type](operation) for operation in operations if operation.type in _COUNTS)


def _macs_of_loops(frozen: Any, loops: Sequence[Any]) -> int:
    """Recurrent layers: what one round costs, times the rounds, which the first output counts."""
    bodies = {function.signature.name: function for function in frozen.graph.as_graph_def().library.function}
    empty = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in frozen.inputs}
    with tf.compat.v1.Session(graph=frozen.graph) as session:
        rounds = session.run([loop.outputs[0] for loop in loops], empty)
    macs = 0
    for loop, count in zip(loops, rounds, strict=True):
        shapes = [tensor.shape for tensor in loop.inputs]
        inner = function_def_to_graph(bodies[loop.get_attr("body").name], input_shapes=shapes).get_operations()
        if any(operation.type in _LOOPS for operation in inner):
            raise StageError(
                f"architecture: the operations of {loop.name}, loops in a loop, cannot be counted. Unroll one."
            )
        macs += int(count) * _macs_of(inner)
    return macs


def _shapes(operation: Any) -> Iterator[list[int]]:
    """Shapes of an operation's inputs and then of its output, all of them known for one sample."""
    for tensor in (*operation.inputs, operation.outputs[0]):
        if not tensor.shape.is_fully_defined():
            raise StageError(
                f"architecture: the operations of {operation.name} ({operation.type}) cannot be counted, as its sizes depend "
                "on the sample. Give it fixed sizes."
            )
        yield tensor.shape.as_list()


def _convolution(operation: Any) -> int:
    """Every output is a sum over the filter's places and inputs; the filter is ``[.., inputs, outputs]``."""
    _, filters, outputs = _shapes(operation)
    return math.prod(outputs) * math.prod(filters[:-1])


def _depthwise(operation: Any) -> int:
    """Every output is a sum over the filter's places; the filter is ``[height, width, inputs, multiplier]``."""
    _, filters, outputs = _shapes(operation)
    return math.prod(outputs) * math.prod(filters[:2])


def _transposed(operation: Any) -> int:
    """Every input is multiplied by the whole filter for it, ``[.., outputs, inputs]``."""
    _, filters, inputs, _ = _shapes(operation)
    return math.prod(inputs) * math.prod(filters[:-1])


def _product(operation: Any) -> int:
    """Every output is a sum over the axis that both matrices share."""
    first, _, outputs = _shapes(operation)
    turned = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
    return math.prod(outputs) * first[-2 if turned else -1]


def _einsum(operation: Any) -> int:
    """One multiplication for every combination of all indices."""
    equation = operation.get_attr("equation").decode()
    terms = equation.split("->")[0].split(",")
    *factors, _ = _shapes(operation)
    if "." in equation:
        raise StageError(
            f"architecture: the operations of {operation.name}, einsum {equation}, cannot be counted. Write its indices out."
        )
    sizes = {
        index: size
        for term, factor in zip(terms, factors, strict=True)
        for index, size in zip(term, factor, strict=True)
    }
    return math.prod(sizes.values())


_COUNTS: Mapping[str, Callable[[Any], int]] = MappingProxyType(
    {
        "BatchMatMulV2": _product,
        "BatchMatMulV3": _product,
        "Conv2D": _convolution,
        "Conv2DBackpropInput": _transposed,
        "Conv3D": _convolution,
        "Conv3DBackpropInputV2": _transposed,
        "DepthwiseConv2dNative": _depthwise,
        "Einsum": _einsum,
        "MatMul": _product,
    }
)
