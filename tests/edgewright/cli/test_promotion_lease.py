"""One promotion per model at a time: whatever command must wait says for whom, and gives up in the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgewright.cli import promotion_lease, record_bench
from edgewright.errors import EdgewrightError
from edgewright.pipeline.lease import hold_lease, read_lease
from edgewright.pipeline.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(promotion_lease, "_WAIT_S", 0.2)
    monkeypatch.setenv("EDGEWRIGHT_HOME", str(tmp_path))
    return Workspace(tmp_path)


def test_a_models_lease_is_held_while_the_block_runs(workspace: Workspace) -> None:
    with promotion_lease.promotion_held(workspace, "digits", "edgewright promote of anna"):
        held = read_lease(workspace.shared, "promotion.digits")
        assert held is not None and held.holder == "edgewright promote of anna"
        assert read_lease(workspace.shared, "promotion.motion") is None
    assert read_lease(workspace.shared, "promotion.digits") is None


def test_who_waits_says_for_whom(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        hold_lease(workspace.shared, "promotion.digits", holder="a nightly retrain"),
        pytest.raises(EdgewrightError, match="a nightly retrain"),
        promotion_lease.promotion_held(workspace, "digits", "edgewright promote of anna"),
    ):
        pytest.fail("two held it at once")
    said = capsys.readouterr().err
    assert said.startswith("waiting: ") and "a nightly retrain" in said and said.count("\n") == 1


def test_a_report_that_is_recorded_waits_no_less_loudly(
    workspace: Workspace,
    empty_registry: Any,
    edgewright: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = Workspace(empty_registry.home).shared
    report = SimpleNamespace(model="digits", target="here", bundle_sha256="a" * 64)
    monkeypatch.setattr(record_bench, "read_report", lambda path: report)
    monkeypatch.setattr(record_bench, "tracking_server", lambda home: nullcontext(empty_registry))
    with hold_lease(shared, "promotion.digits", holder="a nightly retrain"):
        said = edgewright("record-bench", "report.json")
    assert said.status != 0
    assert said.err.startswith("waiting: ") and "a nightly retrain" in said.err.partition("\n")[0]
