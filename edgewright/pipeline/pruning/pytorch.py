"""Structured pruning of PyTorch models: whole channels are removed, so that the model is really smaller and faster.

Channels are ranked by group L2 norm over all layers that depend on each other (torch-pruning's dependency graph, Fang et
al. 2023). How many stay is settled per layer beforehand (``kept_channels``): left to itself the library rounds a narrow
layer's rest down to nothing, and then silently does not prune that layer at all.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import torch
import torch_pruning
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.model_cost import ModelCost
from edgewright.pipeline.models.attention import PositionEmbedding, SelfAttention
from edgewright.pipeline.pruning.channels import CHANNEL_MULTIPLE, kept_channels, kept_heads
from edgewright.pipeline.pruning.schedule import polynomial_sparsities, steps_due
from edgewright.pipeline.training.pytorch import load_weights, weights_to_bytes

# What loses channels, and what else may hold weights beside it.
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
_PRUNABLE = (*_LAYERS, nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, PositionEmbedding)


@runtime_checkable
class KeepsWidth(Protocol):
    """A model that names layers whose outputs must stay, e.g. all that write into a residual stream."""

    def keeps_width(self) -> list[nn.Module]:
        """The layers."""
        ...


def measure_cost(model: nn.Module, example: torch.Tensor) -> ModelCost:
    """Counts parameters and MACs of a model on ``example`` float32 ``[1, C, H, W]``."""
    macs, parameters = torch_pruning.utils.count_ops_and_params(model, example)
    # The library counts layers; the two products between tokens are none.
    attentions = (module for module in model.modules() if isinstance(module, SelfAttention))
    macs += sum(2 * module.tokens**2 * module.heads * module.head_width for module in attentions)
    weights = weights_to_bytes(model)
    nonzero = sum(int(parameter.count_nonzero()) for parameter in model.parameters())
    return ModelCost(int(parameters), nonzero, int(macs), len(weights), len(gzip.compress(weights, mtime=0)))


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
    """Prunes one model in one or several steps along a polynomial decay (Zhu and Gupta 2017).

    Convolutions and linear layers lose channels, attention loses whole heads. What writes into a width that the model
    declares as kept (``keeps_width()``) stays, and so does the last layer: its outputs are the answer.
    """

    def __init__(
        self, model: nn.Module, example: torch.Tensor, sparsity: float, steps: int, power: float = 3.0
    ) -> None:
        self.steps_taken = 0
        self.steps = steps
        self._model = model
        self._example = example
        self._schedule = polynomial_sparsities(sparsity, steps, power)
        refuse_unprunable(model)
        self._attentions = {name: part for name, part in model.named_modules() if isinstance(part, SelfAttention)}
        self._heads = {name: attention.heads for name, attention in self._attentions.items()}
        whole = _whole_layers(model, example, list(self._attentions.values()))
        self._layers = {
            name: layer for name, layer in model.named_modules() if isinstance(layer, _LAYERS) and layer not in whole
        }
        before = self._widths()
        self._expected = {name: kept_channels(count, sparsity) for name, count in before.items()}
        if self._expected == before and all(kept_heads(heads, sparsity) == heads for heads in self._heads.values()):
            raise StageError(
                f"sparsity {sparsity:g} removes no channel of layers {sorted(set(before.values()))} wide: they keep "
                f"multiples of {CHANNEL_MULTIPLE}, at least {CHANNEL_MULTIPLE}. Raise prune.sparsity, or widen the "
                "layers (architecture)."
            )
        self._pruner = torch_pruning.pruner.MetaPruner(
            model,
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=sparsity,
            pruning_ratio_dict={
                layer: _exact_ratio(before[name], self._expected[name]) for name, layer in self._layers.items()
            },
            iterative_steps=steps,
            iterative_pruning_ratio_scheduler=partial(polynomial_sparsities, power=power),
            round_to=CHANNEL_MULTIPLE,
            ignored_layers=whole,
            # As wide as the tokens that they are added to: axis 2.
            unwrapped_parameters=[(part.weight, 2) for part in model.modules() if isinstance(part, PositionEmbedding)],
            # The library's own defaults are dictionaries that it fills and shares between pruners.
            in_channel_groups={},
            out_channel_groups={},
        )

    def step(self) -> None:
        """Takes the next step.

        Raises:
            StageError: After the last step a layer does not have the channels that it should, or the model does not
                answer any more.
        """
        self._pruner.step()
        self.steps_taken += 1
        for name, attention in self._attentions.items():
            keep_heads(attention, kept_heads(self._heads[name], self._schedule[self.steps_taken]))
        after = self._widths()
        if self.steps_taken == self.steps and after != self._expected:
            wrong = {name: count for name, count in after.items() if count != self._expected[name]}
            raise StageError(
                f"pruning left channels {wrong} where {self._expected} was asked for: those layers are tied to one that "
                "must keep its width. Let the model's keeps_width() name them, or remove prune."
            )

    def _widths(self) -> dict[str, int]:
        return {name: layer.weight.shape[0] for name, layer in self._layers.items()}


def keep_heads(attention: SelfAttention, count: int) -> None:
    """Keeps the ``count`` heads with the largest L2 norm over their part of all four projections, in place."""
    if count == attention.heads:
        return
    inward, merge = (attention.query, attention.key, attention.value), attention.merge
    with torch.no_grad():
        shape = (attention.heads, attention.head_width, -1)
        norms = sum(layer.weight.reshape(shape).square().sum((1, 2)) for layer in inward)
        norms = norms + merge.weight.T.reshape(shape).square().sum((1, 2))
        best = norms.argsort(descending=True, stable=True)[:count].sort().values
        kept = (best[:, None] * attention.head_width + torch.arange(attention.head_width, device=best.device)).flatten()
        for layer in inward:
            layer.weight = nn.Parameter(layer.weight[kept].clone())
            layer.bias = nn.Parameter(layer.bias[kept].clone())
            layer.out_features = len(kept)
        merge.weight = nn.Parameter(merge.weight[:, kept].clone())
        merge.in_features = len(kept)


def refuse_unprunable(model: nn.Module) -> None:
    """Whether every part of the model that holds weights is one whose pruning is known to be right.

    Raises:
        StageError: One is not; the message names it.
    """
    for name, part in model.named_modules():
        kind, place = type(part).__name__, name or "the model itself"
        if isinstance(part, nn.Conv1d | nn.Conv2d) and part.groups > 1:
            if part.groups == part.in_channels == part.out_channels:
                continue
            raise StageError(
                f"{kind} {place} has {part.groups} groups of several channels, which cannot be pruned evenly. Use groups=1 "
                "or one group per channel, or remove prune."
            )
        if next(part.parameters(recurse=False), None) is not None and not isinstance(part, _PRUNABLE):
            known = ", ".join(sorted(known.__name__ for known in _PRUNABLE))
            raise StageError(
                f"{kind} {place} holds weights that pruning cannot narrow safely. Build from {known} and "
                "edgewright.pipeline.models.attention.SelfAttention, or remove prune."
            )


def check_prunable(make: Callable[[], nn.Module], example: torch.Tensor, sparsity: float) -> None:
    """Prunes a model on trial: the rest must answer, and fit into a fresh model again.

    Args:
        make: Builds the model anew.
        example: One sample, float32 ``[1, C, H, W]``.
        sparsity: As in ``prune_channels``.

    Raises:
        StageError: It cannot be pruned correctly; the message says why.
    """
    before = make().eval()
    pruned = make().eval()
    batch = torch.rand(2, *example.shape[1:], generator=torch.Generator().manual_seed(0))
    try:
        prune_channels(pruned, example, sparsity)
        with torch.inference_mode():
            found = pruned(batch)
            again = load_weights(make(), weights_to_bytes(pruned))(batch)
            answers = before(batch).shape
    except StageError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StageError(
            f"{type(before).__name__} breaks when channels are removed: {reason}. Take sizes from weights instead of numbers "
            "in forward, let keeps_width() name the layers that must keep theirs, or remove prune."
        ) from error
    if found.shape != answers or not torch.equal(found, again):
        raise StageError(
            f"{type(before).__name__} answers otherwise when its pruned weights are put into a fresh model. Remove prune."
        )


def pruning_hook(pruner: ChannelPruner, begin: float, end: float) -> Callable[[nn.Module, float], bool]:
    """A step hook that takes the pruner's steps evenly between two fractions of the training."""

    def hook(_: nn.Module, done: float) -> bool:
        changed = False
        while pruner.steps_taken < steps_due(pruner.steps, done, begin, end):
            pruner.step()
            changed = True
        return changed

    return hook


def _exact_ratio(before: int, after: int) -> float:
    """The ratio of which the library's truncation makes exactly ``after``: half a channel more than asked for is kept."""
    return 0.0 if after == before else 1 - (after + 0.5) / before


def _whole_layers(model: nn.Module, example: torch.Tensor, attentions: Sequence[SelfAttention]) -> list[nn.Module]:
    """Layers that keep their outputs: the last one, what the model says, and attention, which loses heads instead."""
    called: list[nn.Module] = []
    layers = [layer for layer in model.modules() if isinstance(layer, _LAYERS)]
    hooks = [layer.register_forward_hook(lambda layer, *_: called.append(layer)) for layer in layers]
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()(example.to(next(model.parameters()).device))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    declared = model.keeps_width() if isinstance(model, KeepsWidth) else []
    return [called[-1], *declared, *(layer for attention in attentions for layer in attention.children())]
