"""Fully connected networks: for samples of any kind, narrow where anomalies shall not fit through."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.export.onnx import export_onnx
from edgewright.pipeline.models.dense import Autoencoder, Mlp
from edgewright.pipeline.models.pytorch import build_model
from edgewright.pipeline.pruning.pytorch import check_prunable, prune_channels
from edgewright.pipeline.training.pytorch import load_weights, predict, weights_to_bytes

SHAPES = [(9, 1, 1), (6, 1, 50), (1, 12, 12)]
Shape = tuple[int, int, int]


def autoencoder(shape: Shape, widths: tuple[int, ...] = (32, 16, 5)) -> nn.Module:
    torch.manual_seed(0)
    return build_model("autoencoder", shape, math.prod(shape), task="anomaly", widths=list(widths)).eval()


def linear_widths(model: nn.Module) -> list[int]:
    return [layer.weight.shape[0] for layer in model.modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_autoencoder_mirrors_its_widths_and_answers_a_flat_sample(shape: Shape) -> None:
    model = autoencoder(shape)
    values = math.prod(shape)
    assert linear_widths(model) == [32, 16, 5, 16, 32, values]
    assert model(torch.zeros(3, *shape)).shape == (3, values)


def test_a_perceptron_has_the_widths_asked_for() -> None:
    model = Mlp((9, 1, 1), 3, [32, 16]).eval()
    assert linear_widths(model) == [32, 16, 3]
    assert model(torch.zeros(2, 9, 1, 1)).shape == (2, 3)


@pytest.mark.parametrize("widths", [(32, 9), (32, 16, 12)])
def test_a_code_that_could_copy_a_sample_is_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(StageError) as caught:
        Autoencoder((9, 1, 1), 9, widths)
    assert str(caught.value) == (
        f"architecture.widths: a code of {widths[-1]} (the last width) can copy a sample of 9 values, normal or not. "
        "Set it to less than 9."
    )


def test_other_outputs_than_the_sample_are_refused() -> None:
    with pytest.raises(StageError, match=r"^architecture\.name: an autoencoder answers a sample of 9 values with 9 "):
        Autoencoder((9, 1, 1), 3, (32, 4))


@pytest.mark.parametrize("shape", SHAPES)
def test_pruning_narrows_the_hidden_layers_and_leaves_the_code(shape: Shape) -> None:
    example, values = torch.zeros(1, *shape), math.prod(shape)
    check_prunable(lambda: autoencoder(shape), example, 0.5)
    pruned = prune_channels(autoencoder(shape), example, 0.5)
    assert linear_widths(pruned) == [16, 8, 5, 8, 16, values]


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_is_gone_from_the_file(shape: Shape, opset: int, pruned: bool) -> None:
    generator = np.random.default_rng(0)
    samples: Any = generator.normal(size=(32, *shape)).astype(np.float32)
    model = autoencoder(shape)
    model.train()(torch.from_numpy(3 * samples + 1))  # statistics that are not those of a fresh norm
    if pruned:
        prune_channels(model.eval(), torch.zeros(1, *shape), 0.5)
    model = load_weights(autoencoder(shape), weights_to_bytes(model))
    expected = predict(model, samples)
    exported = export_onnx(model, samples, opset, 1e-4)
    assert exported.operators == {"Reshape": 1, "Gemm": 6, "Relu": 4}
    assert np.abs(expected).max() > 0.01
