"""What a run settled stays settled, in whichever process it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.errors import StageError
from edgewright.pipeline.journal import Journal
from edgewright.pipeline.object_store import FolderStore


def test_nothing_is_settled_at_first(tmp_path: Path) -> None:
    assert Journal(FolderStore(tmp_path), "run-1").read("built") is None


def test_what_is_settled_is_found_by_another_process(tmp_path: Path) -> None:
    Journal(FolderStore(tmp_path), "run-1").settle("built", {"version": 3})
    assert Journal(FolderStore(tmp_path), "run-1").read("built") == {"version": 3}
    assert Journal(FolderStore(tmp_path), "run-2").read("built") is None


def test_the_first_word_counts(tmp_path: Path) -> None:
    journal = Journal(FolderStore(tmp_path), "run-1")
    assert journal.settle("built", ["first"]) == ["first"]
    assert journal.settle("built", ["second"]) == ["first"]


def test_a_damaged_one_is_named(tmp_path: Path) -> None:
    shared = FolderStore(tmp_path)
    shared.write("journals/run-1/built.json", b"{")
    with pytest.raises(StageError, match=r"journals/run-1/built\.json is damaged .* Delete it and run again"):
        Journal(shared, "run-1").read("built")
