"""What every export gives."""

from __future__ import annotations

from dataclasses import dataclass

# Whatever framework and format: one input, one output, of these names.
INPUT_NAME, OUTPUT_NAME = "image", "scores"
# What the free first dimension of an ONNX file is called.
BATCH_DIMENSION = "batch"


@dataclass(frozen=True)
class ExportedModel:
    """A float model file and what was proved of it.

    Attributes:
        content: The file's bytes, weights included.
        opset: Version of the default ONNX operator set; None of a TFLite file.
        operators: Number of nodes by operator type.
        parity: Largest absolute difference of an output from the framework's own on the real samples.
    """

    content: bytes
    opset: int | None
    operators: dict[str, int]
    parity: float
