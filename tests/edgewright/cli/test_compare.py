"""``edgewright compare``: the variants of a build side by side, and the champion's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgewright.cli import compare
from edgewright.pipeline.tracking import run_tags


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


def test_the_page_is_written_and_logged_and_once_only(
    release: Callable[..., Any], edgewright: Callable[..., Any], empty_registry: Any
) -> None:
    version = release("b1")
    said = edgewright("compare", "digits")
    page = empty_registry.home / "reports" / "digits-b1-comparison.html"
    assert f"page   {page}\n" in said.out
    assert "also beside the runs of build b1 in the registry, as comparison.html" in said.out
    assert "digits: build b1" in page.read_text()
    assert run_tags(empty_registry, version.run_id)["edgewright.comparison_sha256"]
    assert "already beside the runs of build b1" in edgewright("compare", "digits").out


def test_the_page_goes_where_it_is_wanted_and_nowhere_else(
    release: Callable[..., Any], edgewright: Callable[..., Any], empty_registry: Any, tmp_path: Path
) -> None:
    version = release("b1")
    release("b2", "fail")
    place = tmp_path / "mine.html"
    said = edgewright("compare", "digits", "--build", "b2", "--against", "b1", "--html", place, "--no-log")
    assert (said.status, said.err) == (0, "")
    assert "digits: build b2 against b1" in place.read_text()
    assert "registry" not in said.out
    assert "edgewright.comparison_sha256" not in run_tags(empty_registry, version.run_id)
    assert not (empty_registry.home / "reports").exists()
    said = edgewright("compare", "digits", "--html", tmp_path / "none" / "mine.html")
    assert (said.status, said.out) == (2, "")
    assert "its folder does not exist. Make it first." in said.err
    said = edgewright("compare", "digits", "--against", "b7")
    assert (said.status, said.err) == (1, "digits has no build 'b7'; the latest: b2, b1\n")


def test_a_registry_that_takes_no_files_keeps_no_page_and_the_command_says_so(
    release: Callable[..., Any], edgewright: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def refuse(*_: Any) -> None:
        raise MlflowException("403 forbidden")

    release("b1")
    monkeypatch.setattr(LocalArtifactRepository, "log_artifacts", refuse)
    said = edgewright("compare", "digits")
    assert (said.status, said.err) == (0, "")
    assert "not logged: adding to a run failed: the registry answered: 403 forbidden" in said.out


def test_in_a_narrow_terminal_nothing_is_cut(
    release: Callable[..., Any], edgewright: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    release("0123456789ab")
    narrow = Console(width=80, highlight=False, force_terminal=False)
    monkeypatch.setattr(compare, "open_console", lambda: narrow)
    said = edgewright("compare", "digits")
    assert "…" not in said.out
    assert all(len(line) <= 80 for line in said.out.partition("page ")[0].splitlines()), "but for where the page is"
    assert "champion)" in said.out
    assert "98.75 %" in said.out
