"""Chooses which variant of a target is put to the gate, on validation figures alone.

The test split has no voice here: choosing by it and then testing on it would let luck pass as quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Contender:
    """What the choice looks at.

    Attributes:
        variant: Name of the variant.
        is_reference: Whether it is the uncompressed model.
        validation_drop_points: What it loses against the reference on the validation split, in points.
        size_bytes: Size of its model file.
        latency_p50_ms: Its median latency; None where the target was not measured.
    """

    variant: str
    is_reference: bool
    validation_drop_points: float
    size_bytes: int
    latency_p50_ms: float | None


def rank(
    contenders: Sequence[Contender], minimize: Literal["latency", "size"], max_validation_drop_points: float
) -> tuple[str, ...]:
    """Names of the variants worth gating, the best first.

    Compressed variants that lose too much on validation are left out. Where all of them do, the one that loses least is put
    forward, so that the gate says by how much: shipping the float model instead would hide it. The reference is only chosen
    where it is all there is. Where latency was not measured the smallest file comes first.

    Args:
        contenders: All variants of one target; the reference among them.
        minimize: What the recipe asks for.
        max_validation_drop_points: Largest acceptable drop on validation, in points.
    """
    compressed = [contender for contender in contenders if not contender.is_reference]
    if not compressed:
        return tuple(contender.variant for contender in contenders)
    qualified = [each for each in compressed if each.validation_drop_points <= max_validation_drop_points]
    if not qualified:
        return (min(compressed, key=lambda each: (each.validation_drop_points, each.variant)).variant,)
    measured = all(contender.latency_p50_ms is not None for contender in qualified)

    def order(contender: Contender) -> tuple[float, float, str]:
        if minimize == "latency" and measured:
            return (contender.latency_p50_ms or 0.0, contender.size_bytes, contender.variant)
        return (contender.size_bytes, contender.validation_drop_points, contender.variant)

    return tuple(contender.variant for contender in sorted(qualified, key=order))
