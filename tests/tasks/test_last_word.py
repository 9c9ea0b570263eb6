"""Only the process that a worker started for a flow run has a last word."""

from __future__ import annotations

import atexit
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.last_word import promise_last_word


@pytest.mark.parametrize(
    ("main", "run", "speaks"),
    [
        ("prefect.engine", "run-1", True),
        ("prefect.engine", None, False),
        # What a flow's process starts inherits the run's id, and must not speak for it: the run may go on, or be killed.
        ("edgewright.pipeline.isolation", "run-1", False),
        (None, "run-1", False),
    ],
)
def test_only_a_flow_runs_own_process_speaks(
    main: str | None, run: str | None, speaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    promised: list[Any] = []
    monkeypatch.setattr(atexit, "register", lambda *words: promised.append(words))
    spec = SimpleNamespace(name=main) if main else None
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID", raising=False)
    if run:
        monkeypatch.setenv("PREFECT__FLOW_RUN_ID", run)
    promise_last_word()
    assert [words[1] for words in promised] == (["run-1"] if speaks else [])
