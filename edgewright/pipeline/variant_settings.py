"""The recipe's section ``variants``: the ways to compress a trained model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgewright.pipeline.targets import Strict

# Charts in the tracking UI cut categories at about ten characters: names must differ before that.
VARIANT_NAME_LENGTH = 10


class DistillSettings(Strict):
    """Knowledge distillation: while fine-tuning, the base model's softened answers are learned as well as the labels."""

    temperature: float = Field(4.0, ge=1, le=100, description="softens both models' answers; 1 leaves them as they are")
    weight: float = Field(
        0.5, gt=0, le=1, description="share of the teacher's answers in the loss; the labels have the rest"
    )


class PruneSettings(Strict):
    """Pruning: channels are really removed, or single weights are set to zero."""

    method: Literal["channels", "magnitude"] = Field(
        "channels",
        description="channels: whole channels go, the model is smaller and faster; magnitude: the smallest weights become "
        "zero, which shrinks the compressed file only",
    )
    sparsity: float = Field(ge=0.05, le=0.95, description="share of channels, or of weights, to remove")
    schedule: Literal["one_shot", "polynomial"] = Field(
        "one_shot", description="all at once, or along a polynomial decay during fine-tuning"
    )
    steps: int = Field(4, ge=2, le=100, description="pruning steps of the polynomial schedule")
    power: float = Field(3.0, gt=0, le=10, description="exponent of the polynomial schedule")
    fine_tune_epochs: int = Field(ge=1, le=1000, description="epochs of training after (or while) pruning")
    distill: DistillSettings | None = Field(None, description="fine-tune with the base model as teacher")


class QuantizeSettings(Strict):
    """Fewer bits; the integer types belong to the target."""

    method: Literal["static", "dynamic", "float16"] = Field(
        "static",
        description="static: INT8 with calibrated ranges; dynamic: INT8 weights, ranges found anew at every inference, for "
        "networks of matrix products; float16: half the size, and no faster where the engine has no such kernels",
    )
    calibration: list[Literal["minmax", "percentile", "entropy"]] = Field(
        ["minmax", "percentile"],
        min_length=1,
        max_length=3,
        description="range estimators to try; the better on the validation split is kept",
    )
    percentile: float = Field(
        99.99, ge=90, lt=100, description="share of values that the percentile range keeps, in percent"
    )
    per_channel: bool = Field(True, description="one scale per output channel of the weights")


class Variant(Strict):
    """One way to compress and export the trained model."""

    name: str = Field(
        pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
        max_length=VARIANT_NAME_LENGTH,
        description="short name; charts in the tracking UI cut longer ones",
    )
    prune: PruneSettings | None = Field(None, description="pruning before export")
    quantize: QuantizeSettings | None = Field(None, description="fewer bits after export")

    @property
    def is_reference(self) -> bool:
        """Whether this variant is the uncompressed model itself."""
        return self.prune is None and self.quantize is None
