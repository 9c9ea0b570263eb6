"""The workspace: which folder it is, what is shared, and what becomes of it in another process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.errors import SharedStoreError
from edgewright.pipeline import workspace as workspace_module
from edgewright.pipeline.workspace import Workspace, open_workspace

ROOT = Path(__file__).parents[3]
_RECEIVER = "import pickle, sys; print(pickle.load(sys.stdin.buffer).home)"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEWRIGHT_SHARED", raising=False)


def send(workspace: Workspace, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Gives the workspace to another process with another environment; it prints which folder arrived."""
    return subprocess.run(
        [sys.executable, "-c", _RECEIVER],
        input=pickle.dumps(workspace),
        capture_output=True,
        cwd=ROOT,
        env={**{name: value for name, value in os.environ.items() if name != "EDGEWRIGHT_SHARED"}, **environment},
    )


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


def test_what_is_shared_is_its_own_where_there_is_no_team(tmp_path: Path) -> None:
    assert Workspace(tmp_path).shared.location == str(tmp_path / "shared")


def test_what_is_shared_is_the_teams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path / "team"))
    assert Workspace(tmp_path / "home").shared.location == str(tmp_path / "team")
    monkeypatch.setenv("EDGEWRIGHT_SHARED", "ftp://team")
    with pytest.raises(
        SharedStoreError, match="EDGEWRIGHT_SHARED=ftp://team names no shared store: set it to a folder"
    ):
        _ = Workspace(tmp_path / "home").shared


def test_alone_it_stays_what_it_is_in_another_process(tmp_path: Path) -> None:
    done = send(Workspace(tmp_path), EDGEWRIGHT_HOME=str(tmp_path / "other"))
    assert done.stdout.decode() == f"{tmp_path}\n"


def test_in_a_team_it_becomes_the_other_processes_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path / "team"))
    # The same folder may be mounted under another name elsewhere.
    (tmp_path / "mounted").symlink_to(tmp_path / "team")
    done = send(
        Workspace(tmp_path / "mine"),
        EDGEWRIGHT_HOME=str(tmp_path / "other"),
        EDGEWRIGHT_SHARED=str(tmp_path / "mounted"),
    )
    assert done.stdout.decode() == f"{tmp_path / 'other'}\n"


@pytest.mark.parametrize(
    ("shared", "told"),
    [
        ("", "where EDGEWRIGHT_SHARED is not set. Set it there"),
        ("another", "where EDGEWRIGHT_SHARED names another store"),
    ],
)
def test_where_the_other_process_sees_another_store_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: str, told: str
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path / "team"))
    environment = {"EDGEWRIGHT_SHARED": str(tmp_path / shared)} if shared else {}
    done = send(Workspace(tmp_path / "mine"), **environment)
    error = done.stderr.decode()
    assert f"work of a build that shares {tmp_path / 'team'} came to" in error
    assert told in error


def test_where_the_other_process_runs_other_code_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path / "team"))
    monkeypatch.setattr(workspace_module, "package_digest", lambda: "0" * 64)
    done = send(Workspace(tmp_path / "mine"), EDGEWRIGHT_SHARED=str(tmp_path / "team"))
    assert "where another version of edgewright runs" in done.stderr.decode()


def test_on_its_way_it_may_pass_a_process_that_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SHARED", str(tmp_path / "team"))
    sent = pickle.dumps(Workspace(tmp_path / "mine"))
    monkeypatch.delenv("EDGEWRIGHT_SHARED")
    passed_on = pickle.loads(sent)  # a scheduler reads it, and writes it again
    with pytest.raises(SharedStoreError, match="EDGEWRIGHT_SHARED is not set"):
        _ = passed_on.store
    done = send(passed_on, EDGEWRIGHT_HOME=str(tmp_path / "other"), EDGEWRIGHT_SHARED=str(tmp_path / "team"))
    assert done.stdout.decode() == f"{tmp_path / 'other'}\n"
