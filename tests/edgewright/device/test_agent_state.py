"""The steps from one state to the next."""

from __future__ import annotations

import dataclasses

import pytest

from edgewright.device.agent_state import AgentState, Held, Refusal, Trial
from edgewright.errors import AgentStateError

AT = "2030-01-01T00:00:00Z"


@pytest.fixture
def one(held_pair: tuple[Held, Held]) -> Held:
    return held_pair[0]


@pytest.fixture
def two(held_pair: tuple[Held, Held]) -> Held:
    return held_pair[1]


def test_a_release_goes_through_trial_to_service(one: Held, two: Held) -> None:
    state = AgentState().with_slot("A", one).with_trial("A").with_trial_start()
    assert (state.active, state.trial) == (None, Trial("A", 1))
    state = state.committed()
    assert (state.active, state.trial, state.free_slot) == ("A", None, "B")
    state = state.with_slot("B", two).with_trial("B").with_trial_start().committed()
    assert state.held(state.active) == two
    assert state.held("A") == one, "the one before stays, to go back to"


def test_a_trial_that_ends_badly_leaves_nothing_but_the_refusal(one: Held, two: Held) -> None:
    state = AgentState(active="A", slots={"A": one, "B": None}).with_slot("B", two).with_trial("B")
    state = state.without_trial("answers wrongly", AT)
    assert (state.active, state.slots["B"], state.trial) == ("A", None, None)
    assert state.refused == (Refusal(two.release.bundle_sha256, 2, "answers wrongly", AT),)
    assert state.is_refused(two.release.bundle_sha256)
    assert not state.allowing(two.release.bundle_sha256).is_refused(two.release.bundle_sha256)


def test_falling_back_refuses_what_served(one: Held, two: Held) -> None:
    state = AgentState(active="B", slots={"A": one, "B": two}, failed_starts=3).fallen_back("A", "crashes", AT)
    assert (state.active, state.slots["B"], state.failed_starts) == ("A", None, 0)
    assert state.is_refused(two.release.bundle_sha256)
    assert AgentState(active="factory").fallen_back("A", "x", AT).refused == (), "the factory's bundle never is"


def refused_many(state: AgentState) -> AgentState:
    """With as many refusals as are kept."""
    refused = tuple(Refusal(f"{number:064x}", number, "too slow", AT) for number in range(1, 65))
    return dataclasses.replace(state, refused=refused)


def test_what_the_bytes_are_not_to_blame_for_refuses_nothing_and_forgets_no_refusal(one: Held, two: Held) -> None:
    state = refused_many(AgentState(active="A", slots={"A": one, "B": two}))
    for after in (
        state.fallen_back("B", "its slot is damaged", AT, refuse=False),
        state.with_trial("B").without_trial("its slot is damaged", AT, refuse=False),
    ):
        assert after.refused == state.refused
        assert None in after.slots.values() and after.trial is None


def test_what_is_on_trial_stays_there_when_the_active_one_is_left(one: Held, two: Held) -> None:
    state = AgentState(active="A", slots={"A": one, "B": two}).with_trial("B").with_trial_start()
    for to in ("factory", None):
        after = state.fallen_back(to, "crashes", AT)
        assert (after.active, after.trial, after.slots["B"]) == (to, Trial("B", 1), two)
    with pytest.raises(AgentStateError, match="slot B is on trial"):
        state.fallen_back("B", "crashes", AT)


def test_a_start_that_says_nothing_about_the_bundle_is_taken_back(one: Held) -> None:
    state = AgentState().with_slot("A", one).with_trial("A").with_trial_start().with_trial_start()
    assert state.without_trial_start().trial == Trial("A", 1)
    assert state.without_trial_start().without_trial_start().without_trial_start().trial == Trial("A", 0)


def test_the_factory_bundle_serves_where_nothing_does(one: Held) -> None:
    assert AgentState().serving_factory().active == "factory"
    with pytest.raises(AgentStateError, match="A serves"):
        AgentState(active="A", slots={"A": one, "B": None}).serving_factory()


def test_what_serves_cannot_be_changed(one: Held) -> None:
    state = AgentState(active="A", slots={"A": one, "B": None})
    for step in (
        lambda: state.with_slot("A", None),
        lambda: state.with_trial("A"),
        lambda: state.with_trial("B"),
        state.with_trial_start,
        state.without_trial_start,
        state.committed,
        lambda: state.without_trial("x", AT),
    ):
        with pytest.raises(AgentStateError):
            step()


def test_refusals_are_bounded_and_each_stands_once(one: Held) -> None:
    state = AgentState().refusing(one, "x" * 1_000, AT).refusing(one, "again", AT)
    assert [len(each.reason) for each in state.refused] == [300]
    for number in range(100):
        release = dataclasses.replace(one.release, files=one.release.files)
        held = dataclasses.replace(one, release=release)
        manifest = dataclasses.replace(release.manifest, sha256=f"{number:064x}")
        files = tuple(manifest if file.name == "manifest.json" else file for file in release.files)
        state = state.refusing(dataclasses.replace(held, release=dataclasses.replace(release, files=files)), "x", AT)
    assert len(state.refused) == 64
