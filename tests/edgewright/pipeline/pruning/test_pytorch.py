"""Structured pruning: channels are gone, not zeroed, and every layer is pruned as far as was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.pruning.channels import kept_channels
from edgewright.pipeline.pruning.pytorch import ChannelPruner, measure_cost, prune_channels, pruning_hook
from edgewright.pipeline.training.plan import Samples, TrainingPlan
from edgewright.pipeline.training.pytorch import predict, train, weights_sha256

MakeModel = Callable[..., nn.Module]
EXAMPLE = torch.zeros(1, 1, 28, 28)


def channels(model: nn.Module) -> list[int]:
    return [module.weight.shape[0] for module in model.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("widths", [(8, 8, 16), (16, 24, 32), (32, 64, 128)])
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.75, 0.95])
def test_every_layer_keeps_what_was_asked_for(make_model: MakeModel, widths: tuple[int, ...], sparsity: float) -> None:
    """Left to itself the library skips a layer whose rest would round to nothing, and says nothing."""
    model = make_model(widths=widths)
    before = channels(model)
    prune_channels(model, EXAMPLE, sparsity)
    assert channels(model) == [kept_channels(width, sparsity) for width in before]
    for batch in (1, 3):
        assert model(torch.randn(batch, 1, 28, 28)).shape == (batch, 10)


def test_it_costs_less_afterwards_in_every_respect(make_model: MakeModel) -> None:
    model = make_model(widths=(16, 32, 64))
    before = measure_cost(model, EXAMPLE)
    after = measure_cost(prune_channels(model, EXAMPLE, 0.5), EXAMPLE)
    assert 0.2 < after.parameters / before.parameters < 0.3  # half the inputs of half the outputs
    assert 0.2 < after.macs / before.macs < 0.35
    assert after.size_bytes < before.size_bytes
    assert after.compressed_size_bytes < before.compressed_size_bytes
    assert after.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_channels_that_matter_least_are_removed(make_model: MakeModel, some_digits: Any) -> None:
    model = make_model()
    block = model.get_submodule("block3")
    with torch.no_grad():  # of the last stage's 16 channels make 8 weightless: removing just these changes nothing
        for name in ("conv2", "shortcut.0"):
            block.get_submodule(name).weight[::2] = 0
        block.get_submodule("conv1").weight[::2] = 0
        block.get_submodule("conv2").weight[:, ::2] = 0
        model.get_submodule("head").weight[:, ::2] = 0
    before = predict(model, some_digits.inputs[:50])
    after = predict(prune_channels(model, EXAMPLE, 0.5), some_digits.inputs[:50])
    assert torch.allclose(torch.from_numpy(before), torch.from_numpy(after), atol=1e-5)


@pytest.mark.parametrize(("widths", "sparsity"), [((8, 8, 8), 0.9), ((16, 24, 32), 0.05)])
def test_when_nothing_can_be_removed_it_says_why(
    make_model: MakeModel, widths: tuple[int, ...], sparsity: float
) -> None:
    model = make_model(widths=widths)
    before = weights_sha256(model)
    with pytest.raises(StageError, match=rf"sparsity {sparsity} removes no channel of layers \[.*\] wide.*at least 8"):
        prune_channels(model, EXAMPLE, sparsity)
    assert weights_sha256(model) == before


def test_the_same_weights_are_pruned_alike(make_model: MakeModel) -> None:
    one, other = (prune_channels(make_model(widths=(16, 16, 32)), EXAMPLE, 0.5) for _ in range(2))
    assert weights_sha256(one) == weights_sha256(other)


def test_a_polynomial_schedule_prunes_stepwise_through_a_training_to_the_same_widths(
    make_model: MakeModel, some_digits: Any
) -> None:
    model = make_model(widths=(16, 32, 64))
    one_shot = channels(prune_channels(make_model(widths=(16, 32, 64)), EXAMPLE, 0.5))
    pruner = ChannelPruner(model, EXAMPLE, 0.5, steps=4, power=3.0)
    prune, seen = pruning_hook(pruner, 0.0, 0.5), [(0.0, channels(model))]

    def watch(network: nn.Module, done: float) -> bool:
        changed = prune(network, done)
        seen.append((done, channels(network)))
        return changed

    learn, held_out = some_digits[:160], some_digits[800:900]
    plan = TrainingPlan(4, 32, 3e-3, 1e-3, 0, 4, seed=1, threads=1)
    result = train(
        model,
        Samples(learn.inputs, learn.labels),
        Samples(held_out.inputs, held_out.labels),
        plan,
        on_step=watch,
        keep_from_epoch=3,
    )
    totals = [sum(widths) for _, widths in seen]
    assert totals == sorted(totals, reverse=True), "never grows back"
    assert len(set(totals)) >= 3, "in steps, not at once"
    assert [widths for done, widths in seen if done >= 0.5] == [one_shot] * 11, "done by the half"
    assert channels(result.model) == one_shot
    assert result.best_epoch >= 3


def test_the_early_steps_of_a_polynomial_schedule_are_the_large_ones(make_model: MakeModel) -> None:
    model = make_model(widths=(64, 64, 128))
    pruner = ChannelPruner(model, EXAMPLE, 0.5, steps=4, power=3.0)
    totals = [sum(channels(model))]
    for _ in range(4):
        pruner.step()
        totals.append(sum(channels(model)))
    removed = [before - after for before, after in pairwise(totals)]
    assert removed == sorted(removed, reverse=True)
    assert removed[0] > sum(removed) / 2  # 1 - (3/4)**3 = 58 % of the way


@dataclasses.dataclass
class CountingPruner:
    """Stands where a pruner stands and counts."""

    steps: int
    steps_taken: int = 0

    def step(self) -> None:
        self.steps_taken += 1


@pytest.mark.parametrize("training_steps", [1, 3, 100])
def test_the_hook_takes_all_steps_however_few_training_steps_there_are(training_steps: int) -> None:
    pruner = CountingPruner(steps=7)
    hook = pruning_hook(pruner, 0.0, 0.5)  # type: ignore[arg-type]
    taken = []
    for step in range(1, training_steps + 1):
        before = pruner.steps_taken
        assert hook(nn.Identity(), step / training_steps) == (pruner.steps_taken > before)
        taken.append(pruner.steps_taken)
    assert taken == sorted(taken)
    assert taken[-1] == 7
