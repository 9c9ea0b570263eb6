"""Structured pruning of PyTorch models: whole channels are removed, so that the model is really smaller and faster.

Channels are ranked by group L2 norm over all layers that depend on each other (torch-pruning's dependency graph, Fang et
al. 2023). Counts stay multiples of 8: kernels work in blocks of 8, and odd widths were measured slower than the full model.
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
from edgewright.pipeline.training.pytorch import weights_to_bytes

CHANNEL_MULTIPLE = 8


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
        sparsity: Share of each layer's channels to remove, in 0..1; rounded so that multiples of 8 remain.

    Raises:
        StageError: The model cannot be pruned this far with at least 8 channels a layer.
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
        self._before = _channels(model)
        self._model = model
        head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
        self._pruner = torch_pruning.pruner.MetaPruner(
            model,
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=sparsity,
            iterative_steps=steps,
            iterative_pruning_ratio_scheduler=_polynomial(power),
            round_to=CHANNEL_MULTIPLE,
            ignored_layers=[head],  # its outputs are the classes
        )

    def step(self) -> None:
        """Takes the next step.

        Raises:
            StageError: Nothing was removed at all, or a layer's channels are no longer a multiple of 8.
        """
        self._pruner.step()
        self.steps_taken += 1
        if self.steps_taken < self.steps:
            return
        after = _channels(self._model)
        if after == self._before:
            raise StageError(
                f"pruning removed no channel: with multiples of {CHANNEL_MULTIPLE} kept, this sparsity rounds to none. "
                "Raise prune.sparsity, or widen architecture.widths."
            )
        odd = {name: count for name, count in after.items() if count % CHANNEL_MULTIPLE}
        if odd:
            raise StageError(f"pruning left channel counts that are no multiple of {CHANNEL_MULTIPLE}: {odd}")


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


def _polynomial(power: float) -> Callable[[float, int], list[float]]:
    """Sparsity after each step: target * (1 - (1 - t)^power), t from 0 to 1."""

    def schedule(target: float, steps: int) -> list[float]:
        return [target * (1 - (1 - step / steps) ** power) for step in range(steps + 1)]

    return schedule


def _channels(model: nn.Module) -> dict[str, int]:
    return {name: module.out_channels for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
