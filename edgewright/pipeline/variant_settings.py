"""The recipe's section ``variants``: the ways to compress a trained model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgewright.pipeline.targets import Strict

Framework = Literal["pytorch", "keras"]
ModelFormat = Literal["onnx", "tflite"]
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
    steps: int = Field(4, ge=2, le=100, description="pruning steps of the polynomial schedule (pytorch only)")
    power: float = Field(3.0, gt=0, le=10, description="exponent of the polynomial schedule")
    pattern: Literal["any", "2:4"] = Field(
        "any",
        description="which weights magnitude may zero: the smallest anywhere, or two of every four neighbours (keras only)",
    )
    initial_sparsity: float = Field(
        0.0, ge=0, lt=0.95, description="sparsity at which the polynomial schedule begins (keras only)"
    )
    begin_step: int = Field(0, ge=0, description="training step at which the polynomial schedule begins (keras only)")
    end_step: int | None = Field(
        None, ge=1, description="training step at which it ends; without it half of fine-tuning (keras only)"
    )
    frequency_steps: int = Field(10, ge=1, le=10_000, description="training steps between two prunings (keras only)")
    fine_tune_epochs: int = Field(ge=1, le=1000, description="epochs of training after (or while) pruning")
    distill: DistillSettings | None = Field(None, description="fine-tune with the base model as teacher (pytorch only)")


class AwareSettings(Strict):
    """Quantization-aware training: the network trains on with the rounding of INT8 in place; zeros of pruning stay zero."""

    epochs: int = Field(ge=1, le=1000, description="epochs of training with rounding in place")
    learning_rate: float = Field(2e-4, gt=0, le=1, description="peak of the one-cycle schedule of these epochs")


class QuantizeSettings(Strict):
    """Fewer bits; the integer types belong to the target."""

    method: Literal["static", "dynamic", "float16"] = Field(
        "static",
        description="static: INT8 with calibrated ranges; dynamic: INT8 weights, ranges found anew at every inference, in "
        "ONNX for networks of matrix products; float16: half the size, and no faster where the engine has no such kernels",
    )
    calibration: list[Literal["minmax", "percentile", "entropy"]] = Field(
        ["minmax", "percentile"],
        min_length=1,
        max_length=3,
        description="range estimators to try; the better on the validation split is kept (TFLite knows minmax alone)",
    )
    percentile: float = Field(
        99.99, ge=90, lt=100, description="share of values that the percentile range keeps, in percent"
    )
    per_channel: bool = Field(True, description="one scale per output channel of the weights")
    aware: AwareSettings | None = Field(
        None, description="train on with rounding in place before ranges are fixed (keras to TFLite, method static)"
    )


class Variant(Strict):
    """One way to compress and export the trained model."""

    name: str = Field(
        pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
        max_length=VARIANT_NAME_LENGTH,
        description="short name; charts in the tracking UI cut longer ones",
    )
    framework: Framework = Field("pytorch", description="which framework trains it; without it the recipe's framework")
    format: ModelFormat = Field(
        default_factory=lambda data: "tflite" if data.get("framework") == "keras" else "onnx",
        description="file that it becomes: onnx for the engine onnxruntime, tflite for litert; without it onnx of pytorch "
        "and tflite of keras",
    )
    prune: PruneSettings | None = Field(None, description="pruning before export")
    quantize: QuantizeSettings | None = Field(None, description="fewer bits after export")

    @property
    def is_uncompressed(self) -> bool:
        """Whether this variant is the trained model as it is: the first such one that a target runs is its reference."""
        return self.prune is None and self.quantize is None
