"""Empties a model's incoming folder into its collection: what is sound is kept, what is not is set aside with the reason.

The order makes it safe to die at any point: the samples are durable in the store, then their record is in the ledger, and
only then the file goes. A file whose digest is in the ledger was taken before, so the next call finishes what a killed
one began.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgewright.errors import DataError
from edgewright.machine_lock import exclusive_lock
from edgewright.pipeline.artifact_store import Artifact
from edgewright.pipeline.collected import BatchContent, batch_content, concatenate, pack_batch
from edgewright.pipeline.data_settings import ImageFolderSettings, TableSettings
from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.datasets.loading import load_dataset, table_layout
from edgewright.pipeline.intake.drop import Drop, Reader, RejectedError
from edgewright.pipeline.intake.entries import Entry, one_line
from edgewright.pipeline.intake.incoming import REJECTED, ChangedError, Incoming
from edgewright.pipeline.intake.known import KnownSamples, Match
from edgewright.pipeline.intake.ledger import Batch, Ledger, Source, now_text, sources_of
from edgewright.pipeline.intake.report import IntakeReport, RejectedFile, TakenFile
from edgewright.pipeline.progress import Progress, ProgressListener, ignore_progress
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.shared_store import SharedArtifacts, team_store
from edgewright.pipeline.task_settings import RegressionSettings
from edgewright.pipeline.workspace import Workspace

# Pictures come one by one; so many of them share a record.
_MOST_FILES_IN_BATCH = 1000
_LOCK_DEADLINE_S = 600.0


def incoming_folder(workspace: Workspace, model: str, incoming: str | None) -> Path:
    """Where a model's new samples are delivered to.

    Args:
        workspace: The workspace.
        model: Name of the model.
        incoming: The recipe's ``nightly.incoming``.
    """
    return Path(incoming).absolute() if incoming else workspace.home / "incoming" / model


def take_in(workspace: Workspace, recipe: Recipe, on_progress: ProgressListener = ignore_progress) -> IntakeReport:
    """Takes what lies in the recipe's incoming folder into the model's collection.

    Args:
        workspace: Where the collection is kept.
        recipe: The model: its data says what new samples must look like.
        on_progress: Hears of every file.

    Returns:
        What became of every file.

    Raises:
        DataError: The folder cannot be used, the model's own data cannot be loaded, or the ledger is damaged.
    """
    nested = isinstance(recipe.data, ImageFolderSettings)
    folder = incoming_folder(workspace, recipe.model, recipe.nightly.incoming)
    with _one_at_a_time(workspace, recipe.model):
        incoming = Incoming(folder, nested)
        entries, left = incoming.settled()
        if not entries:
            return IntakeReport(recipe.model, str(folder), left=tuple(left))
        base = load_dataset(recipe.data, recipe.task)
        if nested and REJECTED in base.labels_names:
            raise DataError(
                f'{folder}: the class "{REJECTED}" has the name of the folder for what is set aside. Rename the class.'
            )
        intake = _Intake(workspace, recipe, incoming, base)
        for number, entry in enumerate(entries):
            on_progress(Progress("new samples", number, len(entries), entry.shown))
            intake.look_at(entry)
        intake.keep()
        on_progress(Progress("new samples", len(entries), len(entries), "done"))
        return intake.report(left)


@dataclass(frozen=True, eq=False)
class _Accepted:
    """A file whose samples are about to be kept."""

    entry: Entry
    source: Source
    drop: Drop
    match: Match


class _Intake:
    """One call's work."""

    def __init__(self, workspace: Workspace, recipe: Recipe, incoming: Incoming, base: Dataset) -> None:
        self._store = workspace.store
        self._incoming, self._base = incoming, base
        self._ledger = Ledger(workspace.shared, recipe.model)
        self._test_share = recipe.nightly.test_share
        self._taken_at = now_text()
        self._reader = _reader(recipe, base)
        self._at_once = _MOST_FILES_IN_BATCH if isinstance(recipe.data, ImageFolderSettings) else 1
        batches = self._ledger.batches()
        self._samples = KnownSamples(self._store, base, batches)
        self._sources = {source.identity: batch for source, batch in sources_of(batches) if batch.status != "rejected"}
        self._accepted: list[_Accepted] = []
        self._taken: list[TakenFile] = []
        self._rejected: list[RejectedFile] = []
        self._known: list[str] = []
        self._left: list[str] = []

    def look_at(self, entry: Entry) -> None:
        """Takes one file in, or sets it aside."""
        source = Source(entry.shown, self._incoming.digest_of(entry), entry.size_bytes)
        try:
            content = self._incoming.read(entry)
            source = Source(entry.shown, hashlib.sha256(content).hexdigest(), len(content))
            if self._was_taken(entry, source):
                return
            drop = self._reader(entry.name, content)
            accepted = _Accepted(entry, source, drop, self._match(drop))
        except ChangedError:
            self._left.append(entry.shown)
        except RejectedError as error:
            self._reject(entry, source, error)
        else:
            self._accepted.append(accepted)
            if len(self._accepted) >= self._at_once:
                self.keep()

    def keep(self) -> None:
        """Keeps what was accepted, as one batch; then removes the files."""
        accepted, self._accepted = self._accepted, []
        if not accepted:
            return
        fresh = [batch_content(each.drop.dataset, np.array(each.match.fresh, dtype=np.int64)) for each in accepted]
        content = concatenate(fresh)
        sources = tuple(each.source for each in accepted)
        batch = Batch(
            sha256=_digest_of(sources),
            status="pending",
            taken_at=self._taken_at,
            sources=sources,
            content=self._put(content) if len(content) else None,
            delivered=sum(each.drop.delivered for each in accepted),
            taken=len(content),
            duplicates=sum(each.match.duplicates for each in accepted),
            missing=sum(each.drop.missing for each in accepted),
            per_class=self._per_class(content),
            test_share=self._test_share,
        )
        kept = self._ledger.record(batch)
        self._sources |= {source.identity: kept for source in sources}
        for each in accepted:
            self._incoming.remove(each.entry)
            counts = (len(each.match.fresh), each.match.duplicates, each.drop.missing)
            self._taken.append(TakenFile(each.source.name, *counts))

    def report(self, left: Sequence[str]) -> IntakeReport:
        """What became of every file."""
        return IntakeReport(
            self._ledger.model,
            str(self._incoming.folder),
            tuple(self._taken),
            tuple(self._rejected),
            tuple(self._known),
            tuple(sorted({*left, *self._left})),
        )

    def _was_taken(self, entry: Entry, source: Source) -> bool:
        """Whether a call before this one took the very same file; then it is removed.

        Raises:
            RejectedError: A person refused it.
        """
        if any(each.source.identity == source.identity for each in self._accepted):
            self.keep()  # the same picture twice in one batch: the second one follows a kept one
        batch = self._sources.get(source.identity)
        if batch is None:
            return False
        if batch.status == "refused":
            raise RejectedError(
                f"holds what {batch.who} refused on {batch.settled_at[:10]}: {batch.reason}. If it shall be used after all: "
                f"`edgewright data reopen {self._ledger.model} {batch.sha256[:12]} --reason …`.",
                batch.delivered if len(batch.sources) == 1 else 1,
            )
        self._incoming.remove(entry)
        self._known.append(source.name)
        return True

    def _match(self, drop: Drop) -> Match:
        try:
            return self._samples.match(drop.dataset)
        except RejectedError as error:
            raise RejectedError(str(error), drop.delivered, drop.missing) from error

    def _reject(self, entry: Entry, source: Source, error: RejectedError) -> None:
        """Records a rejection, then moves the file."""
        self._ledger.record(
            Batch(
                sha256=source.sha256,
                status="rejected",
                taken_at=self._taken_at,
                sources=(source,),
                content=None,
                delivered=error.samples,
                missing=error.missing,
                rejected=error.samples,
                reason=one_line(str(error)),
            )
        )
        place = self._incoming.set_aside(entry, source.sha256, str(error))
        if place is None:
            self._left.append(entry.shown)
        else:
            self._rejected.append(RejectedFile(source.name, one_line(str(error)), one_line(place)))

    def _put(self, content: BatchContent) -> Artifact:
        packed = pack_batch(content)
        artifact = self._store.put_bytes(packed)
        team = team_store()
        if team is not None:  # the machine that builds may be another one
            SharedArtifacts(team).upload(artifact.sha256, packed)
        return artifact

    def _per_class(self, content: BatchContent) -> dict[str, int]:
        if self._base.has_values:
            return {}
        names, counts = np.unique(content.labels, return_counts=True)
        found = dict(zip(names.tolist(), counts.tolist(), strict=True))
        return {name: found.get(name, 0) for name in self._base.labels_names}


def _reader(recipe: Recipe, base: Dataset) -> Reader:
    """What reads the files of a recipe's kind of data; table readers and Pillow are imported where they are used."""
    match recipe.data:
        case TableSettings():
            from edgewright.pipeline.intake.table_drop import read_delivered_table

            layout = table_layout(recipe.data, isinstance(recipe.task, RegressionSettings))
            return partial(read_delivered_table, base=base, layout=layout)
        case ImageFolderSettings():
            from edgewright.pipeline.intake.picture_drop import read_delivered_picture

            return partial(read_delivered_picture, base=base, data=recipe.data)
        case _:
            from edgewright.pipeline.intake.npz_drop import read_npz

            return partial(read_npz, base=base)


def _digest_of(sources: Sequence[Source]) -> str:
    """Of a file its own digest; of files in folders one over all, names included: the folder may be the class."""
    if len(sources) == 1 and "/" not in sources[0].name:
        return sources[0].sha256
    told = json.dumps([[each.name, each.sha256] for each in sources])
    return hashlib.sha256(told.encode()).hexdigest()


@contextmanager
def _one_at_a_time(workspace: Workspace, model: str) -> Iterator[None]:
    def held(holder: str) -> Exception:
        return DataError(
            f"{model}: process {holder} has been taking in samples for {_LOCK_DEADLINE_S:.0f} s. End it, or wait for it."
        )

    locks = workspace.home / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(locks / f"intake-{model}.lock", _LOCK_DEADLINE_S, held):
        yield
