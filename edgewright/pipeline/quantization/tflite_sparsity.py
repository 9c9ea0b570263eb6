"""Zeros among the weights of a TFLite file: what is left of pruning in the very file that devices run.

Training with rounding in place moves weights once more, and rounding itself adds zeros: small weights become zero. So what
pruning had set to zero in the float network is no answer for the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from edgewright.errors import StageError
from edgewright.pipeline.quantization.tflite_file import (
    COMPUTE_OPERATORS,
    TfliteFile,
    TfliteOperator,
    layers_of,
    read_tflite,
)

# Pruning leaves depthwise filters alone.
_NEVER_PRUNED = "DEPTHWISE_CONV_2D"
# A point of a hundred: rounding adds zeros and takes none, so what is missing beyond it was lost.
_MAY_BE_LOST = 0.01
_AWARE_PREFIX = "quant_"
_BIAS = "/BiasAdd"


@dataclass(frozen=True)
class Zeros:
    """Zeros among weights.

    Attributes:
        zeros: Weights that are zero.
        weights: All of them.
    """

    zeros: int
    weights: int

    @property
    def share(self) -> float:
        """Share of zeros, 0 to 1."""
        return self.zeros / self.weights

    def __add__(self, other: Zeros) -> Zeros:
        return Zeros(self.zeros + other.zeros, self.weights + other.weights)


def layer_sparsity(content: bytes, layers: Collection[str]) -> dict[str, float]:
    """Share of zeros, 0 to 1, among the weights of each convolution and matrix product of a file, by layer.

    Args:
        content: A TFLite file.
        layers: Names of the network's layers that pruning may touch. The converter names weights by what it merged with
            them; with these names a layer is called here as it is in the network.

    Raises:
        StageError: It is no TFLite file, or it is damaged.
    """
    found: dict[str, Zeros] = {}
    for _, layer, zeros in _zeros(read_tflite(content), layers):
        found[layer] = found.get(layer, Zeros(0, 0)) + zeros
    return {layer: zeros.share for layer, zeros in found.items()}


def check_zeros_kept(content: bytes, pruned: Mapping[str, Zeros]) -> None:
    """Whether the zeros of pruning are still there after training with rounding in place.

    They are counted over all convolutions and matrix products but depthwise ones: those are what pruning touches.

    Args:
        content: The TFLite file.
        pruned: What pruning left in the float network, by layer.

    Raises:
        StageError: The file has a share of zeros that is more than one point smaller.
    """
    found = [each for each in _zeros(read_tflite(content), pruned) if each[0] != _NEVER_PRUNED]
    asked = sum(pruned.values(), Zeros(0, 0)).share
    left = sum((zeros for _, _, zeros in found), Zeros(0, 0)).share
    if left >= asked - _MAY_BE_LOST:
        return
    before = {layer: pruned[layer].share if layer in pruned else asked for _, layer, _ in found}
    _, worst, zeros = max(found, key=lambda each: before[each[1]] - each[2].share)
    raise StageError(
        f"training with rounding in place lost zeros of pruning: {100 * left:.1f} % of the weights in the file are zero, "
        f"pruning had left {100 * asked:.1f} % (most of all in layer {worst!r}: {100 * zeros.share:.1f} %, "
        f"{100 * before[worst]:.1f} % before). Leave prune or quantize.aware out."
    )


def _zeros(file: TfliteFile, layers: Collection[str]) -> list[tuple[str, str, Zeros]]:
    """Operator type, layer and zeros of each compute operator whose weights stand in the file."""
    found = []
    for operator in file.operators:
        if operator.name not in COMPUTE_OPERATORS:
            continue
        weights = file.weights_of(operator)
        if weights.constant is None:  # a product of two activations
            continue
        # Integers that stand for zero are 0 where there is one scale per channel, as TFLite prescribes.
        zero = weights.zero_points[0] if len(weights.zero_points) == 1 else 0
        zeros = Zeros(int(np.count_nonzero(weights.constant == zero)), weights.constant.size)
        found.append((operator.name, _layer(file, operator, layers), zeros))
    return found


def _layer(file: TfliteFile, operator: TfliteOperator, layers: Collection[str]) -> str:
    """The layer that an operator comes from, by the names of its weights or, where a norm gave them its own, its output."""
    stored, output = file.weights_of(operator).name, file.tensors[operator.outputs[0]].name
    if operator.name == _NEVER_PRUNED:  # a separable convolution is two operators: the other one has its name
        name = layers_of(stored)
        return f"{name} (depthwise)" if name in layers else name
    # A bias in it may be that of the layer before: the converter takes it through what follows.
    made = [part for part in output.split(";") if _BIAS not in part]
    for part in (*stored.split(";"), *made):
        place = "/".join(step.removeprefix(_AWARE_PREFIX) for step in part.split("/")[1:]) + "/"
        # The longest: a layer within a model within the network has that one's name in front.
        if known := [layer for layer in layers if place.startswith(f"{layer}/")]:
            return max(known, key=len)
    return layers_of(stored)
