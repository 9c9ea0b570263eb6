from __future__ import annotations

import itertools
import random

import pytest

from edgewright.device.agent_config import RegistrySection
from edgewright.device.poller import Poller


def poller(seed: int = 1, **values: float) -> Poller:
    return Poller(RegistrySection(**values), random.Random(seed))


def test_regular_questions_come_a_tenth_earlier_or_later() -> None:
    asks = poller(poll_s=300)
    pauses = [asks.next_pause_s(failed=False) for _ in range(2_000)]
    assert 270 <= min(pauses) < 272 and 328 < max(pauses) <= 330
    assert sum(pauses) / len(pauses) == pytest.approx(300, abs=2)


def test_pauses_after_failures_double_to_a_bound_and_spread_over_all_below_it() -> None:
    seen = [[] for _ in range(14)]
    for seed in range(400):
        asks = poller(seed, backoff_first_s=1, backoff_most_s=300)
        for number in range(14):
            seen[number].append(asks.next_pause_s(failed=True))
    for number, pauses in enumerate(seen):
        most = min(300.0, 2.0 ** (number + 1))
        assert 1 <= min(pauses) <= 1 + 0.05 * most
        assert 0.95 * most <= max(pauses) <= most


def test_a_success_ends_the_back_off() -> None:
    asks = poller(backoff_first_s=1, backoff_most_s=300)
    for _ in range(10_000):
        assert asks.next_pause_s(failed=True) <= 300
    asks.next_pause_s(failed=False)
    assert asks.next_pause_s(failed=True) <= 2


def test_devices_that_fail_together_do_not_ask_together() -> None:
    pauses = sorted(poller(seed).next_pause_s(failed=True) for seed in range(200))
    assert max(later - earlier for earlier, later in itertools.pairwise(pauses)) < 0.1


def test_a_longest_pause_below_the_first_holds() -> None:
    assert poller(backoff_first_s=10, backoff_most_s=2).next_pause_s(failed=True) == 2
