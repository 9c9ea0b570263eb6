"""A model's collection: the samples that were delivered to it, and what was decided about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from edgewright.pipeline.artifact_store import Artifact
from edgewright.pipeline.collected import CollectedSamples
from edgewright.pipeline.intake.ledger import Batch, Ledger, models_in
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Collection:
    """What was delivered to a model so far.

    Attributes:
        model: Name of the model.
        batches: Everything in the ledger, in the order in which it came.
        included: Digests of pending batches that are to be among its samples.
    """

    model: str
    batches: tuple[Batch, ...]
    included: frozenset[str] = frozenset()

    @property
    def in_use(self) -> tuple[Batch, ...]:
        """Batches that builds were made with: they belong to the model's data."""
        return tuple(batch for batch in self.batches if batch.status == "in_use")

    @property
    def pending(self) -> tuple[Batch, ...]:
        """Batches that nothing was decided about yet."""
        return tuple(batch for batch in self.batches if batch.status == "pending")

    @property
    def open(self) -> tuple[Batch, ...]:
        """What an assessment counts: what is pending, and rejections that no decision has settled."""
        return tuple(batch for batch in self.batches if batch.is_open)

    @property
    def sha256(self) -> str:
        """Digest of what the ledger says; changes with every delivery and every decision."""
        told = json.dumps([[batch.sha256, batch.status, batch.taken_at, batch.settled_at] for batch in self.batches])
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def samples(self) -> CollectedSamples | None:
        """What joins the recipe's own data in a snapshot: what is in use or included here; None where nothing is."""
        return CollectedSamples.of(
            batch.collected for batch in self.batches if batch.status == "in_use" or batch.sha256 in self.included
        )

    def including(self, batches: Iterable[str]) -> Collection:
        """The collection with some of its pending batches among its samples.

        Args:
            batches: Their digests; those of rejections and of batches that are in use already are passed over.
        """
        return replace(self, included=frozenset(batches) & {batch.sha256 for batch in self.pending})

    def with_pending(self) -> Collection:
        """The collection with all pending batches among its samples."""
        return self.including(batch.sha256 for batch in self.pending)


def open_collection(workspace: Workspace, recipe: Recipe) -> Collection:
    """A model's collection as the ledger says now.

    Raises:
        DataError: A record is damaged.
    """
    return Collection(recipe.model, Ledger(workspace.shared, recipe.model).batches())


def mark_in_use(workspace: Workspace, recipe: Recipe, batches: Sequence[str], build: str) -> None:
    """Says that a build was made with batches; see `Ledger.mark_in_use`. Give it ``Assessment.batches``."""
    Ledger(workspace.shared, recipe.model).mark_in_use(batches, build)


def refuse(workspace: Workspace, recipe: Recipe, batches: Sequence[str], reason: str, who: str) -> None:
    """Says that nothing is to be built with batches; see `Ledger.refuse`. Give it ``Assessment.batches``."""
    Ledger(workspace.shared, recipe.model).refuse(batches, reason, who)


def collected_artifacts(workspace: Workspace) -> Iterator[Artifact]:
    """The files that hold delivered samples, of all models: no store may drop them, for nothing could remake them.

    Raises:
        DataError: A record is damaged.
    """
    for model in models_in(workspace.shared):
        for batch in Ledger(workspace.shared, model).batches():
            if batch.content is not None:
                yield batch.content
