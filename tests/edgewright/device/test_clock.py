from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgewright.device.agent_config import RegistrySection
from edgewright.device.clock import TrustedClock
from edgewright.device.state_holder import StateHolder

DAY = 86_400.0
SIGNED = datetime(2030, 1, 1, tzinfo=UTC).timestamp()


class Times:
    """The device's clock and its monotonic one."""

    def __init__(self, clock: float) -> None:
        self.clock, self.monotonic = clock, 5_000.0

    def pass_s(self, seconds: float) -> None:
        self.clock += seconds
        self.monotonic += seconds


@pytest.fixture
def holder(tmp_path: Path) -> StateHolder:
    holder = StateHolder(tmp_path / "state")
    sign(holder, SIGNED)
    return holder


def sign(holder: StateHolder, at: float) -> None:
    holder.change(lambda state: dataclasses.replace(state, signed_at_s=at))


def trusted(holder: StateHolder, times: Times) -> TrustedClock:
    section = RegistrySection(clock_ahead_days=400)
    return TrustedClock(holder, section, lambda: times.clock, lambda: times.monotonic)


@pytest.mark.parametrize("later_days", [0, 1, 399])
def test_a_plausible_clock_is_believed(holder: StateHolder, later_days: float) -> None:
    clock = trusted(holder, Times(SIGNED + later_days * DAY))
    assert clock.now().timestamp() == SIGNED + later_days * DAY
    assert clock.alarm is None


@pytest.mark.parametrize(
    "wrong", [0.0, -1e9, SIGNED - DAY, SIGNED + 401 * DAY, datetime(2100, 1, 1, tzinfo=UTC).timestamp(), 1e14]
)
def test_another_gives_way_to_the_last_signature_and_the_time_since(holder: StateHolder, wrong: float) -> None:
    times = Times(wrong)
    clock = trusted(holder, times)
    assert clock.now().timestamp() == SIGNED
    assert "it is not believed. Set the clock." in (clock.alarm or "")
    times.pass_s(10 * DAY)
    assert clock.now().timestamp() == SIGNED + 10 * DAY


def test_a_clock_a_little_behind_the_signers_is_no_alarm(holder: StateHolder) -> None:
    clock = trusted(holder, Times(SIGNED - 60))
    assert clock.now().timestamp() == SIGNED
    assert clock.alarm is None


def test_the_alarm_ends_when_the_clock_was_set(holder: StateHolder) -> None:
    times = Times(0.0)
    clock = trusted(holder, times)
    clock.now()
    assert clock.alarm is not None
    times.clock = SIGNED + DAY
    assert clock.now().timestamp() == SIGNED + DAY
    assert clock.alarm is None


def test_a_newer_signature_moves_time_forward_and_never_back(holder: StateHolder) -> None:
    times = Times(0.0)
    clock = trusted(holder, times)
    clock.now()
    times.pass_s(3 * DAY)
    sign(holder, SIGNED + DAY)
    assert clock.now().timestamp() == SIGNED + 3 * DAY, "what has passed since the first counts on"
    sign(holder, SIGNED + 9 * DAY)
    assert clock.now().timestamp() == SIGNED + 9 * DAY


def test_a_floor_that_was_taken_back_begins_anew(holder: StateHolder) -> None:
    sign(holder, SIGNED + 900 * DAY)
    clock = trusted(holder, Times(SIGNED + DAY))
    assert clock.now().timestamp() == SIGNED + 900 * DAY
    sign(holder, SIGNED)
    assert clock.now().timestamp() == SIGNED + DAY
    assert clock.alarm is None


def test_the_clock_never_moves_the_floor(holder: StateHolder) -> None:
    trusted(holder, Times(SIGNED + 300 * DAY)).now()
    assert holder.state.signed_at_s == SIGNED


def test_without_any_signature_the_clock_is_all_there_is(tmp_path: Path) -> None:
    clock = trusted(StateHolder(tmp_path / "state"), Times(12_345.0))
    assert clock.now().timestamp() == 12_345.0
    assert clock.alarm is None
