"""The time by which metadata expires: the device's clock where it can be right, else the last signature's time.

A device without a battery wakes in 1971, and anybody who answers its NTP can send it to 2100. It is certainly later
than the latest signature that was verified, plus the time that this process has run since. A clock before that, or
implausibly long after, is not believed. The clock never moves that floor: only signatures do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from edgewright.device.agent_config import RegistrySection
from edgewright.device.state_holder import StateHolder
from edgewright.device.utc_time import utc_text

_TOLERANCE_S = 300.0  # a clock so far behind the signer's is no alarm
_DAY_S = 86_400.0


class TrustedClock:
    """Gives the time to judge expiry by.

    Attributes:
        alarm: What is wrong with the device's clock, as of the last question; None when it was believed.
    """

    def __init__(
        self,
        holder: StateHolder,
        registry: RegistrySection,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start from what the state remembers.

        Args:
            holder: The state, with the latest time of signing.
            registry: Says how far ahead of that the device's clock is believed.
            clock: The device's clock, seconds since 1970.
            monotonic: Seconds that only go forward.
        """
        self.alarm: str | None = None
        self._holder, self._ahead_s = holder, registry.clock_ahead_days * _DAY_S
        self._clock, self._monotonic = clock, monotonic
        self._floor_s, self._base_s, self._since = 0.0, 0.0, monotonic()
        self._lock = threading.Lock()

    def now(self, floor_s: float | None = None) -> datetime:
        """Give the time, UTC.

        Args:
            floor_s: It is certainly later than that, seconds since 1970; None: the state's latest time of signing. 0
                when nothing was ever verified: then the device's clock is all there is.
        """
        with self._lock:
            lower_s = self._lower_bound(self._holder.state.signed_at_s if floor_s is None else floor_s)
            clock_s = self._clock()
            behind, ahead = clock_s < lower_s, lower_s > 0 and clock_s > lower_s + self._ahead_s
            self.alarm = None
            if ahead or clock_s < lower_s - _TOLERANCE_S:
                self.alarm = (
                    f"this device's clock says {utc_text(clock_s)}, {'long after' if ahead else 'before'} what signatures "
                    f"prove ({utc_text(lower_s)}): it is not believed. Set the clock."
                )
            return datetime.fromtimestamp(lower_s if behind or ahead else clock_s, UTC)

    def _lower_bound(self, floor_s: float) -> float:
        """The floor and what has passed since it was learnt; a floor that was taken back begins anew."""
        now = self._monotonic()
        if floor_s != self._floor_s:
            passed = self._base_s + now - self._since if 0 < self._floor_s < floor_s else 0.0
            self._floor_s, self._base_s, self._since = floor_s, max(floor_s, passed), now
        return self._base_s + now - self._since if floor_s else 0.0
