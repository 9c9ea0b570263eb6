"""Unstructured pruning of PyTorch models: the smallest weights become zero and stay zero; shapes stay as they are.

Every layer loses the same share. One threshold for the whole model would compare what has no common scale (weights before
a batch norm may be multiplied by any number without a change in any answer) and can empty a layer: on sensor windows, a
DS-CNN of 64 channels with 95 % zeros lost its last layer that way and fell to 16 % accuracy, against 45 %.
Pruned are the weights of convolutions and linear layers, the last one too, as its shape stays. Not pruned are biases and
norms, and the filters of depthwise convolutions: nine weights each, a tenth of that network; zeroed
like the rest at 80 % they cost it another 12 points (60 % accuracy, against 73 %).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from edgewright.errors import StageError
from edgewright.pipeline.pruning.schedule import polynomial_sparsities, steps_due

_Layer = nn.Conv1d | nn.Conv2d | nn.Linear


class MagnitudePruner:
    """Zeroes weights of one model in one or several steps along a polynomial decay (Zhu and Gupta 2017).

    Attributes:
        steps: Steps in all.
        steps_taken: Steps taken.
    """

    def __init__(self, model: nn.Module, sparsity: float, steps: int = 1, power: float = 3.0) -> None:
        """Prepares pruning and changes nothing yet.

        Args:
            model: The model.
            sparsity: Share of each layer's weights that is zero in the end, in 0..1.
            steps: Steps to take.
            power: Exponent of the decay.

        Raises:
            StageError: The model has no such layer.
        """
        self.steps, self.steps_taken = steps, 0
        self._schedule = polynomial_sparsities(sparsity, steps, power)
        self._layers = maskable_layers(model)
        self._kept = {name: torch.ones_like(layer.weight, dtype=torch.bool) for name, layer in self._layers.items()}

    def step(self) -> None:
        """Takes the next step: more of the smallest weights become zero; none that was zeroed comes back."""
        self.steps_taken += 1
        sparsity = self._schedule[self.steps_taken]
        for name, layer in self._layers.items():
            weight = layer.weight.detach()
            # What was zeroed before ranks below everything that was not, zero or not.
            magnitude = weight.abs().masked_fill(~self._kept[name].to(weight.device), -1.0).flatten()
            smallest = magnitude.argsort(stable=True)[: round(sparsity * weight.numel())]
            kept = torch.ones_like(magnitude, dtype=torch.bool)
            kept[smallest] = False
            self._kept[name] = kept.reshape(weight.shape)
        self.hold()

    def hold(self) -> None:
        """Sets to zero again whatever an optimizer moved away from it."""
        with torch.no_grad():
            for name, layer in self._layers.items():
                layer.weight.masked_fill_(~self._kept[name].to(layer.weight.device), 0.0)


def prune_magnitude(model: nn.Module, sparsity: float) -> nn.Module:
    """Zeroes the smallest weights of every layer at once, in place.

    Args:
        model: The model.
        sparsity: Share of each layer's weights, in 0..1; rounded to whole weights.

    Raises:
        StageError: The model has no layer to prune.
    """
    MagnitudePruner(model, sparsity).step()
    return model


def magnitude_hook(pruner: MagnitudePruner, begin: float, end: float) -> Callable[[nn.Module, float], bool]:
    """A step hook that takes the pruner's steps evenly between two fractions of the training, and holds zeros to the end.

    A pruner of one step takes it after the first optimizer step at or after ``begin``. The hook never says that it changed
    the model: shapes stay, and the optimizer goes on with what it has gathered.
    """

    def hook(_: nn.Module, done: float) -> bool:
        while pruner.steps_taken < steps_due(pruner.steps, done, begin, end):
            pruner.step()
        pruner.hold()
        return False

    return hook


def measure_sparsity(model: nn.Module) -> float:
    """Share of zeros, 0..1, among the weights that magnitude pruning may zero.

    Raises:
        StageError: There are none.
    """
    weights = [layer.weight for layer in maskable_layers(model).values()]
    zeros = sum(weight.numel() - int(weight.count_nonzero()) for weight in weights)
    return zeros / sum(weight.numel() for weight in weights)


def maskable_layers(model: nn.Module) -> dict[str, _Layer]:
    """The layers whose weights magnitude pruning may zero, by name.

    Raises:
        StageError: There are none.
    """
    layers = {
        name: layer for name, layer in model.named_modules() if isinstance(layer, _Layer) and not _is_depthwise(layer)
    }
    if not layers:
        raise StageError(
            f"{type(model).__name__} has no convolution and no linear layer, whose weights prune.method magnitude sets to "
            "zero. Remove prune."
        )
    return layers


def _is_depthwise(layer: _Layer) -> bool:
    return not isinstance(layer, nn.Linear) and layer.groups > 1 and layer.groups == layer.in_channels
