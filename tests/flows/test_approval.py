"""A promotion that a person approves. The suspension itself is Prefect's, and watched end to end; here the answers vary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgewright.pipeline.tracking import APPROVAL, ASKED, Tracking, champion, get_version, promote
from edgewright.pipeline.workspace import open_workspace
from registered import release

pytestmark = pytest.mark.usefixtures("prefect_api")
PROVEN, BOARD = "linux-x86", "pi5-arm64"
Answer = Callable[..., Any]


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    return request.node.name.replace("_", "-")[-60:].strip("-")


@pytest.fixture
def approval(
    registry: Tracking, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Any, list[str]]]:
    """Lets a build's two candidates (one passed, one not measured) wait for the given answers, one after the other."""
    from prefect import flow

    from flows import approval as module
    from flows.outcome import Built, Candidacy

    release(registry, tmp_path, "old", model=model, target=PROVEN)
    promote(registry, model, PROVEN, 1, reason="before", who="test")
    release(registry, tmp_path, "new", model=model, target=PROVEN)
    release(registry, tmp_path, "new", model=model, target=BOARD, verdict="not_measurable")
    candidates = (
        Candidacy(PROVEN, 2, "pass", 1, "version 2 is candidate", (), 13),
        Candidacy(BOARD, 1, "not_measurable", 0, "version 1 is candidate", ("latency budget: not measured",), 13),
    )
    built = Built(model, "new", "Candidate", "two candidates", False, candidates)
    recipe: Any = SimpleNamespace(model=model, nightly=SimpleNamespace(approval_timeout_h=2.0))

    def run(*answers: dict[str, Any]) -> tuple[Any, list[str]]:
        asked: list[str] = []

        def answer(form: Any, question: str, key: str, timeout_s: float, **filled: Any) -> Any:
            assert (key, timeout_s) == (f"approval-{len(asked) + 1}", 7200)
            asked.append(question)
            return form(**{"reason": "trial went well", "who": "A. Person", **filled, **answers[len(asked) - 1]})

        monkeypatch.setattr(module, "ask", answer)

        @flow
        def waiting() -> Any:
            return module.approve(open_workspace(), registry, recipe, built, "run-1")

        return waiting(return_state=True), asked

    return run


def in_office(registry: Tracking, model: str, target: str) -> int | None:
    current = champion(registry, model, target)
    return current.version if current else None


def test_a_yes_promotes_what_passed(registry: Tracking, model: str, approval: Answer) -> None:
    state, (question,) = approval({"decision": "promote"})
    assert state.name == "Released"
    assert "**linux-x86** · version 2 is candidate · 13 of 13 checks passed" in question
    assert "12 of 13 checks passed\n\n- latency budget: not measured" in question
    assert (in_office(registry, model, PROVEN), in_office(registry, model, BOARD)) == (2, None)
    version = get_version(registry, model, PROVEN, 2)
    assert version.tags[APPROVAL].startswith("promote: trial went well (A. Person, ")
    assert version.tags[ASKED] == "run-1"
    assert get_version(registry, model, BOARD, 1).tags[APPROVAL].startswith("keep the champion: ")


def test_a_no_is_kept_with_the_release(registry: Tracking, model: str, approval: Answer) -> None:
    state, _ = approval({"decision": "keep the champion"})
    assert (state.type.value, state.name) == ("COMPLETED", "Kept")
    assert in_office(registry, model, PROVEN) == 1
    assert "keep the champion: trial went well" in get_version(registry, model, PROVEN, 2).tags[APPROVAL]


def test_what_did_not_pass_is_asked_for_again_until_there_is_a_waiver(
    registry: Tracking, model: str, approval: Answer
) -> None:
    state, (_, again) = approval(
        {"decision": "promote", "targets": [PROVEN, BOARD]},
        {"decision": "promote", "targets": [BOARD], "waiver": "measured by hand, 4 ms"},
    )
    assert state.name == "Released"
    assert "the verdict on pi5-arm64 is not `pass`" in again
    assert (in_office(registry, model, PROVEN), in_office(registry, model, BOARD)) == (1, 1)
    assert get_version(registry, model, BOARD, 1).waiver == "measured by hand, 4 ms"


def test_a_target_that_is_not_there_is_asked_for_again(model: str, approval: Answer) -> None:
    _, (_, again) = approval({"decision": "promote", "targets": ["pi6"]}, {"decision": "keep the champion"})
    assert "pi6 cannot be promoted here; these can: linux-x86, pi5-arm64" in again


def test_an_answer_that_came_too_late_promotes_nothing(
    registry: Tracking, model: str, approval: Answer, tmp_path: Path
) -> None:
    release(registry, tmp_path, "meanwhile", model=model, target=PROVEN)
    promote(registry, model, PROVEN, 3, reason="by hand", who="test")
    state, _ = approval({"decision": "promote"})
    assert (state.type.value, state.name) == ("FAILED", "Outdated")
    assert "version 3 is in office now" in state.message
    assert in_office(registry, model, PROVEN) == 3
