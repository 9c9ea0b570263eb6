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

        After a success: the regular one, ±10 %. After the n-th failure in a row: anything, with equal chance, from the
        first back-off to its 2^n-fold, at most the longest.

        Args:
            failed: Whether the last question failed.
        """
        registry = self._registry
        if not failed:
            self._failures = 0
            return registry.poll_s * self._random.uniform(1 - _JITTER, 1 + _JITTER)
        self._failures = min(self._failures + 1, _DOUBLINGS_MOST)
        most = registry.backoff_most_s
        first = min(registry.backoff_first_s, most)
        return self._random.uniform(first, min(most, first * 2.0**self._failures))
