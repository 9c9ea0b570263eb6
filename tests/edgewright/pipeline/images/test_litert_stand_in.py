"""What stands in for LiteRT where that is not built: the one answer that its predecessor cannot give."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any

import flatbuffers
import pytest


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module, with a runtime that only remembers how it was called."""

    class Interpreter:
        def __init__(self, **settings: object) -> None:
            self.settings = settings

    runtime: Any = types.ModuleType("tflite_runtime.interpreter")
    runtime.Interpreter, runtime.OpResolverType = Interpreter, object()
    package: Any = types.ModuleType("tflite_runtime")
    package.interpreter = runtime
    monkeypatch.setitem(sys.modules, "tflite_runtime", package)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", runtime)
    name = "edgewright.pipeline.images.litert_stand_in"
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


def model_of(graphs: int) -> bytes:
    """A FlatBuffer whose root table has a vector of so many empty tables as its third field."""
    builder = flatbuffers.Builder(64)
    tables = []
    for _ in range(graphs):
        builder.StartObject(0)
        tables.append(builder.EndObject())
    builder.StartVector(4, graphs, 4)
    for table in tables:
        builder.PrependUOffsetTRelative(table)
    vector = builder.EndVector()
    builder.StartObject(3)
    builder.PrependUint32Slot(0, 3, 0)
    builder.PrependUOffsetTRelativeSlot(2, vector, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_graphs_are_counted_in_the_file(stand_in: Any) -> None:
    assert [stand_in.count_graphs(model_of(number)) for number in (1, 3)] == [1, 3]
    interpreter = stand_in.Interpreter(model_content=model_of(2), num_threads=1)
    assert interpreter.num_subgraphs() == 2 and interpreter.settings["num_threads"] == 1


def test_a_file_that_ends_too_early_is_refused(stand_in: Any) -> None:
    model = model_of(1)
    for length in (0, 3, 7):
        with pytest.raises(ValueError, match="ends too early"):
            stand_in.count_graphs(model[:length])


def test_files_that_were_really_written_agree(stand_in: Any) -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed")
    model = schema.ModelT()
    model.version, model.subgraphs = 3, [schema.SubGraphT(), schema.SubGraphT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    assert stand_in.count_graphs(bytes(builder.Output())) == 2
