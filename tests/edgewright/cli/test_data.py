"""``edgewright data``: reserved samples are delivered, what was delivered is listed, a refusal is taken back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from edgewright.cli import data
from edgewright.errors import DataError
from edgewright.pipeline.artifact_store import Artifact
from edgewright.pipeline.intake.ledger import Batch, Ledger, Source
from edgewright.pipeline.workspace import open_workspace


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(action: str, model: str, **words: Any) -> int:
    return data.run(argparse.Namespace(action=action, model=model, **words))


def test_deliver_says_in_one_line_what_it_did(capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path) -> None:
    assert run("deliver", "digits", samples=20, into=None) == 0
    assert run("deliver", "digits", samples=20, into=tmp_path / "there") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"digits: 20 new samples (1 to 20 of 7,000) lie in {home}/incoming/digits/")
    assert f"(21 to 40 of 7,000) lie in {tmp_path}/there/digits-00021-00040.npz" in second
    assert (tmp_path / "there" / "digits-00021-00040.npz").is_file()


def test_an_unknown_model_names_those_that_can_deliver() -> None:
    with pytest.raises(DataError, match="Those that have: digits"):
        run("deliver", "parts", samples=20, into=None)


def test_nothing_delivered_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    run("list", "parts")
    assert capsys.readouterr().out == "parts: nothing was delivered yet.\n"


def test_batches_are_listed_and_a_refused_one_is_new_again(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(open_workspace().shared, "parts")
    for letter, status, reason in (("a", "pending", ""), ("b", "rejected", "is [red] no npz"), ("c", "pending", "")):
        sha256 = letter * 64
        content = None if status == "rejected" else Artifact("x", sha256, 1)
        source = Source(f"{letter}.npz", sha256, 1)
        ledger.record(
            Batch(
                sha256, status, f"2026-01-02T03:04:0{ord(letter) % 10}", (source,), content, 5, taken=5, reason=reason
            )  # type: ignore[arg-type]
        )
    ledger.mark_in_use(["a" * 64], "b1")
    ledger.refuse(["c" * 64], "wrong line", "anna")
    run("list", "parts")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"]
    assert "in use" in lines[2] and "a.npz: since build b1" in lines[2] and "2026-01-02 03:04" in lines[2]
    assert "set aside" in lines[3] and "is [red] no npz" in lines[3]
    assert "refused" in lines[4] and "wrong line (anna)" in lines[4]
    assert run("reopen", "parts", batch="cccccccccccc", reason="it was right") == 0
    assert capsys.readouterr().out == "parts: batch cccccccccccc with 5 samples is new again.\n"
    assert {batch.status for batch in ledger.batches()} == {"in_use", "rejected", "pending"}
