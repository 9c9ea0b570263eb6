"""``edgewright backup``, ``restore`` and ``prepare-team``: what they do with their words, and what they say."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edgewright.cli.main import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    (home / "mlflow").mkdir(parents=True)
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as database:
        database.execute("create table runs (name text)")
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(home))
    for name in ("EDGEWRIGHT_BACKUP_DATABASES", "EDGEWRIGHT_BACKUP_BUCKET", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return home


def test_a_desk_is_backed_up_proved_and_restored_elsewhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monday = str(tmp_path / "monday")
    assert main(["backup", monday]) == 0
    assert "backup      ✓" in capsys.readouterr().out
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(tmp_path / "new"))
    assert main(["restore", monday]) == 0
    assert "is whole" in capsys.readouterr().out
    assert not (tmp_path / "new").exists(), "only proved"
    assert main(["restore", monday, "--yes"]) == 0
    assert (tmp_path / "new" / "mlflow" / "mlflow.db").is_file()
    assert main(["restore", monday, "--yes"]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_a_damaged_backup_ends_with_what_is_wrong(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["backup", str(tmp_path / "monday")])
    (tmp_path / "monday" / "home.jsonl").write_text("{}")
    assert main(["restore", str(tmp_path / "monday")]) == 1
    assert "home.jsonl has sha256" in capsys.readouterr().err


def test_half_a_team_is_a_wrong_call(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", str(tmp_path / "monday"), "--databases", "prefect"]) == 2
    assert "name both, or neither" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--account", "devices=NOT_SET"], "the environment variable 'NOT_SET' holds no password"),
        (["--administrator", "workshop"], "holds no password"),
        (["--account", "devices=SET"], "set MLFLOW_TRACKING_URI"),
    ],
)
def test_accounts_need_passwords_and_a_registry(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    monkeypatch.setenv("SET", "a password of some length")
    assert main(["prepare-team", *words]) == 2
    assert said in capsys.readouterr().err
