"""Which code made a run, also where there is no checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewright.pipeline.run_logging import git_commit


def test_an_image_says_which_commit_it_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_GIT_COMMIT", "c0ffee")
    assert git_commit(tmp_path) == "c0ffee"


def test_without_git_it_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEWRIGHT_GIT_COMMIT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) == "unknown"
