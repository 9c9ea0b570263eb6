"""Becomes ``ai_edge_litert/interpreter.py`` in images for machines that LiteRT is not built for.

There tflite-runtime, its predecessor, runs the model. It has the interpreter that edgewright's engine asks for but for one
question, how many graphs a file holds, which is read from the file here: the root table's third field, a vector of them.
"""

from __future__ import annotations

import struct
from typing import Any

from tflite_runtime import interpreter as _runtime  # type: ignore[import-not-found]

OpResolverType = _runtime.OpResolverType
_SUBGRAPHS_FIELD = 2


def count_graphs(model: bytes) -> int:
    """Count the graphs of a TFLite file.

    Raises:
        ValueError: The file ends before it says.
    """
    try:
        (root,) = struct.unpack_from("<I", model, 0)
        (back,) = struct.unpack_from("<i", model, root)
        table = root - back
        (table_bytes,) = struct.unpack_from("<H", model, table)
        entry = 4 + 2 * _SUBGRAPHS_FIELD
        if entry + 2 > table_bytes:
            return 0
        (offset,) = struct.unpack_from("<H", model, table + entry)
        if not offset:
            return 0
        place = root + offset
        (vector,) = struct.unpack_from("<I", model, place)
        return int(struct.unpack_from("<I", model, place + vector)[0])
    except struct.error as cause:
        raise ValueError("the model ends too early: it is corrupt.") from cause


class Interpreter(_runtime.Interpreter):  # type: ignore[misc] # tflite-runtime is not installed where types are checked
    """tflite-runtime's interpreter, answering what LiteRT's answers."""

    def __init__(self, *, model_content: bytes, **settings: Any) -> None:
        self._graphs = count_graphs(model_content)
        super().__init__(model_content=model_content, **settings)

    def num_subgraphs(self) -> int:
        """How many graphs the file holds."""
        return self._graphs
