"""When to ask the registry again: regularly when all is well, ever more rarely while it fails, never all at once."""

from __future__ import annotations

import random

from edgewright.device.agent_config import RegistrySection

_JITTER = 0.1
_DOUBLINGS_MOST = 64  # 2^64 times any first pause is beyond any longest one


class Poller:
    """Pure timing: gives the pauses, waits for nothing."""

    def __init__(self, registry: RegistrySection, random: random.Random) -> None:
        """Begin without failures.

        Args:
            registry: The pauses' bounds.
            random: Source of jitter; devices that start together must not ask together.
        """
        self._registry, self._random = registry, random
        self._failures = 0

    def next_pause_s(self, failed: bool) -> float:
        """Give the pause before the next question, in seconds.

        After a success: the regular one, ±10 %. After a failure: see `backoff_pause_s`.

        Args:
            failed: Whether the last question failed.
        """
        if not failed:
            self._failures = 0
            return self._registry.poll_s * self._random.uniform(1 - _JITTER, 1 + _JITTER)
        self._failures += 1
        return backoff_pause_s(self._registry, self._failures, self._random)


def backoff_pause_s(registry: RegistrySection, failures: int, random: random.Random) -> float:
    """Give the pause after a failure: anything, with equal chance, between two bounds, so that nobody asks in step.

    Args:
        registry: Has the shortest pause and the longest.
        failures: In a row, this one too. Each doubles what the pause may be at most, up to the longest.
        random: Source of the jitter.
    """
    most = registry.backoff_most_s
    first = min(registry.backoff_first_s, most)
    return random.uniform(first, min(most, first * 2.0 ** min(failures, _DOUBLINGS_MOST)))
