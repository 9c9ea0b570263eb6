"""Answers on files, from the bundle that serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.bundle import Bundle, read_bundle
from edgewright.device.samples import read_samples
from edgewright.device.store import BundleStore
from edgewright.errors import DataError
from edgewright.manifest import MANIFEST_NAME
from edgewright.predictor import Predictor


@dataclass(frozen=True)
class SampleAnswer:
    """What the model says about one sample.

    Attributes:
        source: The file.
        index: Number of the sample in the file, from 0.
        label: The decided label.
        label_index: Its position among the labels.
        probability: Its softmax.
    """

    source: str
    index: int
    label: str
    label_index: int
    probability: float


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
        for batch in read_samples(path):
            wanted = batch if left is None else batch[:left]
            if not len(wanted):
                return
            try:
                decisions = predictor.predict(wanted)
            except DataError as error:
                raise DataError(f"{path}: {error}") from error
            for label_index, probability in zip(decisions.label_index, decisions.probability, strict=True):
                label = predictor.postprocessing.labels[label_index]
                yield SampleAnswer(str(path), index, label, int(label_index), float(probability))
                index += 1
            left = None if left is None else left - len(wanted)
