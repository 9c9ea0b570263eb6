"""Model output becomes an answer: the same code in evaluation, in the gate and on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BundleError, DataError, EngineError
from edgewright.strict_json import Fields

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_QUANTITY_LENGTH, _UNIT_LENGTH = 60, 20  # characters: they stand in a line of a terminal


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a model decided about N samples.

    Attributes:
        label_index: int64 ``[N]``, position in the labels; 0 throughout where values are answered.
        score: float32 ``[N]``: the probability of the decided label, the anomaly score, or the answered value.
        outputs: float32 ``[N, K]``, what the model gave, before anything was made of it.
    """

    label_index: NDArray[np.int64]
    score: NDArray[np.float32]
    outputs: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.label_index)


@dataclass(frozen=True)
class Classification:
    """One of K labels per sample: the greatest output wins, the first among equals; its softmax is the probability.

    Attributes:
        labels: The K names, in the order of the model's outputs.
    """

    kind: ClassVar[Literal["classification"]] = "classification"
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels) or not all(self.labels):
            raise DataError(f"labels must be at least two different non-empty names, found {list(self.labels)}.")

    def outputs(self, input_shape: tuple[int, int, int]) -> int:
        """How many outputs the network has: one per label, whatever the input is."""
        del input_shape
        return len(self.labels)

    def decide(self, outputs: NDArray[np.float32], inputs: NDArray[np.float32]) -> Decisions:
        """Decide on model outputs.

        Args:
            outputs: float32 ``[N, K]``.
            inputs: float32 ``[N, C, H, W]``, what the model was given.

        Raises:
            EngineError: The outputs are not ``[N, K]``, or hold NaN or an infinity: such a model has no answer.
        """
        _check_outputs(outputs, inputs, len(self.labels), "the labels are not this model's")
        label_index = outputs.argmax(axis=1).astype(np.int64)
        # Softmax in float64, shifted by the maximum: exp cannot overflow, and the decided label's share is 1 / sum.
        shifted = outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True)
        probability = (1.0 / np.exp(shifted).sum(axis=1)).astype(np.float32)
        return Decisions(label_index, probability, outputs)

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form that `postprocessing_from_json` reads back to an equal value."""
        return {"kind": self.kind, "labels": list(self.labels)}


@dataclass(frozen=True)
class AnomalyScore:
    """Normal or not: the network reproduces its input, and the score is how badly it does.

    The score is the mean squared difference between the model's input and its outputs, both normalised: a pure number, in
    squared standard deviations of the training data. A score above the threshold is an anomaly.

    Attributes:
        threshold: Greatest score that is still normal; at least 0.
    """

    kind: ClassVar[Literal["anomaly"]] = "anomaly"
    labels: ClassVar[tuple[str, str]] = ("normal", "anomaly")
    threshold: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= _FLOAT32_MAX:
            raise DataError(f"the anomaly threshold must be a number from 0 up, found {self.threshold}.")

    def outputs(self, input_shape: tuple[int, int, int]) -> int:
        """How many outputs the network has: as many as it has inputs."""
        return math.prod(input_shape)

    def decide(self, outputs: NDArray[np.float32], inputs: NDArray[np.float32]) -> Decisions:
        """Score model outputs against the inputs that they reproduce, and decide.

        Args:
            outputs: float32 ``[N, C*H*W]``, in the order of the flattened inputs.
            inputs: float32 ``[N, C, H, W]``.

        Returns:
            Label index 1 where the score is above the threshold, both taken as float32.

        Raises:
            EngineError: The outputs are not as many as the inputs, or hold NaN or an infinity.
        """
        _check_outputs(outputs, inputs, math.prod(inputs.shape[1:]), "an anomaly is scored by reproducing the input")
        difference = outputs.astype(np.float64) - inputs.reshape(len(inputs), -1)
        # What float32 cannot hold is an anomaly for certain; an infinity could not be written as JSON.
        score = np.minimum(np.mean(difference**2, axis=1), _FLOAT32_MAX).astype(np.float32)
        return Decisions((score > np.float32(self.threshold)).astype(np.int64), score, outputs)

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form that `postprocessing_from_json` reads back to an equal value."""
        return {"kind": self.kind, "threshold": self.threshold}


@dataclass(frozen=True)
class Regression:
    """One number per sample: the network gives it standardised, the answer is in the quantity's own unit.

    Attributes:
        mean: Mean of the training data's values, in the unit.
        std: Their standard deviation, in the unit; greater than 0.
        quantity: What is answered, for people, e.g. ``temperature``.
        unit: Its unit, for people, e.g. ``°C``; empty for a pure number.
    """

    kind: ClassVar[Literal["regression"]] = "regression"
    mean: float
    std: float
    quantity: str
    unit: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise DataError(
                f"regression mean and std must be finite and std above 0, found {self.mean} and {self.std}."
            )
        for name, limit in (("quantity", _QUANTITY_LENGTH), ("unit", _UNIT_LENGTH)):
            text = getattr(self, name)
            if len(text) > limit or not text.isprintable():
                raise DataError(f"regression {name} must be at most {limit} printable characters, found {text!r:.80}.")
        if not self.quantity:
            raise DataError("regression quantity must be a name, found an empty one.")

    @property
    def labels(self) -> tuple[str]:
        """The quantity: what every answer is about."""
        return (self.quantity,)

    def outputs(self, input_shape: tuple[int, int, int]) -> int:
        """How many outputs the network has: one."""
        del input_shape
        return 1

    def decide(self, outputs: NDArray[np.float32], inputs: NDArray[np.float32]) -> Decisions:
        """Turn model outputs into values.

        Args:
            outputs: float32 ``[N, 1]``, in standard deviations from the mean.
            inputs: float32 ``[N, C, H, W]``, what the model was given.

        Raises:
            EngineError: The outputs are not ``[N, 1]``, or a value is NaN, an infinity, or beyond float32.
        """
        _check_outputs(outputs, inputs, 1, "a regression answers one number")
        values = outputs[:, 0].astype(np.float64) * self.std + self.mean
        if (np.abs(values) > _FLOAT32_MAX).any():
            raise EngineError(
                f"the model answers {np.abs(values).max():.3g} {self.unit}, which float32 cannot hold: it is dead or was "
                f"broken in compression."
            )
        return Decisions(np.zeros(len(outputs), np.int64), values.astype(np.float32), outputs)

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form that `postprocessing_from_json` reads back to an equal value."""
        return {
            "kind": self.kind,
            "mean": self.mean,
            "std": self.std,
            "quantity": self.quantity,
            "unit": self.unit,
        }


Postprocessing = Classification | AnomalyScore | Regression


def postprocessing_from_json(value: object) -> Postprocessing:
    """Read the JSON form of any of them.

    Raises:
        BundleError: A key is missing, unknown, or of the wrong type; or the kind is none of these.
        DataError: The values do not fit together.
    """
    fields = Fields(value, "postprocessing", BundleError)
    kind = fields.text("kind")
    result: Postprocessing
    if kind == Classification.kind:
        result = Classification(fields.texts("labels"))
    elif kind == AnomalyScore.kind:
        result = AnomalyScore(fields.number("threshold"))
    elif kind == Regression.kind:
        result = Regression(fields.number("mean"), fields.number("std"), fields.text("quantity"), fields.text("unit"))
    else:
        raise fields.fail("kind", "'classification', 'anomaly' or 'regression'", kind)
    fields.end()
    return result


def _check_outputs(outputs: NDArray[np.float32], inputs: NDArray[np.float32], needed: int, rule: str) -> None:
    if outputs.ndim != 2 or outputs.shape != (len(inputs), needed):
        raise EngineError(
            f"the model gave outputs of the shape {list(outputs.shape)}, needed [{len(inputs)}, {needed}]: {rule}."
        )
    broken = ~np.isfinite(outputs).all(axis=1)
    if broken.any():
        raise EngineError(
            f"the model gave NaN or infinite outputs for {int(broken.sum())} of {len(outputs)} samples: "
            f"it is dead or was broken in compression."
        )
