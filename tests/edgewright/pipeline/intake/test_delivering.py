"""Reserved digits arrive tranche by tranche, each once, whole files only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.errors import DataError
from edgewright.pipeline.datasets import digits
from edgewright.pipeline.intake import delivering
from edgewright.pipeline.intake.delivering import deliver
from edgewright.pipeline.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "home")


def test_each_call_delivers_the_next_tranche_until_none_is_left(workspace: Workspace, tmp_path: Path) -> None:
    made = [deliver(workspace, "digits", 3000) for _ in range(3)]
    assert [(each.first, each.last, each.reserved) for each in made] == [
        (1, 3000, 7000),
        (3001, 6000, 7000),
        (6001, 7000, 7000),
    ]
    folder = workspace.home / "incoming" / "digits"
    assert sorted(os.listdir(folder)) == [each.path.name for each in made], "nothing unfinished stays"
    arrays = [np.load(each.path) for each in made]
    reserve = digits.load_reserve()
    assert np.array_equal(np.concatenate([each["x"] for each in arrays]), reserve.images)
    assert np.array_equal(np.concatenate([each["y"] for each in arrays]), reserve.labels)
    with pytest.raises(DataError, match=r"all 7,000 reserved samples of digits were delivered: none are left.*delete"):
        deliver(workspace, "digits", 10)


def test_it_says_what_it_did_in_one_line(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = deliver(workspace, "digits", 500).said
    assert said == (
        f"digits: 500 new samples (1 to 500 of 7,000) lie in {workspace.home}/incoming/digits/digits-00001-00500.npz; "
        "6,500 are left. The next nightly takes them in."
    )
    monkeypatch.chdir(tmp_path)
    elsewhere = deliver(workspace, "digits", 6500, tmp_path / "elsewhere")
    assert "lie in elsewhere/digits-00501-07000.npz;" in elsewhere.said
    assert elsewhere.path.parent == tmp_path / "elsewhere"
    assert elsewhere.said.endswith("these were the last.")


def test_a_model_without_a_reserve_is_an_error_that_names_those_that_have_one(workspace: Workspace) -> None:
    with pytest.raises(DataError, match=r'"motion" has no reserved samples to deliver. Those that have: digits'):
        deliver(workspace, "motion", 10)


@pytest.mark.parametrize("count", [0, -1])
def test_nothing_cannot_be_delivered(workspace: Workspace, count: int) -> None:
    with pytest.raises(DataError, match="needs at least 1"):
        deliver(workspace, "digits", count)


def test_a_folder_that_cannot_be_written_to_is_named(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written to.*--into"):
        deliver(workspace, "digits", 10, tmp_path / "file")
    assert deliver(workspace, "digits", 10).first == 1, "what could not be delivered is still to come"


def test_killed_before_it_was_noted_the_same_is_delivered_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any) -> bool:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(delivering, "_note", killed)
        with pytest.raises(Killed):
            deliver(workspace, "digits", 10)
    first = (workspace.home / "incoming" / "digits" / "digits-00001-00010.npz").read_bytes()
    again = deliver(workspace, "digits", 10)
    assert (again.first, again.path.read_bytes()) == (1, first)


def test_of_two_that_deliver_at_once_each_delivers_its_own(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = delivering._write
    calls: list[str] = []

    def another_is_faster(folder: Path, name: str, *rest: Any) -> Path:
        calls.append(name)
        if len(calls) == 1:
            deliver(workspace, "digits", 10)
        return real(folder, name, *rest)

    monkeypatch.setattr(delivering, "_write", another_is_faster)
    assert deliver(workspace, "digits", 10).first == 11
    assert calls == ["digits-00001-00010.npz", "digits-00001-00010.npz", "digits-00011-00020.npz"]


@pytest.mark.parametrize("noted", [b"", b"{}", b'{"delivered": -1}', b'{"delivered": "x"}'])
def test_a_damaged_note_is_named(workspace: Workspace, noted: bytes) -> None:
    workspace.shared.write("deliveries/digits.json", noted)
    with pytest.raises(DataError, match=r"deliveries/digits.json is damaged.*Delete it"):
        deliver(workspace, "digits", 10)
