"""Makes a graph from tf2onnx as clean as one from PyTorch's exporters: what remains computes, and names tell layers.

tf2onnx carries TensorFlow's arithmetic on shapes into the graph: a dense layer on tokens asks for the batch's size,
multiplies it, and reshapes to the product. All that varies there is the batch. So every such shape is looked at with two
batches; what differs becomes the one free dimension. Whether that is right is proved afterwards, with other batches.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import onnxscript.optimizer
import onnxscript.rewriter
from onnx import helper, numpy_helper, version_converter
from onnxscript.rewriter.rules.common import matmul_add_to_gemm_rule

from edgewright.errors import StageError
from edgewright.pipeline.export.exported import BATCH_DIMENSION
from edgewright.pipeline.quantization.model import keep_format

# Two batches that tell a free dimension from a fixed one.
_BATCHES = (2, 3)
# tf2onnx numbers what it makes by a count of all that the process has made.
_COUNT = re.compile(r"__\d+(?=$|[:/])")

# Operators that change no value.
_MOVING = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Cast", "Flatten"})


def clean_up(proto: onnx.ModelProto, samples: npt.NDArray[np.float32], opset: int) -> onnx.ModelProto:
    """Cleans a graph of one input and one output.

    Args:
        proto: From tf2onnx, in this opset or an older one.
        samples: Real preprocessed samples, float32 ``[M, C, H, W]``, at least 3.
        opset: The operator set to write.

    Returns:
        The same network: batch named, shapes constant, only this operator set, the same bytes for the same weights.

    Raises:
        StageError: The graph has operators that ONNX does not know, or cannot be run.
    """
    _refuse_unknown(proto)
    for value in (*proto.graph.input, *proto.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if not sizes:
            raise StageError(
                f"the shape of {value.name!r} depends on values. Take arithmetic on shapes out of the network."
            )
        sizes[0].dim_param = BATCH_DIMENSION
    keep_format(proto, proto)
    if {entry.version for entry in proto.opset_import} != {opset}:
        proto = version_converter.convert_version(proto, opset)
    _settle_reshapes(proto, samples)
    folded = onnxscript.optimizer.optimize(proto)
    assert isinstance(folded, onnx.ModelProto)
    _merge_into_dense(folded.graph)
    folded = onnxscript.rewriter.rewrite(folded, [matmul_add_to_gemm_rule])
    assert isinstance(folded, onnx.ModelProto)
    _merge_into_dense(folded.graph)
    # The oldest format that this operator set was published with: older runtimes refuse a newer one for the number alone.
    folded.ir_version = helper.find_min_ir_version_for(list(folded.opset_import))
    _forget_origin(folded)
    _sort(folded.graph)
    _rename(folded.graph)
    return folded


def _refuse_unknown(proto: onnx.ModelProto) -> None:
    """tf2onnx leaves a TensorFlow operator that it does not know in the graph, and goes on."""
    unknown = {node.op_type: node.name for node in proto.graph.node if not onnx.defs.has(node.op_type, node.domain)}
    if unknown:
        names = ", ".join(f"{operator} (node {name!r})" for operator, name in unknown.items())
        raise StageError(f"ONNX has no operator for TensorFlow's {names}. Replace the layers that need it.")


def _settle_reshapes(proto: onnx.ModelProto, samples: npt.NDArray[np.float32]) -> None:
    """Gives every Reshape a constant shape, and takes out those that change nothing."""
    graph = proto.graph
    reshapes = [node for node in graph.node if node.op_type == "Reshape"]
    if not reshapes:
        return
    watched = dict.fromkeys(name for node in reshapes for name in (node.input[0], node.output[0]))
    shapes = [_shapes(proto, list(watched), samples[:count]) for count in _BATCHES]
    constants = {tensor.name for tensor in graph.initializer}
    replaced: dict[str, str] = {}
    for node in reshapes:
        before, after = ([each[name] for each in shapes] for name in (node.input[0], node.output[0]))
        if before == after and node.output[0] != graph.output[0].name:
            replaced[node.output[0]] = replaced.get(node.input[0], node.input[0])
            graph.node.remove(node)
        elif node.input[1] not in constants:
            sizes = [size if size == other else -1 for size, other in zip(*after, strict=True)]
            if sizes.count(-1) <= 1:
                node.input[1] = f"{node.output[0]}/shape"
                graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), node.input[1]))
    for node in graph.node:
        node.input[:] = [replaced.get(name, name) for name in node.input]


def _shapes(proto: onnx.ModelProto, names: list[str], batch: npt.NDArray[np.float32]) -> dict[str, tuple[int, ...]]:
    """Shapes of these tensors on one batch."""
    augmented = onnx.ModelProto()
    augmented.CopyFrom(proto)
    known = {value.name for value in (*proto.graph.output, *proto.graph.input)}
    augmented.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    image = proto.graph.input[0].name
    try:
        session = onnxruntime.InferenceSession(augmented.SerializeToString(), options, ["CPUExecutionProvider"])
        results = session.run([name for name in names if name != image], {image: batch})
    except Exception as error:  # the binding's exceptions have no common base below Exception
        raise StageError(
            f"the graph from tf2onnx cannot be run with {len(batch)} samples, as if it were made for another number: "
            f"{str(error).splitlines()[0][:160]}"
        ) from error
    found = dict(zip([name for name in names if name != image], results, strict=True))
    return {name: (batch if name == image else found[name]).shape for name in names}


def _merge_into_dense(graph: onnx.GraphProto) -> None:
    """Takes factors and summands behind a dense layer, such as those of a batch norm, into its weights and bias."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    makers = {node.output[0]: node for node in graph.node}
    for node in list(graph.node):
        dense = makers.get(node.input[0]) if node.op_type in ("Mul", "Add") else None
        if dense is None or node.input[1] not in constants or uses[node.input[0]] != 1:
            continue
        if not _is_plain_dense(dense, constants):
            continue
        change = numpy_helper.to_array(constants[node.input[1]])
        arrays = [numpy_helper.to_array(constants[name]) for name in dense.input[1:]]
        if change.ndim > 1 or change.size not in (1, arrays[0].shape[1]):
            continue
        if node.op_type == "Mul":
            arrays = [each * change for each in arrays]
        elif len(arrays) == 2:
            arrays[1] = arrays[1] + change
        else:
            continue  # without a bias: the two become one operator of their own
        dense.output[0] = node.output[0]
        makers[dense.output[0]] = dense
        graph.node.remove(node)
        for place, array in enumerate(arrays, start=1):  # others may share the old ones
            dense.input[place] = f"{dense.output[0]}/merged{place}"
            constants[dense.input[place]] = numpy_helper.from_array(array.astype(np.float32), dense.input[place])
            graph.initializer.append(constants[dense.input[place]])


def _is_plain_dense(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether this is a dense layer, its weights constant and in the order of the inputs."""
    return (
        node.op_type in ("Gemm", "MatMul")
        and not node.attribute
        and all(name in constants for name in node.input[1:])
        and len(constants[node.input[1]].dims) == 2
    )


def _forget_origin(proto: onnx.ModelProto) -> None:
    """What was traced, by whom and when is no business of a device, and would change the digest."""
    graph = proto.graph
    graph.name, graph.doc_string, proto.doc_string = "main_graph", "", ""
    del graph.value_info[:]
    del proto.metadata_props[:]
    del graph.metadata_props[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]


def _sort(graph: onnx.GraphProto) -> None:
    """Puts nodes into an order that follows from the graph alone: each right behind what it needs."""
    makers = {name: node for node in graph.node for name in node.output}
    ordered: dict[str, onnx.NodeProto] = {}
    pending = [graph.output[0].name]
    while pending:
        node = makers.get(pending[-1])
        missing = [
            name
            for name in (node.input if node is not None else ())
            if name in makers and makers[name].output[0] not in ordered
        ]
        if missing:
            pending.append(missing[0])
            continue
        pending.pop()
        if node is not None:
            ordered.setdefault(node.output[0], node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered.values()]
    del graph.node[:]
    graph.node.extend(copies)


def _rename(graph: onnx.GraphProto) -> None:
    """Names that tell the layer and depend on nothing but the graph; constants in the order of their use.

    Of equal nodes of several layers tf2onnx keeps any one: those that only move values are named by what they do.
    """
    final = {value.name: value.name for value in (*graph.input, *graph.output)}
    used: Counter[str] = Counter()
    for node in graph.node:
        moves = node.op_type in _MOVING and node.output[0] not in final
        plain = node.op_type if moves else _COUNT.sub("", node.output[0]).removesuffix(":0")
        used[plain] += 1
        node.name = plain if used[plain] == 1 else f"{plain}_{used[plain]}"
        final |= {name: f"{node.name}:{place}" for place, name in enumerate(node.output) if name not in final}
        final |= {
            name: f"{node.name}/constant{place}" if name else ""
            for place, name in enumerate(node.input)
            if name not in final
        }
        node.input[:] = [final[name] for name in node.input]
        node.output[:] = [final[name] for name in node.output]
    places = {name: place for place, name in enumerate(final)}
    constants = sorted((each for each in graph.initializer if each.name in final), key=lambda each: places[each.name])
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in constants]
    for tensor in copies:
        tensor.name = final[tensor.name]
    del graph.initializer[:]
    graph.initializer.extend(copies)
