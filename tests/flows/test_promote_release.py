"""What people decide about releases: one at a time, with a reason, and never about something else than they saw."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.artifacts import Artifact

from edgewright.errors import RegistryError, UsageError
from edgewright.pipeline.lease import LeaseHeldError, hold_lease
from edgewright.pipeline.tracking import ChampionMovedError, ModelVersion, Tracking, champion, get_version, promote
from edgewright.pipeline.workspace import open_workspace
from registered import release

pytestmark = pytest.mark.usefixtures("prefect_api")
TARGET = "linux-x86"
Released = Callable[..., ModelVersion]


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A model of each test's own."""
    return request.node.name.replace("_", "-")[-60:].strip("-")


@pytest.fixture
def released(registry: Tracking, model: str, tmp_path: Path) -> Released:
    return lambda build, verdict="pass": release(registry, tmp_path, build, model=model, target=TARGET, verdict=verdict)


def run(name: str, model: str, *rest: Any, **more: Any) -> Any:
    from flows import promote_release

    decided = {"reason": "field trial went well", "who": "A. Person", **more}
    return getattr(promote_release, name)(model, TARGET, *rest, **decided, return_state=True)


def in_office(registry: Tracking, model: str) -> int | None:
    current = champion(registry, model, TARGET)
    return current.version if current else None


def test_a_promotion_is_stored_and_shown(registry: Tracking, model: str, released: Released) -> None:
    version = released("one")
    state = run("promote_release", model, 1)
    assert (state.type.value, state.name) == ("COMPLETED", "Promoted")
    assert state.message == f"{model}.{TARGET}: version 1 is champion."
    found = get_version(registry, model, TARGET, version.version)
    assert found.is_champion
    assert found.tags["edgewright.reason"] == "field trial went well"
    assert found.tags["edgewright.promoted_by"] == "A. Person"
    page: Any = Artifact.get(f"decision-{model}-{TARGET}")
    assert "version 1 is champion" in page.data and "field trial went well (A. Person)" in page.data


def test_going_back(registry: Tracking, model: str, released: Released) -> None:
    released("one"), released("two")
    run("promote_release", model, 1)
    run("promote_release", model, 2)
    state = run("rollback_release", model, reason="misreads sevens")
    assert (state.name, in_office(registry, model)) == ("Rolled back", 1)
    assert get_version(registry, model, TARGET, 2).withdrawn == "misreads sevens"


def test_who_and_why_must_be_said(registry: Tracking, model: str, released: Released) -> None:
    released("one")
    with pytest.raises(UsageError, match="who is blank"):
        run("promote_release", model, 1, who="  ").result()
    assert in_office(registry, model) is None


def test_what_the_gate_refused_needs_a_waiver(registry: Tracking, model: str, released: Released) -> None:
    released("one", "fail")
    with pytest.raises(RegistryError, match="has the verdict 'fail'"):
        run("promote_release", model, 1).result()
    assert run("promote_release", model, 1, waiver="the only board that fits").name == "Promoted"
    assert get_version(registry, model, TARGET, 1).waiver == "the only board that fits"


def test_a_decision_about_another_champion_is_refused(registry: Tracking, model: str, released: Released) -> None:
    released("one"), released("two"), released("three")
    run("promote_release", model, 1)
    assert run("promote_release", model, 2, champion_seen=1).name == "Promoted"
    with pytest.raises(ChampionMovedError, match="version 2 is in office now"):
        run("promote_release", model, 3, champion_seen=1).result()
    # Two people press rollback at once: the second one saw a champion that has left.
    assert run("rollback_release", model, champion_seen=2).name == "Rolled back"
    with pytest.raises(ChampionMovedError, match="version 2 was to leave, but version 1 is in office"):
        run("rollback_release", model, champion_seen=2).result()
    assert in_office(registry, model) == 1


def test_promoting_twice_is_once(registry: Tracking, model: str, released: Released) -> None:
    released("one")
    run("promote_release", model, 1)
    state = run("promote_release", model, 1)
    assert (state.name, state.message) == ("Unchanged", f"{model}.{TARGET}: version 1 is champion already.")


def test_one_promotion_at_a_time(
    registry: Tracking, model: str, released: Released, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import promote_release

    released("one")
    monkeypatch.setattr(promote_release, "PROMOTION_WAIT_S", 0.0)
    with (
        hold_lease(open_workspace().shared, f"promotion.{model}", holder="somebody"),
        pytest.raises(LeaseHeldError, match=f"somebody holds promotion.{model}"),
    ):
        run("promote_release", model, 1).result()
    assert in_office(registry, model) is None


def test_the_second_of_two_waits(registry: Tracking, model: str, released: Released) -> None:
    released("one")
    begun, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with hold_lease(open_workspace().shared, f"promotion.{model}", holder="somebody"):
            begun.set()
            ended.wait(1.0)
            promote(registry, model, TARGET, 1, reason="first", who="somebody")

    other = threading.Thread(target=hold)
    other.start()
    begun.wait()
    state = run("promote_release", model, 1)
    other.join()
    assert state.name == "Unchanged", "the first one was done when the second began"
