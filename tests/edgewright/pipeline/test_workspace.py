"""The folder where a workshop keeps its state."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.pipeline.workspace import open_workspace


def test_it_is_a_hidden_folder_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEWRIGHT_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    workspace = open_workspace()
    assert workspace.home == tmp_path / ".edgewright"
    assert workspace.home.is_absolute()
    assert not workspace.home.exists(), "looking is not making"


@pytest.mark.parametrize("value", ["elsewhere", "nested/../elsewhere"])
def test_the_environment_may_name_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEWRIGHT_HOME", value)
    assert open_workspace().home == tmp_path / "elsewhere"


def test_an_empty_name_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEWRIGHT_HOME", "")
    assert open_workspace().home == tmp_path / ".edgewright"


def test_artifacts_and_servers_live_side_by_side_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(tmp_path / "home"))
    workspace = open_workspace()
    artifact = workspace.store.put_bytes(b"weights")
    assert (tmp_path / "home" / "store" / artifact.path).read_bytes() == b"weights"
    assert workspace.prefect_home == tmp_path / "home" / "prefect"
