"""Structured pruning of PyTorch models: whole channels are removed, so that the model is really smaller and faster.

Channels are ranked by group L2 norm over all layers that depend on each other (torch-pruning's dependency graph, Fang et
al. 2023). How many stay is settled per layer beforehand (``kept_channels``): left to itself the library rounds a narrow
layer's rest down to nothing, and then silently does not prune that layer at all.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch_pruning
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.pruning.channels import CHANNEL_MULTIPLE, kept_channels
from edgewright.pipeline.training.pytorch import weights_to_bytes


@dataclass(frozen=True)
class ModelCost:
    """What a float model costs.

    Attributes:
        parameters: Number of weights.
        macs: Multiply-accumulate operations for one sample.
        size_bytes: Bytes of its float32 weights.
        compressed_size_bytes: The same, gzip-compressed.
    """

    parameters: int
    macs: int
    size_bytes: int
    compressed_size_bytes: int


def measure_cost(model: nn.Module, example: torch.Tensor) -> ModelCost:
    """Counts parameters and MACs of a model on ``example`` float32 ``[1, C, H, W]``."""
    macs, parameters = torch_pruning.utils.count_ops_and_params(model, example)
    weights = weights_to_bytes(model)
    return ModelCost(int(parameters), int(macs), len(weights), len(gzip.compress(weights, mtime=0)))


def prune_channels(model: nn.Module, example: torch.Tensor, sparsity: float) -> nn.Module:
    """Removes the least important channels of every layer, in place.

    Args:
        model: The model.
        example: One sample, float32 ``[1, C, H, W]``.
        sparsity: Share of each layer's channels to remove, in 0..1; rounded so that a multiple of 8 remains, at least 8.

    Raises:
        StageError: No layer has a channel to spare at this sparsity.
    """
    ChannelPruner(model, example, sparsity, steps=1).step()
    return model


class ChannelPruner:
    """Prunes one model in one or several steps along a polynomial decay (Zhu and Gupta 2017)."""

    def __init__(
        self, model: nn.Module, example: torch.Tensor, sparsity: float, steps: int, power: float = 3.0
    ) -> None:
        self.steps_taken = 0
        self.steps = steps
        self._model = model
        before = _channels(model)
        self._expected = {name: kept_channels(count, sparsity) for name, count in before.items()}
        if self._expected == before:
            raise StageError(
                f"sparsity {sparsity:g} removes no channel of layers {sorted(set(before.values()))} wide: they keep "
                f"multiples of {CHANNEL_MULTIPLE}, at least {CHANNEL_MULTIPLE}. Raise prune.sparsity, or widen "
                "architecture.widths."
            )
        convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
        head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        self._pruner = torch_pruning.pruner.MetaPruner(
            model,
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=sparsity,
            pruning_ratio_dict={
                module: _exact_ratio(before[name], self._expected[name]) for name, module in convolutions.items()
            },
            iterative_steps=steps,
            iterative_pruning_ratio_scheduler=_polynomial(power),
            round_to=CHANNEL_MULTIPLE,
            ignored_layers=[head],  # its outputs are the classes
        )

    def step(self) -> None:
        """Takes the next step.

        Raises:
            StageError: After the last step a layer does not have the channels that it should.
        """
        self._pruner.step()
        self.steps_taken += 1
        after = _channels(self._model)
        if self.steps_taken == self.steps and after != self._expected:
            wrong = {name: count for name, count in after.items() if count != self._expected[name]}
            raise StageError(f"pruning left channels {wrong} where {self._expected} was asked for.")


def pruning_hook(pruner: ChannelPruner, begin: float, end: float) -> Callable[[nn.Module, float], bool]:
    """A step hook that takes the pruner's steps evenly between two fractions of the training."""

    def hook(_: nn.Module, done: float) -> bool:
        due = math.floor(1 + (pruner.steps - 1) * min(1.0, (done - begin) / (end - begin))) if done >= begin else 0
        changed = False
        while pruner.steps_taken < min(due, pruner.steps):
            pruner.step()
            changed = True
        return changed

    return hook


def _exact_ratio(before: int, after: int) -> float:
    """The ratio of which the library's truncation makes exactly ``after``: half a channel more than asked for is kept."""
    return 0.0 if after == before else 1 - (after + 0.5) / before


def _polynomial(power: float) -> Callable[[float, int], list[float]]:
    """Sparsity after each step: target * (1 - (1 - t)^power), t from 0 to 1."""

    def schedule(target: float, steps: int) -> list[float]:
        return [target * (1 - (1 - step / steps) ** power) for step in range(steps + 1)]

    return schedule


def _channels(model: nn.Module) -> dict[str, int]:
    return {name: module.out_channels for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
