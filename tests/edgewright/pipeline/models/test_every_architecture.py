"""Every architecture goes the whole way: pruned, put back exactly, exported for old and new runtimes, quantized."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.pipeline.activations import observe
from edgewright.pipeline.calibration import estimate_ranges
from edgewright.pipeline.export.exported import ExportedModel
from edgewright.pipeline.export.onnx import export_onnx
from edgewright.pipeline.models.attention import SelfAttention
from edgewright.pipeline.models.pytorch import build_model
from edgewright.pipeline.pruning.channels import kept_channels, kept_heads
from edgewright.pipeline.pruning.pytorch import ChannelPruner, check_prunable, measure_cost, prune_channels
from edgewright.pipeline.quantization.onnx import prepare_for_quantization, quantize_static
from edgewright.pipeline.training.pytorch import (
    Samples,
    TrainingPlan,
    load_weights,
    predict,
    train,
    weights_sha256,
    weights_to_bytes,
)

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"widths": [32, 24]},
    "resnet8": {"widths": [16, 16, 24]},
    "mobilenet_v1": {"width_factor": 0.125},
    "ds_cnn": {"channels": 32, "blocks": 3, "kernel": 3},
    "vit": {"patch": 7, "embedding": 32, "depth": 2, "heads": 4, "mlp_width": 48},
}
EXAMPLE = torch.zeros(1, 1, 28, 28)
LAYERS = (nn.Conv2d, nn.Linear)


def fresh(name: str, shape: tuple[int, int, int] = (1, 28, 28)) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, shape, 10, **SMALL[name]).eval()


def widths(model: nn.Module) -> dict[str, int]:
    return {name: layer.weight.shape[0] for name, layer in model.named_modules() if isinstance(layer, LAYERS)}


@pytest.fixture(scope="module")
def trained(some_digits: Any) -> Callable[[str, bool], bytes]:
    """Weights after a few epochs on real digits, pruned by half or not."""

    @cache
    def weights(name: str, pruned: bool) -> bytes:
        torch.set_num_threads(1)
        model = load_weights(fresh(name), weights(name, False)) if pruned else fresh(name)
        if pruned:
            prune_channels(model, EXAMPLE, 0.5)
        learn, held_out = some_digits[:500], some_digits[600:700]
        plan = TrainingPlan(1 if pruned else 4, 32, 5e-3, 1e-3, 0, 4, seed=0, threads=1)
        samples = Samples(learn.inputs, learn.labels), Samples(held_out.inputs, held_out.labels)
        return weights_to_bytes(train(model, *samples, plan).model)

    return weights


@pytest.fixture(scope="module")
def exported(trained: Callable[[str, bool], bytes], some_digits: Any) -> Callable[[str, bool, int], ExportedModel]:
    """The trained model as an ONNX file."""

    @cache
    def export(name: str, pruned: bool, opset: int) -> ExportedModel:
        model = load_weights(fresh(name), trained(name, pruned))
        return export_onnx(model, some_digits.inputs[:32], opset, 1e-3)

    return export


# --- pruned -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.9])
def test_layers_keep_multiples_of_8_and_heads_stay_whole(name: str, sparsity: float) -> None:
    model = fresh(name)
    before, heads = widths(model), SMALL[name].get("heads", 0)
    prune_channels(model, EXAMPLE, sparsity)
    for layer, width in widths(model).items():
        if layer == "head" or (name == "vit" and layer.endswith(("patches", "narrow", "merge"))):
            assert width == before[layer], layer  # the classes, and the width of a token
        elif layer.endswith(("query", "key", "value")):
            assert width == kept_heads(heads, sparsity) * 8, layer
        else:
            assert width == kept_channels(before[layer], sparsity), layer
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.groups in {1, layer.in_channels} and layer.weight.shape[1] * layer.groups == layer.in_channels
        if isinstance(layer, SelfAttention):
            assert layer.query.weight.shape == layer.key.weight.shape == layer.merge.weight.T.shape
    assert model(torch.randn(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(3, 20, 33), (6, 1, 60)])
def test_images_and_windows_are_pruned_alike(name: str, shape: tuple[int, int, int]) -> None:
    check_prunable(lambda: fresh(name, shape), torch.zeros(1, *shape), 0.5)


@pytest.mark.parametrize("name", SMALL)
def test_pruned_weights_narrow_a_fresh_model_exactly(name: str) -> None:
    pruned = prune_channels(fresh(name), EXAMPLE, 0.5)
    loaded = load_weights(fresh(name), weights_to_bytes(pruned))
    images = torch.randn(3, 1, 28, 28)
    assert weights_sha256(loaded) == weights_sha256(pruned)
    assert torch.equal(loaded(images), pruned(images))
    assert measure_cost(loaded, EXAMPLE) == measure_cost(pruned, EXAMPLE)
    for layer in loaded.modules():  # the attributes agree with the tensors, as exporters and cost counters expect
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.shape[:2] == (layer.out_channels, layer.in_channels // layer.groups)
        if isinstance(layer, nn.Linear):
            assert layer.weight.shape == (layer.out_features, layer.in_features)


@pytest.mark.parametrize("name", SMALL)
def test_a_polynomial_schedule_ends_where_one_shot_does(name: str) -> None:
    model, seen = fresh(name), []
    pruner = ChannelPruner(model, EXAMPLE, 0.75, steps=3)
    for _ in range(3):
        pruner.step()
        seen.append(sum(widths(model).values()))
    assert seen == sorted(seen, reverse=True)
    assert widths(model) == widths(prune_channels(fresh(name), EXAMPLE, 0.75))


def test_the_heads_that_matter_least_are_removed() -> None:
    model = fresh("vit")
    images = torch.randn(4, 1, 28, 28)
    with torch.no_grad():
        for attention in (part for part in model.modules() if isinstance(part, SelfAttention)):
            for head in (0, 2):  # of four; what they say is nothing
                rows = slice(8 * head, 8 * head + 8)
                for layer in (attention.query, attention.key, attention.value):
                    layer.weight[rows], layer.bias[rows] = 0, 0
                attention.merge.weight[:, rows] = 0
        for part in model.get_submodule("blocks").children():  # likewise half of the hidden channels
            part.get_submodule("widen").weight[::2] = 0
            part.get_submodule("narrow").weight[:, ::2] = 0
    before = model(images)
    torch.testing.assert_close(prune_channels(model, EXAMPLE, 0.5)(images), before, atol=1e-5, rtol=1e-4)


# --- exported and quantized ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("opset", [13, 18])
def test_it_exports_for_old_and_new_runtimes_without_shape_arithmetic(
    exported: Callable[[str, bool, int], ExportedModel], name: str, pruned: bool, opset: int
) -> None:
    found = exported(name, pruned, opset)  # the export proves opset, batch and parity itself
    assert found.opset == onnx.load_from_string(found.content).opset_import[0].version == opset
    shapes_or_looks_up = {"Shape", "Gather", "Slice", "Concat", "Expand", "Where", "Cast", "Unsqueeze", "Pad", "Split"}
    assert not set(found.operators) & shapes_or_looks_up
    assert found.parity < 1e-4


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize(("opset", "activation"), [(13, "uint8"), (18, "int8")])
def test_int8_scores_real_digits_as_float_does(
    exported: Callable[[str, bool, int], ExportedModel],
    trained: Callable[[str, bool], bytes],
    some_digits: Any,
    name: str,
    pruned: bool,
    opset: int,
    activation: Any,
) -> None:
    prepared = prepare_for_quantization(exported(name, pruned, opset).content)
    ranges = estimate_ranges(observe(prepared, lambda: iter([some_digits.inputs[600:700]])), "minmax", 99.9)
    quantized = quantize_static(prepared, ranges, activation, "int8", True)
    assert quantized.float_operators == 0
    unseen = some_digits.inputs[800:]
    expected = predict(load_weights(fresh(name), trained(name, pruned)), unseen)
    engine = open_engine("onnxruntime", quantized.content, EngineSettings())
    found = engine.run(unseen)
    assert len(np.unique(expected.argmax(1))) > 3, "a model that learned nothing agrees with anything"
    # Scores, not decisions: after some seconds of training many decisions are close.
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9
