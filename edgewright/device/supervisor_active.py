"""Keeps the active bundle answering: starts its worker, counts failed starts, and goes back when there are too many."""

from __future__ import annotations

from edgewright.device.agent_config import AgentConfig
from edgewright.device.agent_state import STARTS_ALLOWED, Place
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.device.supervisor_state import (
    SupervisorEvents,
    changed,
    empty_slot,
    fall_back_place,
    has_factory,
    is_usable,
    leaving,
)
from edgewright.device.utc_time import utc_now
from edgewright.device.worker_link import Blames
from edgewright.device.worker_runner import Runner, Starter

_LONGEST_PAUSE_S = 60.0
_MOST_TROUBLES = 60  # a second apart: what cannot be looked at for so long is lost


class ActiveKeeper:
    """The active bundle's worker.

    A start is counted in the state before it runs, and taken back once the bundle is proved: from then on this process
    sees for itself whether it fails, and counts it then. So a device that is switched off thrice in a row does not
    lose a release that is well, and one whose bundle brings the whole machine down while it loads does.

    Attributes:
        runner: The worker; None while there is none.
    """

    def __init__(
        self, config: AgentConfig, holder: StateHolder, slots: Slots, starter: Starter, events: SupervisorEvents
    ) -> None:
        self._window_s = config.health.window_s
        self._holder, self._slots, self._starter, self._events = holder, slots, starter, events
        self._failures = holder.state.failed_starts
        self._reason = "this agent was ended during them"
        self._blames: Blames = "release"
        self._damaged: Place | None = None  # its worker found other bytes than were signed
        self._troubles = 0  # in a row, of the system's
        self._start_at = 0.0
        self.runner: Runner | None = None

    @property
    def is_hopeless(self) -> bool:
        """Whether it is started again only because there is nothing else."""
        return self._failures > STARTS_ALLOWED

    def tend(self, now: float) -> None:
        """Do what is due."""
        runner = self.runner
        if runner is not None:
            runner.link.check()
            if runner.link.phase == "ended":
                self._note_end(runner, now)
                self.runner = None
            elif runner.is_ready:
                self._note_health(runner, now)
        if self.runner is None and now >= self._start_at:
            self._start(now)

    def adopt(self, runner: Runner, now: float) -> Runner | None:
        """Go on with another worker, whose bundle was committed; gives the one until now."""
        before, self.runner = self.runner, runner
        runner.ready_at = now  # its window begins
        self._failures, self._start_at, self._damaged = 0, now, None
        return before

    def stop(self) -> None:
        """End the worker. An end on purpose is no failed start."""
        if self.runner is None:
            return
        if self.runner.link.phase == "starting":
            self._write_failures()
        self.runner.link.end("the agent ends")

    def _note_health(self, runner: Runner, now: float) -> None:
        if runner.ready_at is None:
            runner.ready_at, self._troubles = now, 0
            self._write_failures()
            self._events.event(
                "serving", place=runner.place, version=runner.version, bundle_sha256=runner.bundle_sha256
            )
        elif self._failures and now - runner.ready_at >= self._window_s:
            self._failures = 0
            self._write_failures()

    def _note_end(self, runner: Runner, now: float) -> None:
        ending = runner.link.ending
        self._reason = ending.reason if ending else "it ended"
        self._blames = ending.blames if ending else "release"
        late = runner.ready_at is not None and now - runner.ready_at >= self._window_s
        if late:
            self._failures = 0
        elif self._blames != "request":  # what a client sent is not held against the bundle
            self._failures += 1
        self._write_failures()
        self._events.count("worker_ends")
        self._events.event("worker_ended", place=runner.place, version=runner.version, reason=self._reason)
        if ending is not None and ending.deterministic and ending.blames == "disk":
            self._damaged = runner.place
        beyond = self._failures - STARTS_ALLOWED
        self._start_at = now if beyond <= 0 else now + min(2.0 ** min(beyond - 1, 10), _LONGEST_PAUSE_S)

    def _start(self, now: float) -> None:
        try:
            place = self._choose_place()
        except OSError as error:
            self._note_trouble(f"a slot cannot be looked at: {error}", now)
            return
        if place is None:
            return
        counted = min(self._failures + 1, STARTS_ALLOWED)
        changed(self._holder, self._events, lambda state: state.with_failed_starts(counted))
        self._events.count("worker_starts")
        try:
            self.runner = self._starter.start(place, self._holder.state.held(place))
        except (OSError, RuntimeError) as error:  # no process, no thread, links in a circle
            self._note_trouble(f"it could not be started: {error}", now)

    def _note_trouble(self, reason: str, now: float) -> None:
        """Try again in a second: what the system refuses now it may give then, and the bundle is not to blame."""
        self._troubles, self._start_at = self._troubles + 1, now + 1.0
        self._events.event("worker_ended", place=self._holder.state.active, reason=reason)

    def _choose_place(self) -> Place | None:
        """Give the place to start, after going back as often as it takes."""
        while (place := self._holder.state.active or self._take_factory()) is not None:
            if place == self._damaged or not self._is_usable(place):
                if not self._leave(place, f"what is in {place} is damaged or gone.", refuse=False, hopeless=True):
                    return None
            elif not (
                self._failures >= STARTS_ALLOWED
                and self._leave(
                    place,
                    f"{self._failures} starts in a row failed, the last: {self._reason}",
                    refuse=self._blames == "release",
                )
            ):
                return place
        return None

    def _is_usable(self, place: Place) -> bool:
        try:
            return is_usable(self._holder.state, self._slots, place)
        except OSError:
            if self._troubles < _MOST_TROUBLES:
                raise
            return False

    def _take_factory(self) -> Place | None:
        if not has_factory(self._slots):
            return None
        # Where that cannot be written it serves all the same: every start finds it again.
        changed(self._holder, self._events, lambda state: state.serving_factory() if state.active is None else state)
        return "factory"

    def _leave(self, place: Place, reason: str, refuse: bool, hopeless: bool = False) -> bool:
        state = self._holder.state
        to = fall_back_place(state, self._slots)
        if to is None and not hopeless:
            return False  # a bundle that fails now and then is better than none
        left = state.held(place)
        if changed(self._holder, self._events, leaving(place, to, reason, utc_now(), refuse)) is None:
            return False
        self._failures, self._reason, self._damaged, self._troubles = 0, "", None, 0
        if place != "factory":
            empty_slot(self._slots, self._events, place)  # before it is told: the next installation may be waiting
        self._events.count("rollbacks")
        version = left.release.version if left else None
        self._events.event("fall_back", place=place, to=to, version=version, reason=reason)
        return True

    def _write_failures(self) -> None:
        count = min(self._failures, STARTS_ALLOWED)
        if self._holder.state.failed_starts != count:
            changed(self._holder, self._events, lambda state: state.with_failed_starts(count))
