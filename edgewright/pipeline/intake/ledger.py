"""What was delivered to a model, and what became of it: one record per batch in the store that all machines share.

A record is made once and changed by compare-and-swap. It says which files the samples came from, where they are kept, and
how many were new, known already, lacking values or unusable: all that an assessment goes by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from edgewright.errors import DataError
from edgewright.pipeline.artifact_store import Artifact
from edgewright.pipeline.collected import CollectedBatch
from edgewright.pipeline.object_store import ObjectStore

# pending: taken in, nothing decided; in_use: a build was made with it; refused: a person said no; rejected: unusable.
Status = Literal["pending", "in_use", "refused", "rejected"]

_FOLDER = "collections"
_SCHEMA = "edgewright.batch/1"


@dataclass(frozen=True)
class Source:
    """A delivered file.

    Attributes:
        name: Its path in the incoming folder.
        sha256: Digest of its bytes.
        size_bytes: How many they are.
    """

    name: str
    sha256: str
    size_bytes: int

    @property
    def identity(self) -> tuple[str, str]:
        """What makes it the same delivery: its bytes and its folder, which may be their class."""
        return self.name.rpartition("/")[0], self.sha256


@dataclass(frozen=True)
class Batch:
    """What came together.

    Attributes:
        sha256: Digest of what was delivered; the record's name.
        status: What became of it.
        taken_at: When it came, UTC, as ISO 8601.
        sources: The files.
        content: The new samples (npz); None where there are none.
        delivered: Samples in the files, as far as could be told.
        taken: New samples.
        duplicates: Samples that were there already, under the same label.
        missing: Samples that lack values.
        rejected: Samples in files that could not be taken.
        per_class: New samples by class; none where labels are values.
        test_share: Share of them that tests, where the publisher fixed the test split.
        reason: Why it was refused or rejected.
        who: Who decided.
        settled_at: When that was, or when a decision about the batches beside it settled a rejection, UTC.
        build: The first build that was made with it.
    """

    sha256: str
    status: Status
    taken_at: str
    sources: tuple[Source, ...]
    content: Artifact | None
    delivered: int
    taken: int = 0
    duplicates: int = 0
    missing: int = 0
    rejected: int = 0
    per_class: Mapping[str, int] = field(default_factory=dict)
    test_share: float = 0.0
    reason: str = ""
    who: str = ""
    settled_at: str = ""
    build: str = ""

    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def is_open(self) -> bool:
        """Whether nothing was decided about it yet, so that an assessment counts it."""
        return self.status == "pending" or (self.status == "rejected" and not self.settled_at)

    @property
    def collected(self) -> CollectedBatch | None:
        """Its samples as a build takes them; None where there are none."""
        return CollectedBatch(self.content, self.test_share) if self.content else None


_BATCH: TypeAdapter[Batch] = TypeAdapter(Batch)


class Ledger:
    """The batches of one model."""

    def __init__(self, shared: ObjectStore, model: str) -> None:
        self._shared = shared
        self._prefix = f"{_FOLDER}/{model}/"
        self.model = model

    def batches(self) -> tuple[Batch, ...]:
        """All of them, in the order in which they came.

        Raises:
            DataError: A record is damaged.
        """
        found = [(key, self._shared.read(key)) for key in self._shared.keys(self._prefix)]
        read = [self._parse(key, content) for key, content in found if content is not None]
        return tuple(sorted(read, key=lambda batch: (batch.taken_at, batch.sha256)))

    def record(self, batch: Batch) -> Batch:
        """Keeps a batch; what was rejected or set aside under this digest before gives way to it.

        Returns:
            What is kept: the batch, or the one that another call kept first.
        """
        if self._shared.create(self._key(batch.sha256), _written(batch)):
            return batch

        def renewed(known: Batch) -> Batch:
            if known.status == "rejected" and not (batch.status == "rejected" and known.is_open):
                return batch
            return known

        return self.change(batch.sha256, renewed)

    def change(self, sha256: str, changed: Callable[[Batch], Batch]) -> Batch:
        """Changes a record, whoever else does at the same time.

        Args:
            sha256: The batch.
            changed: From what is recorded to what shall be; may be called more than once.

        Raises:
            DataError: There is no such batch, or its record is damaged.
        """
        key = self._key(sha256)
        while True:
            content = self._shared.read(key)
            if content is None:
                known = ", ".join(batch.sha256[:12] for batch in self.batches()) or "none"
                raise DataError(f"{self.model}: no batch {sha256[:12]} was taken in; known are: {known}.")
            before = self._parse(key, content)
            after = changed(before)
            if after == before or self._shared.replace(key, _written(after), content):
                return after

    def mark_in_use(self, batches: Sequence[str], build: str) -> None:
        """Says that a build was made with batches: from now on they belong to the model's data.

        Args:
            batches: Their digests; rejections among them are settled with that, and count no more.
            build: The build; the first one stays recorded.

        Raises:
            DataError: A batch is unknown, or was refused.
        """

        def used(batch: Batch) -> Batch:
            if batch.status == "refused":
                raise DataError(
                    f"{self.model}: batch {batch.sha256[:12]} was refused by {batch.who} ({batch.reason}) and cannot be in "
                    "use. Reopen it first."
                )
            if batch.status == "pending":
                return replace(batch, status="in_use", build=build, settled_at=now_text())
            return _settled(batch)

        for sha256 in dict.fromkeys(batches):
            self.change(sha256, used)

    def refuse(self, batches: Sequence[str], reason: str, who: str) -> None:
        """Says that nothing is to be built with batches.

        Args:
            batches: Their digests; rejections among them are settled with that, and count no more.
            reason: Why.
            who: Who decided.

        Raises:
            DataError: A batch is unknown, or in use.
        """

        def refused(batch: Batch) -> Batch:
            if batch.status == "in_use":
                raise DataError(
                    f"{self.model}: batch {batch.sha256[:12]} is in use since build {batch.build}, and cannot be refused any "
                    "more."
                )
            if batch.status == "pending":
                return replace(batch, status="refused", reason=reason, who=who, settled_at=now_text())
            return _settled(batch)

        for sha256 in dict.fromkeys(batches):
            self.change(sha256, refused)

    def reopen(self, batch: str, reason: str, who: str) -> Batch:
        """Takes a refusal back: the batch counts as new again.

        Args:
            batch: Its digest, or the first digits of it, at least 6.
            reason: Why.
            who: Who decided.

        Raises:
            DataError: The batch is unknown, or was not refused.
        """

        def reopened(known: Batch) -> Batch:
            if known.status != "refused":
                raise DataError(f"{self.model}: batch {known.sha256[:12]} is {known.status}, not refused.")
            return replace(known, status="pending", reason=reason, who=who, settled_at="")

        meant = [each.sha256 for each in self.batches() if len(batch) >= 6 and each.sha256.startswith(batch)]
        return self.change(meant[0] if len(meant) == 1 else batch, reopened)

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}{sha256}.json"

    def _parse(self, key: str, content: bytes) -> Batch:
        try:
            document = json.loads(content)
            if document.pop("schema") != _SCHEMA:
                raise ValueError(f"its schema is not {_SCHEMA}")
            batch = _BATCH.validate_python(document)
            if self._key(batch.sha256) != key:
                raise ValueError("it names another batch")
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
            said = str(error).splitlines()[0]
            raise DataError(
                f"{self._shared.location}/{key} is no record of delivered samples ({said}). Restore it from a backup."
            ) from error
        return batch


def _settled(batch: Batch) -> Batch:
    return replace(batch, settled_at=now_text()) if batch.is_open else batch


def models_in(shared: ObjectStore) -> tuple[str, ...]:
    """The models that something was delivered to."""
    return tuple(sorted({key.split("/")[1] for key in shared.keys(f"{_FOLDER}/")}))


def sources_of(batches: Sequence[Batch]) -> Iterator[tuple[Source, Batch]]:
    """Every delivered file, with its batch."""
    for batch in batches:
        for source in batch.sources:
            yield source, batch


def now_text() -> str:
    """The time as records hold it: UTC, to the microsecond, so that their order is that in which they were made."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _written(batch: Batch) -> bytes:
    document: dict[str, Any] = {"schema": _SCHEMA, **asdict(batch)}
    return json.dumps(document, indent=1).encode()
