"""Magnitude pruning: exactly the smallest weights of every layer are zero, and stay zero whatever the optimizer does."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.models.pytorch import build_model
from edgewright.pipeline.pruning.magnitude import (
    MagnitudePruner,
    magnitude_hook,
    maskable_layers,
    measure_sparsity,
    prune_magnitude,
)
from edgewright.pipeline.pruning.pytorch import measure_cost
from edgewright.pipeline.training.plan import Samples, TrainingPlan
from edgewright.pipeline.training.pytorch import train, weights_to_bytes

MakeModel = Callable[..., nn.Module]
EXAMPLE = torch.zeros(1, 1, 28, 28)


def zeros(model: nn.Module) -> dict[str, int]:
    return {
        name: layer.weight.numel() - int(layer.weight.count_nonzero()) for name, layer in maskable_layers(model).items()
    }


@pytest.mark.parametrize("sparsity", [0.05, 0.5, 0.8, 0.95])
def test_every_layer_loses_exactly_its_share_and_always_the_smallest(make_model: MakeModel, sparsity: float) -> None:
    before, model = make_model(), prune_magnitude(make_model(), sparsity)
    for (name, layer), old in zip(maskable_layers(model).items(), maskable_layers(before).values(), strict=True):
        gone = layer.weight == 0
        assert int(gone.sum()) == round(sparsity * layer.weight.numel()), name
        assert old.weight[gone].abs().max() <= old.weight[~gone].abs().min()
        assert torch.equal(old.weight[~gone], layer.weight[~gone]), "the others are as they were"
    assert measure_sparsity(model) == pytest.approx(sparsity, abs=0.001)
    assert measure_sparsity(before) == 0


def test_biases_norms_and_depthwise_filters_stay_and_the_last_layer_does_not() -> None:
    torch.manual_seed(0)
    model = build_model("ds_cnn", (1, 28, 28), 10, channels=16, blocks=2, kernel=3)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    prune_magnitude(model, 0.5)
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"stem.0.weight", "blocks.0.pointwise.0.weight", "blocks.1.pointwise.0.weight", "head.weight"}


def test_it_costs_less_only_in_weights_that_are_not_zero_and_compressed(make_model: MakeModel) -> None:
    model = make_model(widths=(16, 32, 64))
    before, after = measure_cost(model, EXAMPLE), measure_cost(prune_magnitude(model, 0.8), EXAMPLE)
    assert (after.parameters, after.macs, after.size_bytes) == (before.parameters, before.macs, before.size_bytes)
    assert after.nonzero_parameters == sum(int((parameter != 0).sum()) for parameter in model.parameters())
    assert after.nonzero_parameters < 0.25 * before.nonzero_parameters
    assert after.compressed_size_bytes < 0.45 * before.compressed_size_bytes
    assert after.compressed_size_bytes == len(gzip.compress(weights_to_bytes(model), mtime=0))


@pytest.mark.parametrize(("steps", "seen_sparsities"), [(1, 2), (4, 5)])
def test_zeros_grow_along_the_schedule_and_hold_to_the_end(
    make_model: MakeModel, some_digits: Any, steps: int, seen_sparsities: int
) -> None:
    model = make_model()
    expected = zeros(prune_magnitude(make_model(), 0.8))
    prune = magnitude_hook(MagnitudePruner(model, 0.8, steps), 0.3, 0.5)
    seen: list[tuple[float, float]] = []
    gone = torch.zeros_like(model.get_parameter("head.weight"), dtype=torch.bool)

    def watch(network: nn.Module, done: float) -> bool:
        changed = prune(network, done)
        now = network.get_parameter("head.weight") == 0
        assert not (gone & ~now).any(), "no weight comes back"
        gone.copy_(now)
        seen.append((done, measure_sparsity(network)))
        return changed

    learn, held_out = some_digits[:160], some_digits[800:900]
    samples = Samples(learn.inputs, learn.labels), Samples(held_out.inputs, held_out.labels)
    plan = TrainingPlan(8, 32, 3e-3, 1e-3, 0, 8, seed=1, threads=1)
    result = train(model, *samples, plan, on_step=watch, keep_from_epoch=5)
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert len(set(shares)) == seen_sparsities
    assert {share for done, share in seen if done < 0.3} == {0.0}
    assert len({share for done, share in seen if done >= 0.5}) == 1
    assert zeros(result.model) == expected, "exactly what was asked for"
    assert result.best_epoch >= 5


def test_the_optimizer_is_not_started_anew(make_model: MakeModel) -> None:
    model = make_model()
    hook = magnitude_hook(MagnitudePruner(model, 0.5, 2), 0.0, 0.5)
    assert not any(hook(model, done) for done in (0.1, 0.5, 1.0))


def test_zeros_are_set_again_after_something_moved_them(make_model: MakeModel) -> None:
    model = make_model()
    pruner = MagnitudePruner(model, 0.5)
    pruner.step()
    before = zeros(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    pruner.hold()
    assert zeros(model) == before


def test_attention_is_pruned_too() -> None:
    model = build_model("vit", (1, 28, 28), 10, patch=7, embedding=32, depth=1, heads=4, mlp_width=32)
    assert measure_sparsity(prune_magnitude(model, 0.5)) == 0.5
    assert "blocks.0.attention.query" in zeros(model)


def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(
        StageError, match=r"^Sequential has no convolution and no linear layer, .* sets to zero\. Remove prune\.$"
    ):
        MagnitudePruner(nn.Sequential(nn.BatchNorm1d(3)), 0.5)
