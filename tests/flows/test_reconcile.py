"""What a kill leaves behind is found and mended; what only a person can decide is said; what nobody needs goes when asked."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.tracking import (
    APPROVAL,
    Tracking,
    get_version,
    promote,
    record_question,
    set_verdict,
    versions,
)
from edgewright.pipeline.tracking.client import open_client
from edgewright.pipeline.workspace import open_workspace
from registered import release

pytestmark = pytest.mark.usefixtures("prefect_api")
TARGET = "linux-x86"


def reconcile() -> Any:
    from flows.reconcile import reconcile as flow

    return flow(return_state=True)


def test_where_all_is_well_nothing_is_done(registry: Tracking, tmp_path: Path) -> None:
    release(registry, tmp_path, "one", model="well")
    reconcile()
    state = reconcile()
    assert (state.type.value, state.name) == ("COMPLETED", "In order"), state.message


def test_what_a_kill_left_is_mended_once(registry: Tracking, tmp_path: Path) -> None:
    half = release(registry, tmp_path, "half", model="killed")
    client = open_client(registry)
    client.delete_model_version_tag(half.name, str(half.version), "edgewright.complete")
    client.delete_model_version_tag(half.name, str(half.version), "edgewright.verdict")
    store = open_workspace().store
    orphan, young = store.path(store.put_bytes(b"nobody names this")), store.path(store.put_bytes(b"nor this, yet"))
    os.utime(orphan, (time.time() - 200_000,) * 2)
    state = reconcile()
    assert state.name == "Repaired"
    assert versions(registry, "killed", TARGET) == ()
    assert not orphan.exists() and young.exists(), "a file of today may belong to a build that runs"
    assert reconcile().name == "In order"


def test_an_answer_that_never_came_is_written_to_the_version(
    registry: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import repair

    release(registry, tmp_path, "one", model="unanswered")
    record_question(registry, "unanswered", TARGET, 1, "run-1")
    assert reconcile().name == "In order", "somebody may still answer"
    monkeypatch.setattr(repair, "expired_runs", lambda flow: {"run-1"})
    assert "nobody answered in time" in reconcile_page(reconcile())
    assert get_version(registry, "unanswered", TARGET, 1).tags[APPROVAL].startswith("no answer in time: ")
    assert reconcile().name == "In order"


def reconcile_page(state: Any) -> str:
    from prefect.artifacts import Artifact

    assert state.is_completed()
    page: Any = Artifact.get("reconcile")
    return str(page.data)


def test_what_only_a_person_can_decide_is_said(registry: Tracking, tmp_path: Path) -> None:
    release(registry, tmp_path, "one", model="doubtful")
    promote(registry, "doubtful", TARGET, 1, reason="by hand", who="test")
    open_client(registry).set_model_version_tag(f"doubtful.{TARGET}", "1", "edgewright.verdict", "fail")
    state = reconcile()
    assert "champion with the verdict 'fail' and no waiver" in state.message
    open_client(registry).set_model_version_tag(f"doubtful.{TARGET}", "1", "edgewright.verdict", "pass")
    set_verdict(registry, "doubtful", TARGET, 1, "pass", reason="test")


def test_what_the_mending_cured_is_nothing_for_a_person(registry: Tracking, tmp_path: Path) -> None:
    from flows.promote_release import promote_release

    release(registry, tmp_path, "one", model="cured"), release(registry, tmp_path, "two", model="cured", verdict="fail")
    promote_release("cured", TARGET, 1, reason="good", who="test", return_state=True)
    open_client(registry).set_registered_model_alias(f"cured.{TARGET}", "champion", "2")
    state = reconcile()
    assert state.name == "Repaired"
    assert "for a person to decide" not in state.message
    assert "The alias is back at version 1." in reconcile_page(state)


def test_pruning_says_first_what_would_go(registry: Tracking, tmp_path: Path) -> None:
    from flows.prune_store import prune_store

    release(registry, tmp_path, "one", model="pruned")
    store = open_workspace().store
    orphan = store.path(store.put_bytes(b"nobody names this either"))
    os.utime(orphan, (time.time() - 200_000,) * 2)
    assert prune_store(return_state=True).name == "Dry run"
    assert orphan.exists()
    assert prune_store(dry_run=False, return_state=True).name == "Pruned"
    assert not orphan.exists()
    assert len(versions(registry, "pruned", TARGET)) == 1, "young, and the newest build"
    assert prune_store(return_state=True).name == "Nothing to remove"
