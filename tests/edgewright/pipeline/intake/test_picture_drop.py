"""Delivered pictures: a folder per class, each picture by itself, many in one record."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from edgewright.pipeline.intake import incoming, taking

Pictures = Any


@pytest.fixture
def pictures(workshop: Any) -> Iterator[Any]:
    """A workshop whose own data is a folder of pictures in groups."""
    import io

    import numpy as np

    def draw(seed: int, size: tuple[int, int] = (4, 5)) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)).save(buffer, "png")
        return buffer.getvalue()

    for index in range(80):
        file = workshop.folder / "pictures" / ("whole" if index % 2 else "cracked") / f"part{index % 8}_{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(draw(index))
    data = {"dataset": "image_folder", "path": str(workshop.folder / "pictures"), "mode": "grey"}
    workshop.make({**data, "group_pattern": "^(part[0-9]+)_"})

    def put(name: str, seed: int, size: tuple[int, int] = (4, 5)) -> None:
        path = workshop.incoming / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw(seed, size))

    workshop.put, workshop.draw = put, draw
    yield workshop


def test_pictures_of_one_call_share_a_record(pictures: Pictures) -> None:
    for index in range(6):
        pictures.put(f"cracked/part9_{index}.png", 100 + index)
    pictures.put("whole/part3_x.png", 200)
    assert pictures.take_in().new_samples == 7
    (batch,) = pictures.collection().pending
    assert batch.per_class == {"cracked": 6, "whole": 1} and len(batch.sources) == 7
    assert pictures.lying() == []
    assert (pictures.incoming / "cracked").is_dir(), "the class folders stay"


def test_only_so_many_share_one(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "_MOST_FILES_IN_BATCH", 3)
    for index in range(7):
        pictures.put(f"cracked/part9_{index}.png", 100 + index)
    pictures.take_in()
    assert sorted(batch.taken for batch in pictures.collection().pending) == [1, 3, 3]


def test_each_picture_is_judged_by_itself(pictures: Pictures) -> None:
    pictures.put("cracked/part9_0.png", 100)
    pictures.put("cracked/part9_1.png", 101, size=(6, 6))
    pictures.put("cracked/nogroup.png", 102)
    pictures.put("melted/part9_2.png", 103)
    pictures.put("loose_part9.png", 104)
    pictures.put("whole/part9_3.png", 100)  # the first one again, under another label
    pictures.put("whole/part1_4.png", 1)  # in the base, and whole there
    (pictures.incoming / "whole" / "part9_5.png").write_bytes(pictures.draw(105)[:60])
    (pictures.incoming / "whole" / "Thumbs.db").write_bytes(b"x")
    os.symlink(pictures.folder, pictures.incoming / "cracked" / "link")
    (pictures.incoming / "cracked" / "nested").mkdir()
    report = pictures.take_in()
    assert [(each.name, each.taken, each.duplicates) for each in report.taken] == [
        ("cracked/part9_0.png", 1, 0),
        ("whole/part1_4.png", 0, 1),
    ]
    reasons = {each.name: each.reason for each in report.rejected}
    assert "6 x 6" in reasons["cracked/part9_1.png"] or "[6, 6]" in reasons["cracked/part9_1.png"]
    assert "finds no group" in reasons["cracked/nogroup.png"]
    assert '"melted" is no class' in reasons["melted/part9_2.png"]
    assert "beside the class folders" in reasons["loose_part9.png"]
    assert '"whole"' in reasons["whole/part9_3.png"] and '"cracked"' in reasons["whole/part9_3.png"]
    assert "not a readable picture" in reasons["whole/part9_5.png"]
    assert "is not a picture" in reasons["whole/Thumbs.db"]
    assert "symbolic link" in reasons["cracked/link"] and "a folder" in reasons["cracked/nested"]
    assert len(pictures.set_aside()) == 9


def test_the_same_picture_twice_counts_once(pictures: Pictures) -> None:
    pictures.put("cracked/part9_0.png", 100)
    pictures.put("cracked/part9_1.png", 100)
    report = pictures.take_in()
    assert (report.new_samples, report.known) == (1, ("cracked/part9_1.png",))
    assert pictures.lying() == []


def test_what_a_killed_call_claimed_is_given_back_to_its_class(pictures: Pictures) -> None:
    claimed = pictures.incoming / ".taken" / "cracked"
    claimed.mkdir(parents=True)
    (claimed / "part9_0.png").write_bytes(pictures.draw(100))
    pictures.put("cracked/part9_0.png", 101)
    opened = incoming.Incoming(pictures.incoming, nested=True)
    assert [entry.name for entry in opened.settled()[0]] == ["cracked/part9_0-2.png", "cracked/part9_0.png"]
    assert pictures.take_in().new_samples == 2


def test_groups_and_places_join_the_data(pictures: Pictures) -> None:
    from edgewright.pipeline.collected import dataset_of
    from edgewright.pipeline.datasets.loading import load_dataset

    pictures.put("whole/part9_0.png", 100)
    pictures.take_in()
    base = load_dataset(pictures.recipe.data, pictures.recipe.task)
    samples = pictures.collection().with_pending().samples
    new = dataset_of(pictures.workspace.store, base, samples)
    assert (new.groups, new.columns) == (("part9",), {"file": ("whole/part9_0.png",)})


def test_a_class_called_rejected_cannot_be_delivered_to(pictures: Pictures) -> None:
    (pictures.folder / "pictures" / "cracked").rename(pictures.folder / "pictures" / "rejected")
    pictures.put("whole/part9_0.png", 100)
    from edgewright.errors import DataError

    with pytest.raises(DataError, match="Rename the class"):
        pictures.take_in()
    assert pictures.lying() == ["whole/part9_0.png"]
