"""What a model answered on the test split, in the form that its kind of question is drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import DataError


@dataclass(frozen=True)
class ClassAnswers:
    """Classification: how often each class was answered for each class.

    Attributes:
        class_names: Names in the order of the label index, K of them.
        counts: K rows of K: ``counts[i][j]`` samples are of class i and were answered j.

    Raises:
        DataError: The counts are not K x K.
    """

    class_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        """Refuse a table that does not fit the names."""
        classes = len(self.class_names)
        if len(self.counts) != classes or any(len(row) != classes for row in self.counts):
            raise DataError(f"confusion counts are not {classes} x {classes}, the number of class names; count again")

    @classmethod
    def count(cls, class_names: Sequence[str], labels: NDArray[Any], predicted: NDArray[Any]) -> Self:
        """Count the answers.

        Args:
            class_names: Names in the order of the label index.
            labels: Integers [N], the true label's index.
            predicted: Integers [N], the answered label's index.
        """
        counts = np.zeros((len(class_names), len(class_names)), np.int64)
        np.add.at(counts, (labels, predicted), 1)
        return cls(tuple(class_names), tuple(tuple(int(count) for count in row) for row in counts))


@dataclass(frozen=True, eq=False)
class AnomalyAnswers:
    """Anomaly task: how strange each sample looked.

    Attributes:
        scores: Float [N], higher is stranger.
        is_anomaly: Bool [N], the truth.
        threshold: Scores above it are called anomalies.

    Raises:
        DataError: The arrays differ in length, or a number is not finite.
    """

    scores: NDArray[np.float64]
    is_anomaly: NDArray[np.bool_]
    threshold: float

    def __post_init__(self) -> None:
        """Keep arrays of one length and type."""
        object.__setattr__(self, "scores", _finite(self.scores, "anomaly scores"))
        object.__setattr__(self, "is_anomaly", np.asarray(self.is_anomaly).astype(bool))
        _finite([self.threshold], "anomaly threshold")
        _same_length("anomaly scores", self.scores, "truths", self.is_anomaly)


@dataclass(frozen=True, eq=False)
class ValueAnswers:
    """Regression: what was answered, and what is true.

    Attributes:
        true: Float [N], in ``unit``.
        answered: Float [N], in ``unit``.
        quantity: What is answered, for people.
        unit: Its unit; may be empty.

    Raises:
        DataError: The arrays differ in length, or a number is not finite.
    """

    true: NDArray[np.float64]
    answered: NDArray[np.float64]
    quantity: str
    unit: str = ""

    def __post_init__(self) -> None:
        """Keep arrays of one length and type."""
        object.__setattr__(self, "true", _finite(self.true, "true values"))
        object.__setattr__(self, "answered", _finite(self.answered, "answered values"))
        _same_length("true values", self.true, "answered values", self.answered)


Answers: TypeAlias = ClassAnswers | AnomalyAnswers | ValueAnswers


def _finite(values: Any, what: str) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all():
        raise DataError(f"{what}: {int((~np.isfinite(array)).sum())} of {array.size} are not finite; evaluate again")
    return array


def _same_length(name: str, first: NDArray[Any], other_name: str, other: NDArray[Any]) -> None:
    if len(first) != len(other):
        raise DataError(f"{len(first)} {name}, but {len(other)} {other_name}; take both from one evaluation")
