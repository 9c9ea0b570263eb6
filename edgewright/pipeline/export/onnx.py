"""Exports PyTorch models to ONNX, and proves what it exported before anyone uses it.

PyTorch's current exporter (``dynamo=True``) emits opset 18 and newer and, asked for less, quietly keeps 18. For older
runtimes the TorchScript exporter writes opset 13 to 17. Both freeze the batch size silently when the example has one
sample, so the example has two and the result is run with 1 and 4. A proof that does not hold is an error.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import numpy.typing as npt
import onnx
import onnxscript.optimizer
import torch
from torch import nn

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import StageError
from edgewright.pipeline.export.exported import BATCH_DIMENSION, INPUT_NAME, OUTPUT_NAME, ExportedModel
from edgewright.pipeline.export.onnx_proofs import count_operators, prove_form
from edgewright.pipeline.export.parity import prove_parity
from edgewright.pipeline.export.quiet import quiet
from edgewright.pipeline.training.pytorch import predict

# The oldest opset that the dynamo exporter really emits (measured with torch 2.13).
OLDEST_DYNAMO_OPSET = 18


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
    with quiet():
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
    prove_form(proto, opset)
    content = proto.SerializeToString(deterministic=True)
    with contextlib.closing(open_engine("onnxruntime", content, EngineSettings())) as engine:
        parity = prove_parity("PyTorch", predict(model, samples), engine, samples, parity_tolerance)
    return ExportedModel(content, opset, count_operators(proto), parity)


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
