"""The shipped automations, as Prefect's own server reads them, and as the desk fills them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgewright.desk.automations import FOLDER, _with_blocks, check_notify_url
from edgewright.errors import UsageError
from edgewright.pipeline.document import read_document

ROOT = Path(__file__).parents[3]
BLOCK = "5a1e6b6e-9b3c-4c57-9d43-0f5c9a1f0c11"


def read(name: str, block: str | None = None) -> Any:
    """A shipped automation, after Prefect's server has parsed it."""
    from prefect.server.events.schemas.automations import Automation

    words = read_document(ROOT / FOLDER / name)
    blocks = {action["block"]: block for action in words["actions"] if "block" in action}
    return Automation.model_validate(_with_blocks(words, blocks))


def test_the_folder_holds_these_and_no_python() -> None:
    assert {path.name for path in (ROOT / FOLDER).iterdir()} == {
        "nightly-notice.yaml",
        "silent-runs.yaml",
        "stuck-runs.yaml",
    }


@pytest.mark.parametrize("name", ["silent-runs.yaml", "stuck-runs.yaml"])
def test_whatever_happens_to_a_run_answers_the_wait(name: str) -> None:
    trigger = read(name).trigger
    states = ("Completed", "Failed", "Refused", "Cancelled", "Suspended", "Paused", "AwaitingRetry", "Scheduled")
    assert all(trigger.expects(f"prefect.flow-run.{state}") for state in states)
    assert not any(trigger.starts_after(f"prefect.flow-run.{state}") for state in states), "and no new wait begins"
    assert trigger.expects("prefect.flow-run.heartbeat")


def test_a_silent_run_is_waited_for_from_its_first_moment_and_longer_than_three_heartbeats() -> None:
    trigger = read("silent-runs.yaml").trigger
    assert all(trigger.starts_after(f"prefect.flow-run.{event}") for event in ("Running", "heartbeat", "Retrying"))
    assert trigger.within.total_seconds() > 3 * 30
    action = read("silent-runs.yaml").actions[0]
    assert (action.state.value, action.force) == ("CRASHED", False), "one that ended meanwhile is left alone"


def test_a_run_that_never_began_is_waited_for_too() -> None:
    trigger = read("stuck-runs.yaml").trigger
    assert all(trigger.starts_after(f"prefect.flow-run.{state}") for state in ("Pending", "Submitting", "Cancelling"))


def test_the_notice_is_off_and_does_nothing_until_a_block_is_named() -> None:
    silent = read("nightly-notice.yaml")
    assert (silent.enabled, [action.type for action in silent.actions]) == (False, ["do-nothing"])
    told = read("nightly-notice.yaml", BLOCK)
    assert (told.enabled, [action.type for action in told.actions]) == (True, ["call-webhook"])
    assert str(told.actions[0].block_document_id) == BLOCK


@pytest.mark.parametrize("url", ["hooks.example/T1", "ftp://hooks.example", "https://", "C:\\hooks"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--notify"):
        check_notify_url(url)
    check_notify_url("https://hooks.example/T1")
