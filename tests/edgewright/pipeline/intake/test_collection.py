"""What belongs to a model's data: batches in use, and those that a build decides to include."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import DataError
from edgewright.pipeline.collected import join
from edgewright.pipeline.datasets.loading import load_dataset
from edgewright.pipeline.intake import collected_artifacts, mark_in_use, open_collection, refuse
from edgewright.pipeline.workspace import Workspace


@pytest.fixture
def three(workshop: Any, more_rows: Any) -> Any:
    """A workshop with three pending batches."""
    for index in range(3):
        workshop.deliver(f"{index}.npz", **more_rows(10 + index, 20 + index))
        workshop.take_in()
    return workshop


def sizes(workshop: Any, samples: Any) -> list[int]:
    """Sizes of the batches in a collection of samples, in their order."""
    of_content = {batch.content: batch.taken for batch in workshop.collection().batches}
    return [of_content[batch.content] for batch in samples.batches]


def test_pending_batches_join_a_build_only_where_they_are_named(three: Any) -> None:
    collection = three.collection()
    assert collection.samples is None
    assert sizes(three, collection.with_pending().samples) == [10, 11, 12]
    middle = collection.pending[1].sha256
    assert sizes(three, collection.including([middle]).samples) == [11]
    assert collection.including(["f" * 64]).samples is None


def test_what_is_in_use_joins_every_build_in_the_order_in_which_it_came(three: Any) -> None:
    first, second, third = (batch.sha256 for batch in three.collection().pending)
    mark_in_use(three.workspace, three.recipe, [third], "b1")
    collection = three.collection()
    assert sizes(three, collection.samples) == [12]
    assert sizes(three, collection.including([first, third]).samples) == [10, 12]
    refuse(three.workspace, three.recipe, [second], "no", "anna")
    assert sizes(three, three.collection().with_pending().samples) == [10, 12]
    assert three.collection().including([second]).samples == collection.samples, "what was refused joins nothing"


def test_the_same_samples_are_the_same_collection_whatever_they_are_called(three: Any) -> None:
    collection = three.collection()
    named = collection.with_pending().samples
    mark_in_use(three.workspace, three.recipe, [batch.sha256 for batch in collection.pending], "b1")
    assert three.collection().samples == named and three.collection().samples.sha256 == named.sha256
    assert three.collection().sha256 != collection.sha256


def test_contents_are_listed_whatever_was_decided_about_them(three: Any) -> None:
    refuse(three.workspace, three.recipe, [three.collection().pending[0].sha256], "no", "anna")
    artifacts = set(collected_artifacts(three.workspace))
    assert artifacts == {batch.content for batch in three.collection().batches} and len(artifacts) == 3


def test_what_one_machine_took_in_another_one_builds_with(
    workshop: Any, more_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path / "team"))
    workshop.deliver("a.npz", **more_rows(10, 2))
    workshop.take_in()
    other = Workspace(tmp_path / "another-home")
    samples = open_collection(other, workshop.recipe).with_pending().samples
    assert samples is not None
    base = load_dataset(workshop.recipe.data, workshop.recipe.task)
    assert len(join(other.store, base, samples).labels) == len(base.labels) + 10


def test_an_unknown_batch_cannot_be_used(three: Any) -> None:
    with pytest.raises(DataError, match="no batch ffffffffffff was taken in"):
        mark_in_use(three.workspace, three.recipe, ["f" * 64], "b1")
