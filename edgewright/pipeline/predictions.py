"""Predictions per sample: what the gate compares, kept so that any two evaluations can be paired later.

The file is an npz of plain arrays without pickle. Its bytes follow from its content alone, so that it has one digest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import DataError, GateError
from edgewright.pipeline.statistics import PairedCounts

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ARRAYS = ("sample_sha256", "labels", "predicted")

Answers = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one model answered on one split.

    Attributes:
        sample_sha256: Digest of every sample, 64 lower-case hexadecimal digits each, in the split's order.
        labels: int64 [N], the true label's index (anomaly: 0 or 1); or float64 [N], the true value. Read-only.
        predicted: The model's answer, of the same kind as the label. Read-only.
        score: float32 [N], read-only: the probability of the decided class, or the anomaly score; None where no score
            was kept (values, and files of releases that kept none).

    Raises:
        DataError: A digest, a dtype, a length, a label's index or a value is not as said above.
    """

    sample_sha256: tuple[str, ...]
    labels: Answers
    predicted: Answers
    score: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        """Check every field and keep own, read-only copies of the arrays."""
        object.__setattr__(self, "sample_sha256", tuple(self.sample_sha256))
        for index, digest in enumerate(self.sample_sha256):
            if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
                raise DataError(f"predictions: sample_sha256[{index}] is {digest!r}, not 64 lower-case hex digits")
        samples = len(self.sample_sha256)
        values = np.asarray(self.labels).dtype == np.float64
        for name in ("labels", "predicted"):
            own = _own(name, getattr(self, name), np.dtype(np.float64 if values else np.int64), samples)
            object.__setattr__(self, name, own)
        if self.score is not None:
            object.__setattr__(self, "score", _own("score", self.score, np.dtype(np.float32), samples))

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.sample_sha256)

    def __eq__(self, other: object) -> bool:
        """Equal when digests, labels and answers are, in the same order."""
        if not isinstance(other, Predictions):
            return NotImplemented
        return (
            self.sample_sha256 == other.sample_sha256
            and np.array_equal(self.labels, other.labels)
            and self.labels.dtype == other.labels.dtype
            and np.array_equal(self.predicted, other.predicted)
            and (self.score is None) == (other.score is None)
            and (self.score is None or other.score is None or np.array_equal(self.score, other.score))
        )

    def __hash__(self) -> int:
        """Hash of digests and answers."""
        return hash((self.sample_sha256, tuple(self.predicted.tolist())))

    @property
    def has_values(self) -> bool:
        """Whether labels and answers are values (regression) and no positions in a list of names."""
        return self.labels.dtype == np.float64

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Where the model was right: bool [N].

        Raises:
            DataError: The answers are values, which are more or less near and never right or wrong.
        """
        if self.has_values:
            raise DataError("predictions: answers that are values are not right or wrong; judge them by skill")
        right: NDArray[np.bool_] = self.labels == self.predicted
        return right

    @property
    def accuracy_pct(self) -> float:
        """Share of right answers in percent.

        Raises:
            DataError: There are no samples.
        """
        if not len(self):
            raise DataError("predictions: accuracy of 0 samples is not defined; evaluate at least one sample")
        return 100.0 * int(np.count_nonzero(self.correct)) / len(self)

    def take(self, indices: NDArray[np.int64] | NDArray[np.bool_]) -> Predictions:
        """The samples at these positions, or where the mask is true, in that order.

        Args:
            indices: int64 [M] positions, or bool [N].
        """
        positions = np.flatnonzero(indices) if indices.dtype == np.bool_ else indices
        return Predictions(
            tuple(self.sample_sha256[position] for position in positions.tolist()),
            self.labels[positions],
            self.predicted[positions],
            None if self.score is None else self.score[positions],
        )

    def save(self, path: Path) -> None:
        """Write one npz file whose bytes follow from the content alone; without a score, none is in it."""
        digests = np.frombuffer(bytes.fromhex("".join(self.sample_sha256)), dtype=np.uint8).reshape(-1, 32)
        arrays: dict[str, NDArray[Any]] = {"sample_sha256": digests, "labels": self.labels, "predicted": self.predicted}
        if self.score is not None:
            arrays["score"] = self.score
        # An open file, because numpy appends ".npz" to a path that lacks it.
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what ``save`` wrote.

        Raises:
            DataError: The file is missing, cut short, holds other arrays, or needs pickle.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                if sorted(set(arrays.files) - {"score"}) != sorted(_ARRAYS):
                    raise DataError(
                        f"{path}: holds {sorted(arrays.files)}, a predictions file holds {sorted(_ARRAYS)}, and score or not"
                    )
                digests, labels, predicted = (arrays[name] for name in _ARRAYS)
                score = arrays["score"] if "score" in arrays.files else None
        except DataError:
            raise
        except (
            Exception
        ) as error:  # broken bytes make zipfile and numpy raise a dozen kinds, NotImplementedError among them
            raise DataError(f"{path}: not a readable predictions file ({error}); run the evaluation again") from error
        if digests.ndim != 2 or digests.shape[1] != 32 or digests.dtype != np.uint8:
            raise DataError(f"{path}: sample_sha256 is {digests.dtype} {digests.shape}, not uint8 [N, 32]")
        return cls(tuple(row.tobytes().hex() for row in digests), labels, predicted, score)


def check_pair(candidate: Predictions, other: Predictions, name: str) -> None:
    """Check that two models answered the same samples in the same order.

    Args:
        candidate: Answers of the model under judgement.
        other: Answers of the model it is compared with.
        name: Word for the other model in messages, e.g. ``champion``.

    Raises:
        GateError: Samples or labels do not pair one to one; names both counts and the first mismatch.
    """
    counts = f"candidate has {len(candidate)} samples, {name} has {len(other)}"
    remedy = f"evaluate the {name} again on the candidate's split"
    if candidate.has_values != other.has_values:
        kinds = " and ".join("values" if one.has_values else "classes" for one in (candidate, other))
        raise GateError(f"candidate and {name} do not pair: they answer {kinds}; {remedy}")
    for what, mine, theirs in (
        ("sample", candidate.sample_sha256, other.sample_sha256),
        ("label of sample", candidate.labels.tolist(), other.labels.tolist()),
    ):
        if mine == theirs:
            continue
        first = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
        if first is None:
            first = min(len(candidate), len(other))
            where = f"{what} {first} exists on one side only"
        else:
            where = f"{what} {first} is {mine[first]} here and {theirs[first]} there"
        raise GateError(f"candidate and {name} do not pair: {counts}; first mismatch: {where}; {remedy}")


def pair(candidate: Predictions, other: Predictions, name: str) -> PairedCounts:
    """Count the samples that the candidate lost to, and gained on, another model.

    Args:
        candidate: Answers of the model under judgement.
        other: Answers of the model it is compared with, on the same samples in the same order.
        name: Word for the other model in messages, e.g. ``champion``.

    Raises:
        GateError: Samples or labels do not pair one to one; names both counts and the first mismatch.
        DataError: The answers are values.
    """
    check_pair(candidate, other, name)
    mine_right, other_right = candidate.correct, other.correct
    return PairedCounts(
        samples=len(candidate),
        lost=int(np.count_nonzero(other_right & ~mine_right)),
        gained=int(np.count_nonzero(mine_right & ~other_right)),
    )


def _own(name: str, values: object, dtype: np.dtype[Any], samples: int) -> NDArray[Any]:
    """An own, read-only copy of an array that has this dtype and one finite number, or one index, per sample."""
    array = np.asarray(values)
    if array.dtype != dtype or array.shape != (samples,):
        raise DataError(f"predictions: {name} is {array.dtype} {array.shape}, not {dtype} ({samples},)")
    if dtype == np.int64 and samples and array.min() < 0:
        raise DataError(f"predictions: {name} holds {array.min()}, a label's index is 0 or more")
    finite = np.isfinite(array)
    if not finite.all():
        first = int((~finite).argmax())
        raise DataError(f"predictions: {name}[{first}] is {array[first]}, not finite: such a model has no answer")
    array = array.copy()
    array.flags.writeable = False
    return array
