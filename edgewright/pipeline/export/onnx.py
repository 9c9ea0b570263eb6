"""Exports PyTorch models to ONNX, and proves what it exported before anyone uses it.

PyTorch's current exporter (``dynamo=True``) emits opset 18 and newer and, asked for less, quietly keeps 18. For older
runtimes the TorchScript exporter writes opset 13 to 17. Both freeze the batch size silently when the example has one
sample, so the example has two and the result is run with 1 and 4. A proof that does not hold is an error.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
import onnxscript.optimizer
import torch
from torch import nn

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import StageError
from edgewright.pipeline.export.exported import ExportedModel
from edgewright.pipeline.training.pytorch import predict

INPUT_NAME, OUTPUT_NAME = "image", "scores"
BATCH_DIMENSION = "batch"
# The oldest opset that the dynamo exporter really emits (measured with torch 2.13).
OLDEST_DYNAMO_OPSET = 18
# Shape arithmetic in the graph means that something was traced instead of folded: such files run slower and quantize badly.
_SHAPE_OPERATORS = frozenset({"Shape", "Gather", "Slice", "ConstantOfShape", "Loop", "If", "Expand", "Where"})


def export_onnx(
    model: nn.Module, samples: npt.NDArray[np.float32], opset: int, parity_tolerance: float
) -> ExportedModel:
    """Exports ``model`` and proves the file.

    Args:
        model: Maps float32 ``[N, C, H, W]`` to float32 ``[N, K]``; weights on the CPU.
        samples: Real preprocessed samples, float32 ``[M, C, H, W]``, at least 4.
        opset: ONNX operator set to write.
        parity_tolerance: Largest allowed difference of an output between PyTorch and ONNX Runtime.

    Raises:
        StageError: The export failed, or one of: the opset asked for, a symbolic batch, runs with 1 and 4 samples, the
            ONNX checker, constant folding, parity on the samples does not hold.
    """
    # channels_last would export pooling as shape arithmetic.
    model = model.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = torch.from_numpy(samples[:2].copy())
    with _quiet():
        try:
            proto = (
                _export_dynamo(model, example, opset)
                if opset >= OLDEST_DYNAMO_OPSET
                else _export_script(model, example, opset)
            )
        except Exception as error:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StageError(f"export to ONNX opset {opset} failed: {first_line}") from error
    # Names of source files and Python frames are no business of a device, and would change the digest.
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.metadata_props[:]
    for value in [*proto.graph.value_info, *proto.graph.input, *proto.graph.output]:
        del value.metadata_props[:]
    _prove_form(proto, opset)
    content = proto.SerializeToString(deterministic=True)
    parity = _prove_parity(model, content, samples, parity_tolerance)
    operators: dict[str, int] = {}
    for node in proto.graph.node:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    return ExportedModel(content, opset, operators, parity)


def _export_dynamo(model: nn.Module, example: torch.Tensor, opset: int) -> onnx.ModelProto:
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        external_data=False,
        opset_version=opset,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=({0: torch.export.Dim(BATCH_DIMENSION)},),
        optimize=True,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _export_script(model: nn.Module, example: torch.Tensor, opset: int) -> onnx.ModelProto:
    buffer = io.BytesIO()
    torch.onnx.export(
        model,
        (example,),
        buffer,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=opset,
        do_constant_folding=True,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_axes={INPUT_NAME: {0: BATCH_DIMENSION}, OUTPUT_NAME: {0: BATCH_DIMENSION}},
    )
    # Shared weights come out behind Identity nodes; folding removes them.
    folded = onnxscript.optimizer.optimize(onnx.load_model_from_string(buffer.getvalue()))
    assert isinstance(folded, onnx.ModelProto)
    return folded


def _prove_form(proto: onnx.ModelProto, opset: int) -> None:
    onnx.checker.check_model(proto, full_check=True)
    written = {entry.domain: entry.version for entry in proto.opset_import}
    if written != {"": opset}:
        raise StageError(f"export wrote operator sets {written} where only opset {opset} was asked for.")
    for value in (*proto.graph.input, *proto.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        if not first.dim_param:
            raise StageError(
                f"export froze the batch of {value.name!r} at {first.dim_value}; a symbolic batch is needed."
            )
    folded_badly = sorted({node.op_type for node in proto.graph.node} & (_SHAPE_OPERATORS | {"Identity", "Constant"}))
    if folded_badly:
        raise StageError(f"export left operators that folding should have removed: {', '.join(folded_badly)}.")


def _prove_parity(model: nn.Module, content: bytes, samples: npt.NDArray[np.float32], parity_tolerance: float) -> float:
    engine = open_engine("onnxruntime", content, EngineSettings())
    try:
        expected = predict(model, samples)
        for count in (1, 4):
            shape = engine.run(samples[:count]).shape
            if shape != (count, expected.shape[1]):
                raise StageError(f"the exported model answers a batch of {count} with shape {shape}.")
        found = np.concatenate([engine.run(samples[start : start + 64]) for start in range(0, len(samples), 64)])
    finally:
        engine.close()
    parity = float(np.abs(found - expected).max())
    if not parity <= parity_tolerance:
        raise StageError(
            f"the exported model differs from PyTorch by {parity:.3g} in an output on {len(samples)} real samples; "
            f"at most {parity_tolerance:g} is allowed (export.parity_tolerance)."
        )
    return parity


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporters' own chatter from people; what fails is raised and told by us."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
