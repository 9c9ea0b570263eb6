"""Model output becomes an answer: the same code in evaluation, in the gate and on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import BundleError, DataError, EngineError
from edgewright.strict_json import Fields


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a model decided about N samples.

    Attributes:
        label_index: int64 ``[N]``, position in the labels.
        probability: float32 ``[N]``, of the decided label.
        outputs: float32 ``[N, K]``, what the model gave, before any softmax.
    """

    label_index: NDArray[np.int64]
    probability: NDArray[np.float32]
    outputs: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.label_index)


@dataclass(frozen=True)
class Classification:
    """One of K labels per sample: the greatest output wins, the first among equals; its softmax is the probability.

    Attributes:
        labels: The K names, in the order of the model's outputs.
    """

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels) or not all(self.labels):
            raise DataError(f"labels must be at least two different non-empty names, found {list(self.labels)}.")

    def decide(self, outputs: NDArray[np.float32]) -> Decisions:
        """Decide on model outputs.

        Args:
            outputs: float32 ``[N, K]``, finite.

        Raises:
            EngineError: The outputs are not ``[N, K]``, or hold NaN or an infinity: such a model has no answer.
        """
        if outputs.ndim != 2 or outputs.shape[1] != len(self.labels):
            raise EngineError(
                f"the model gave outputs of the shape {list(outputs.shape)}, needed [N, {len(self.labels)}]: "
                f"the labels are not this model's."
            )
        broken = ~np.isfinite(outputs).all(axis=1)
        if broken.any():
            raise EngineError(
                f"the model gave NaN or infinite outputs for {int(broken.sum())} of {len(outputs)} samples "
                f"(first: number {int(broken.argmax())}): it is dead or was broken in compression."
            )
        label_index = outputs.argmax(axis=1).astype(np.int64)
        # Softmax in float64, shifted by the maximum: exp cannot overflow, and the decided label's share is 1 / sum.
        shifted = outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True)
        probability = (1.0 / np.exp(shifted).sum(axis=1)).astype(np.float32)
        return Decisions(label_index, probability, outputs)

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form that `from_json` reads back to an equal value."""
        return {"kind": "classification", "labels": list(self.labels)}

    @classmethod
    def from_json(cls, value: object) -> Classification:
        """Read the JSON form.

        Raises:
            BundleError: A key is missing, unknown, or of the wrong type; or the kind is another one.
            DataError: The labels do not fit together.
        """
        fields = Fields(value, "postprocessing", BundleError)
        kind = fields.text("kind")
        if kind != "classification":
            raise fields.fail("kind", "'classification'", kind)
        result = cls(fields.texts("labels"))
        fields.end()
        return result
