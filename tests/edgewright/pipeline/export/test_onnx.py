"""Export to ONNX: any opset that runtimes ask for, a batch that is really free, and proofs that refuse what is not."""

# One row is one spoiled model and its exact message, however long.
# ruff: noqa: E501

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import StageError
from edgewright.pipeline.export.exported import ExportedModel
from edgewright.pipeline.export.onnx import export_onnx
from edgewright.pipeline.pruning.pytorch import prune_channels
from edgewright.pipeline.training.pytorch import load_weights, predict, weights_to_bytes

TOLERANCE = 1e-3
MakeModel = Callable[..., nn.Module]


@pytest.fixture(scope="module")
def export(trained_weights: bytes, make_model: MakeModel, some_digits: Any) -> Callable[..., ExportedModel]:
    """Export the trained model, or its pruned sibling, once per opset."""
    made: dict[tuple[int, bool], ExportedModel] = {}

    def export_once(opset: int, pruned: bool = False) -> ExportedModel:
        if (opset, pruned) not in made:
            model = trained(trained_weights, make_model, pruned)
            made[opset, pruned] = export_onnx(model, some_digits.inputs[:32], opset, TOLERANCE)
        return made[opset, pruned]

    return export_once


def trained(weights: bytes, make_model: MakeModel, pruned: bool) -> nn.Module:
    """A fresh object, as the exporter wants it; pruned weights go through bytes as in a build."""
    model = load_weights(make_model(), weights)
    if pruned:
        content = weights_to_bytes(prune_channels(model, torch.zeros(1, 1, 28, 28), 0.5))
        model = load_weights(make_model(), content)
    return model


@pytest.mark.parametrize(
    ("opset", "pruned"), [(13, False), (13, True), (17, False), (17, True), (18, False), (18, True), (21, True)]
)
def test_any_opset_gives_a_sound_file_with_a_free_batch(
    export: Callable[..., ExportedModel],
    trained_weights: bytes,
    make_model: MakeModel,
    some_digits: Any,
    opset: int,
    pruned: bool,
) -> None:
    exported = export(opset, pruned)
    proto = onnx.load_from_string(exported.content)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", opset)]
    assert exported.opset == opset
    (image,), (scores,) = proto.graph.input, proto.graph.output
    assert (image.name, scores.name) == ("image", "scores")
    dimensions = [
        [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (image, scores)
    ]
    assert dimensions == [["batch", 1, 28, 28], ["batch", 10]]
    expected = predict(trained(trained_weights, make_model, pruned), some_digits.inputs[:7])
    engine = open_engine("onnxruntime", exported.content, EngineSettings())
    for count in (1, 4, 7):
        np.testing.assert_allclose(engine.run(some_digits.inputs[:count]), expected[:count], atol=TOLERANCE)
    assert exported.parity <= TOLERANCE


def test_folding_leaves_only_what_computes(export: Callable[..., ExportedModel]) -> None:
    for opset in (13, 18):
        operators = export(opset).operators
        assert operators["Conv"] == 9 and operators["Relu"] == 7 and operators["Add"] == 3 and operators["Gemm"] == 1
        assert set(operators) <= {"Conv", "Relu", "Add", "Gemm", "GlobalAveragePool", "ReduceMean", "Reshape"}


def test_pruned_channels_are_gone_from_the_file(export: Callable[..., ExportedModel]) -> None:
    assert len(export(18, pruned=True).content) < 0.75 * len(export(18).content)


@pytest.mark.parametrize("opset", [13, 18])
def test_the_file_tells_nothing_of_the_machine_that_made_it(export: Callable[..., ExportedModel], opset: int) -> None:
    content = export(opset).content
    for trace in (".py", str(Path.cwd()), str(Path.home()), "site-packages", "forward", "edgewright"):
        assert trace.encode() not in content


# A process that exports given weights and says the digests of what came out.
_EXPORTER = """
import hashlib, sys
import numpy as np
from edgewright.pipeline.export.onnx import export_onnx
from edgewright.pipeline.models.pytorch import build_model
from edgewright.pipeline.training.pytorch import load_weights
for opset in (13, 18):
    model = load_weights(build_model("resnet8", (1, 28, 28), 10, (8, 8, 16)), open("weights.npz", "rb").read())
    print(hashlib.sha256(export_onnx(model, np.load("samples.npy"), opset, 1e-3).content).hexdigest())
"""


def test_another_process_exports_the_same_bytes(
    export: Callable[..., ExportedModel], trained_weights: bytes, some_digits: Any, tmp_path: Path
) -> None:
    (tmp_path / "weights.npz").write_bytes(trained_weights)
    np.save(tmp_path / "samples.npy", some_digits.inputs[:32])
    words = [sys.executable, "-c", _EXPORTER]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    # Two digests and nothing else: the exporters' own chatter stays inside.
    assert done.stdout.splitlines() == [hashlib.sha256(export(opset).content).hexdigest() for opset in (13, 18)]


# --- what is refused ----------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A small model to spoil."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(784, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(x, 1))


class FrozenBatch(Net):
    """Builds the example's batch size into the graph."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.reshape(int(x.shape[0]), 784)) + torch.zeros(2, 10)


class LiesToTheExporter(Net):
    """Answers otherwise while it is exported."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.head(torch.flatten(x, 1))
        return scores + 0.01 if torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting() else scores


class GivesNaN(Net):
    """A score that is not a number agrees with nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(x, 1)) * float("nan")


class LeavesShapeArithmetic(Net):
    """Looks at shapes while it runs: slower, and quantizes badly."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(x, 1)) * torch.ones(x.shape[0], 1)


@pytest.mark.parametrize(
    ("model", "opset", "message"),
    [
        (FrozenBatch, 13, "export froze the batch of 'scores' at 2; a symbolic batch is needed."),
        (FrozenBatch, 18, "export froze the batch of 'image' at 2; a symbolic batch is needed."),
        (LeavesShapeArithmetic, 13, "export left operators that folding should have removed: ConstantOfShape, Gather, Shape."),
        (LeavesShapeArithmetic, 18, "export left operators that folding should have removed: Expand, Shape."),
        (LiesToTheExporter, 13, "the exported model differs from PyTorch by 0.01 in an output on 8 real samples; at most 0.001 is allowed (export.parity_tolerance)."),
        (LiesToTheExporter, 18, "the exported model differs from PyTorch by 0.01 in an output on 8 real samples; at most 0.001 is allowed (export.parity_tolerance)."),
        (GivesNaN, 13, "the exported model differs from PyTorch by nan in an output on 8 real samples; at most 0.001 is allowed (export.parity_tolerance)."),
        (Net, 99, "export wrote operator sets {'': 18} where only opset 99 was asked for."),
    ],
)  # fmt: skip
def test_a_file_that_would_not_serve_is_refused(some_digits: Any, model: type[Net], opset: int, message: str) -> None:
    with pytest.raises(StageError) as caught:
        export_onnx(model(), some_digits.inputs[:8], opset, TOLERANCE)
    assert str(caught.value) == message


def test_the_same_small_model_unspoiled_passes(some_digits: Any) -> None:
    assert export_onnx(Net(), some_digits.inputs[:8], 13, TOLERANCE).operators["Gemm"] == 1


def test_a_model_that_cannot_be_traced_is_one_clear_error(some_digits: Any) -> None:
    class Breaks(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no such layer\nand a long story")

    with pytest.raises(StageError, match=r"^export to ONNX opset 13 failed: no such layer$"):
        export_onnx(Breaks(), some_digits.inputs[:8], 13, TOLERANCE)
