"""A bundle that somebody overwrote or deleted in the registry comes back, where the workshop still has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.signing.bundles import mend_bundles
from edgewright.pipeline.tracking.client import artifacts_folder
from signed_updates import ROLE

Workshop = Any


@pytest.fixture
def place(signed: Workshop) -> Path:
    """Where devices fetch the signed release from."""
    release = signed.repository().read().release(ROLE)
    found: Path = artifacts_folder(signed.tracking.home) / release.source
    assert {path.name for path in found.iterdir()} == {file.name for file in release.files}
    return found


@pytest.fixture
def store(tmp_path: Path, place: Path) -> ArtifactStore:
    """The store, which has what was packed."""
    made = ArtifactStore(tmp_path / "artifacts")
    for path in place.iterdir():
        made.put_file(path)
    return made


def mend(workshop: Workshop, store: ArtifactStore) -> tuple[list[str], list[str]]:
    return mend_bundles(workshop.tracking, workshop.repository().read(), store)


def test_where_all_is_whole_nothing_is_done(signed: Workshop, store: ArtifactStore) -> None:
    assert mend(signed, store) == ([], [])


@pytest.mark.parametrize("how", ["flipped", "longer", "shorter", "gone"])
def test_what_differs_is_sent_again(how: str, signed: Workshop, store: ArtifactStore, place: Path) -> None:
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    damaged = place / "manifest.json"
    data = before[damaged.name]
    changes = {"flipped": bytes([data[0] ^ 1]) + data[1:], "longer": data + b" ", "shorter": data[:-1]}
    damaged.unlink() if how == "gone" else damaged.write_bytes(changes[how])
    (done,), open_ = mend(signed, store)
    assert "manifest.json of version 1, which devices are told to run, was missing or changed" in done and not open_
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert mend(signed, store) == ([], [])


def test_what_the_store_has_no_more_is_for_a_person(signed: Workshop, place: Path, tmp_path: Path) -> None:
    (place / "manifest.json").write_bytes(b"{}")
    done, (said,) = mend(signed, ArtifactStore(tmp_path / "empty"))
    assert not done and said.startswith(f"{ROLE}: manifest.json of version 1")
    assert "cannot be restored" in said and "Build again" in said
    assert (place / "manifest.json").read_bytes() == b"{}"
