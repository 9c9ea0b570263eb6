"""Which weights of a Keras model magnitude pruning sets to zero, and how many of them are.

As in the PyTorch line these are the kernels of convolutions and dense layers, the last one too; not biases and norms, and not
the few weights of depthwise filters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tf_keras as keras

from edgewright.errors import StageError
from edgewright.pipeline.quantization.tflite_sparsity import Zeros

_layers = keras.layers
# What tfmot prunes, by exact class, and where the weights stand.
_KERNELS: dict[type, str] = {
    _layers.Conv1D: "kernel",
    _layers.Conv2D: "kernel",
    _layers.Conv2DTranspose: "kernel",
    _layers.Conv3D: "kernel",
    _layers.Conv3DTranspose: "kernel",
    _layers.Dense: "kernel",
    _layers.SeparableConv1D: "pointwise_kernel",
    _layers.SeparableConv2D: "pointwise_kernel",
}
# What has such weights, tfmot's or not.
_LINEAR = (_layers.Conv1D, _layers.Conv2D, _layers.Conv3D, _layers.Dense, _layers.EinsumDense, *_KERNELS)
# Where neighbours along a row are inputs, as in the file that devices run.
_IN_ROWS = (_layers.Conv2D, _layers.Dense, _layers.SeparableConv2D)
_KEPT_OF_FOUR = 2


def prunable_kernels(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """The weights of each layer that pruning may set to zero, by the layer's name; empty where there are none."""
    found = {name: kernels_of(layer) for name, layer in _named_layers(model)}
    return {name: kernels for name, kernels in found.items() if kernels}


def kernels_of(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The weights of one layer that pruning may set to zero."""
    if hasattr(layer, "get_prunable_weights"):  # tfmot's own way for layers that it does not know
        return list(layer.get_prunable_weights())
    if type(layer) in _KERNELS:
        return [getattr(layer, _KERNELS[type(layer)])]
    if type(layer) is _layers.MultiHeadAttention:
        return [part.kernel for part in layer.submodules if isinstance(part, _layers.EinsumDense)]
    return []


def refuse_unprunable(model: keras.Model, rows_of_four: bool) -> None:
    """Whether tfmot finds and prunes all convolutions and dense layers, as those of PyTorch networks are.

    Args:
        model: The model.
        rows_of_four: Whether it is pruned by pattern 2:4, which is for layers whose inputs lie side by side in the file.

    Raises:
        StageError: One is of a kind that tfmot does not prune, lies where it does not look, or there is none.
    """
    for name, layer in _named_layers(model):
        kind = type(layer).__name__
        if isinstance(layer, keras.Model):
            raise StageError(
                f"{name} ({kind}) is a model with a call of its own, into which tfmot cannot look. Build it as a functional "
                "model, keras.Model(inputs, outputs), or remove prune."
            )
        if kernels_of(layer):
            if rows_of_four and type(layer) not in _IN_ROWS:
                raise StageError(
                    f"layer {name} is a {kind}; pattern 2:4 is for Conv2D and Dense. Set prune.pattern to any, or build the "
                    "layer from those."
                )
        elif isinstance(layer, _LINEAR):
            raise StageError(
                f"layer {name} is a {kind}, which tfmot does not prune. Build it from Conv2D or Dense, give it a method "
                "get_prunable_weights, or remove prune."
            )
        elif hidden := [part.name for part in layer.submodules if isinstance(part, _LINEAR)]:
            raise StageError(
                f"layer {name} ({kind}) holds layer {hidden[0]}, which tfmot does not find there. Call it in the functional "
                "model itself, give the outer one a method get_prunable_weights, or remove prune."
            )
    if not prunable_kernels(model):
        raise StageError(
            f"{model.name} has no convolution and no dense layer, whose weights prune.method magnitude sets to zero. Remove "
            "prune."
        )


def layer_sparsity(model: keras.Model) -> dict[str, float]:
    """Share of zeros, 0 to 1, among the weights of each layer that pruning may set to zero, by the layer's name."""
    return {name: zeros.share for name, zeros in prunable_zeros(model).items()}


def prunable_zeros(model: keras.Model) -> dict[str, Zeros]:
    """Zeros among the weights of each layer that pruning may set to zero, by the layer's name."""
    return {
        name: Zeros(
            sum(count_zeros(kernel.numpy()) for kernel in kernels),
            sum(int(np.prod(kernel.shape)) for kernel in kernels),
        )
        for name, kernels in prunable_kernels(model).items()
    }


def count_zeros(kernel: npt.NDArray[np.float32]) -> int:
    """Weights that are exactly zero."""
    return int(kernel.size - np.count_nonzero(kernel))


def zeros_of_share(size: int, sparsity: float) -> float:
    """How many of so many weights a sparsity means, not rounded; one weight always stays."""
    return min(size * sparsity, size - 1)


def zeros_of_rows(shape: tuple[int, ...]) -> int:
    """How many weights of a kernel ``[.., inputs, outputs]`` pattern 2:4 zeroes.

    Two of every four neighbouring inputs; of a rest of three one, of a smaller rest none. A layer with one or two inputs,
    such as the first one on grey images, keeps all of its weights.
    """
    inputs = shape[-2]
    per_row = inputs // 4 * (4 - _KEPT_OF_FOUR) + max(0, inputs % 4 - _KEPT_OF_FOUR)
    return per_row * (int(np.prod(shape)) // inputs)


def holds_two_of_four(kernel: npt.NDArray[np.float32]) -> bool:
    """Whether of every four neighbouring inputs of a kernel ``[.., inputs, outputs]`` at most two are used.

    Four are counted from the first input on, for each output and each place of a filter. That is how the file for devices
    has them side by side: ``[outputs, height, width, inputs]``, or ``[outputs, inputs]``.
    """
    rows = np.moveaxis(kernel, -2, -1)
    rest = -rows.shape[-1] % 4
    fours = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, rest)]).reshape(-1, 4)
    return bool((np.count_nonzero(fours, axis=1) <= _KEPT_OF_FOUR).all())


def _named_layers(model: keras.Model, before: str = "") -> Iterator[tuple[str, Any]]:
    """The layers of a model and of the functional models within it, by name."""
    for layer in model.layers:
        name = f"{before}{layer.name}"
        if isinstance(layer, keras.Model) and layer._is_graph_network:
            yield from _named_layers(layer, f"{name}/")
        else:
            yield name, layer
