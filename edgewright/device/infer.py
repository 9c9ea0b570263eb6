"""Answers on files, from the bundle that serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.bundle import Bundle, read_bundle
from edgewright.bundle_file import MANIFEST_NAME
from edgewright.device.samples import read_samples
from edgewright.device.store import BundleStore
from edgewright.errors import DataError
from edgewright.postprocessing import AnomalyScore, Classification, Postprocessing
from edgewright.predictor import Predictor


@dataclass(frozen=True)
class LabelAnswer:
    """The class of one sample.

    Attributes:
        source: The file.
        index: Number of the sample in the file, from 0.
        label: The decided label.
        label_index: Its position among the labels.
        probability: Its softmax, 0 to 1.
    """

    source: str
    index: int
    label: str
    label_index: int
    probability: float

    def describe(self) -> str:
        """Say it in one line."""
        return f"{self.label:<12}  {self.probability:.3f}"


@dataclass(frozen=True)
class AnomalyAnswer:
    """Whether one sample is normal.

    Attributes:
        source: The file.
        index: Number of the sample in the file, from 0.
        label: ``normal`` or ``anomaly``.
        label_index: 0 or 1.
        score: Mean squared difference between the sample and its reproduction, in squared standard deviations of the
            training data.
        threshold: Greatest score that is still normal.
    """

    source: str
    index: int
    label: str
    label_index: int
    score: float
    threshold: float

    def describe(self) -> str:
        """Say it in one line."""
        return f"{self.label:<12}  score {self.score:.4g} (threshold {self.threshold:.4g})"


@dataclass(frozen=True)
class ValueAnswer:
    """The value of one sample.

    Attributes:
        source: The file.
        index: Number of the sample in the file, from 0.
        quantity: What is answered.
        value: How much it is, in the unit.
        unit: Its unit; empty for a pure number.
    """

    source: str
    index: int
    quantity: str
    value: float
    unit: str

    def describe(self) -> str:
        """Say it in one line."""
        return f"{self.quantity:<12}  {self.value:.6g} {self.unit}".rstrip()


SampleAnswer = LabelAnswer | AnomalyAnswer | ValueAnswer


def open_bundle_at(place: Path) -> Bundle:
    """Read the bundle in a folder, or the one that serves in a device's folder.

    Raises:
        BundleError: There is none, or it is damaged.
    """
    return read_bundle(place) if (place / MANIFEST_NAME).exists() else BundleStore(place).open_linked()


def answer_files(predictor: Predictor, files: Sequence[Path], limit: int | None = None) -> Iterator[SampleAnswer]:
    """Answer on every sample of some files, as they are read.

    Args:
        predictor: What answers.
        files: See `edgewright.device.samples.read_samples`.
        limit: How many samples at most, over all files.

    Raises:
        DataError: A file cannot be read, or its samples are not what the model takes.
        EngineError: The model gives no finite answer.
    """
    left = limit
    for path in files:
        index = 0
        for batch in read_samples(path, predictor.preprocessing):
            wanted = batch if left is None else batch[:left]
            if not len(wanted):
                return
            try:
                decisions = predictor.predict(wanted, first_number=index)
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
            for label_index, score in zip(decisions.label_index, decisions.score, strict=True):
                yield _answer(predictor.postprocessing, str(path), index, int(label_index), float(score))
                index += 1
            left = None if left is None else left - len(wanted)


def _answer(postprocessing: Postprocessing, source: str, index: int, label_index: int, score: float) -> SampleAnswer:
    if isinstance(postprocessing, Classification):
        return LabelAnswer(source, index, postprocessing.labels[label_index], label_index, score)
    if isinstance(postprocessing, AnomalyScore):
        label = postprocessing.labels[label_index]
        return AnomalyAnswer(source, index, label, label_index, score, postprocessing.threshold)
    return ValueAnswer(source, index, postprocessing.quantity, score, postprocessing.unit)
