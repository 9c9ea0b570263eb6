"""Which samples are there already, and under which label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.collected import label_texts, read_labels
from edgewright.pipeline.datasets.dataset import Dataset, sample_digests
from edgewright.pipeline.intake.drop import RejectedError
from edgewright.pipeline.intake.ledger import Batch


@dataclass(frozen=True)
class Match:
    """A drop, held against what is there.

    Attributes:
        fresh: Rows that are new.
        duplicates: How many are there already, or twice in the drop, under one label.
    """

    fresh: tuple[int, ...]
    duplicates: int


class KnownSamples:
    """Label by content digest: of the model's own data, and of what was taken in and not refused."""

    def __init__(self, store: ArtifactStore, base: Dataset, batches: Iterable[Batch]) -> None:
        self._label_of = dict(zip(sample_digests(base.images), label_texts(base), strict=True))
        for batch in batches:
            if batch.content is not None and batch.status in ("pending", "in_use"):
                for digest, label in read_labels(store, batch.content):
                    self._label_of.setdefault(digest, label)

    def match(self, dataset: Dataset) -> Match:
        """Tells new samples from known ones, and remembers the new ones.

        Raises:
            RejectedError: One content has two labels; then none is remembered.
        """
        labels = dict[str, str | float]()
        fresh, wrong = [], []
        digests = sample_digests(dataset.images)
        for row, (digest, label) in enumerate(zip(digests, label_texts(dataset), strict=True)):
            known = self._label_of.get(digest, labels.get(digest))
            if known is None:
                labels[digest] = label
                fresh.append(row)
            elif known != label:
                wrong.append((row, digest, label, known))
        if wrong:
            row, digest, label, known = wrong[0]
            raise RejectedError(
                f'sample {row} (sha256 {digest[:12]}…) is labelled "{label}", and the same sample is there already as '
                f'"{known}" ({len(wrong)} such sample{"" if len(wrong) == 1 else "s"}). Correct the labels.',
                len(digests),
            )
        self._label_of |= labels
        return Match(tuple(fresh), len(digests) - len(fresh))
