"""``edgewright compare``: the variants of a build side by side, and the champion's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from edgewright.cli import compare


def test_every_variant_of_the_newest_build_and_who_is_in_office(
    release: Callable[..., Any], edgewright: Callable[..., Any]
) -> None:
    release("b1", accuracy_pct=97.5)
    release("b2", "fail", accuracy_pct=91.0)
    said = edgewright("compare", "digits")
    assert (said.status, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].rstrip() == "digits on here"
    rows = [line.split() for line in lines if line.split()[:1] in (["b1"], ["b2"])]
    assert [row[:2] for row in rows] == [["b2", "fp32"], ["b2", "p50-i8"], ["b1", "fp32"], ["b1", "p50-i8"]]
    refused, champion = " ".join(rows[1]), " ".join(rows[3])
    assert "91.00 % +0.12 97 KiB - - - - fail version 2" in refused, "a dash where nothing was measured"
    assert "pass version 1 (baseline, champion)" in champion


def test_one_build_by_name(release: Callable[..., Any], edgewright: Callable[..., Any]) -> None:
    release("b1")
    release("b2", "fail")
    said = edgewright("compare", "digits", "--build", "b1")
    assert said.status == 0
    assert "b2" not in said.out
    said = edgewright("compare", "digits", "--build", "b7")
    assert (said.status, said.err) == (1, "digits has no build 'b7'; the latest: b2, b1\n")


def test_what_was_never_built_is_named(release: Callable[..., Any], edgewright: Callable[..., Any]) -> None:
    release("b1")
    said = edgewright("compare", "letters")
    assert (said.status, said.err) == (1, "no model 'letters' was built here; known: digits\n")


def test_a_workspace_without_a_registry_says_how_to_get_one(
    edgewright: Callable[..., Any], tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(tmp_path / "empty"))
    said = edgewright("compare", "digits")
    assert said.status == 1
    assert "holds no registry yet: `edgewright build` makes one" in said.err
    assert not (tmp_path / "empty").exists()


def test_in_a_narrow_terminal_nothing_is_cut(
    release: Callable[..., Any], edgewright: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    release("0123456789ab")
    narrow = Console(width=80, highlight=False, force_terminal=False)
    monkeypatch.setattr(compare, "open_console", lambda: narrow)
    said = edgewright("compare", "digits")
    assert "…" not in said.out
    assert all(len(line) <= 80 for line in said.out.splitlines())
    assert "champion)" in said.out
    assert "98.75 %" in said.out
