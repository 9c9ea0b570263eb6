"""A trial under way: its worker, its starts, what it shows beside the running model, and how it ends."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from edgewright.device.agent_config import AgentConfig
from edgewright.device.agent_state import STARTS_ALLOWED, SlotName
from edgewright.device.shadow import Shadow
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.device.supervisor_state import (
    SupervisorEvents,
    changed,
    empty_slot,
    trial_of,
    without_trial,
)
from edgewright.device.trial import TrialFigures, judge_trial
from edgewright.device.utc_time import utc_now
from edgewright.device.worker_link import Blames
from edgewright.device.worker_runner import Runner, Starter


class TrialRun:
    """What is on trial, if anything is.

    Attributes:
        runner: Its worker; None while there is none.
        shadow: Compares it with the running model; None while there is nothing to compare.
    """

    def __init__(
        self, config: AgentConfig, holder: StateHolder, slots: Slots, starter: Starter, events: SupervisorEvents
    ) -> None:
        self._health, self._patience_s = config.health, config.serve.deadline_s
        self._holder, self._slots, self._starter, self._events = holder, slots, starter, events
        self._on_trial: tuple[SlotName, str] | None = None
        self._began_at = self._start_at = 0.0
        self._failure = "this agent was ended during them"
        self._blames: Blames = "release"
        self.runner: Runner | None = None
        self.shadow: Shadow | None = None

    def tend(self, now: float, running: Runner | None, alone: bool) -> Runner | None:
        """Do what is due.

        Args:
            now: The time.
            running: What serves, or is about to.
            alone: Nothing serves, or will.

        Returns:
            The worker of a bundle that was committed just now: the state says so already.
        """
        found = trial_of(self._holder.state)
        if found != self._on_trial:
            self._end_worker("another bundle came in its place")
            self._on_trial, self._began_at, self._start_at = found, now, now
            self._failure, self._blames = "this agent was ended during them", "release"
        if self._on_trial is None:
            return None
        if self.runner is not None:
            self.runner.link.check()
            if self.runner.link.phase == "ended" and self._note_end(self.runner):
                return None
        if self.runner is None:
            # One start at a time: a small device has one processor.
            if now >= self._start_at and (alone or running is None or running.is_ready):
                self._start(now)
            return None
        return self._judge(self.runner, now, running, alone)

    def stop(self) -> None:
        """End the worker. An end on purpose is no start that failed."""
        if self.runner is None or self._on_trial is None:
            return
        if self.runner.link.phase != "ended":
            self._take_start_back()
        self._end_worker("the agent ends")

    def describe(self, now: float) -> dict[str, Any] | None:
        """Say how it stands, beside what the state says of it; None while there is none."""
        if self._on_trial is None or trial_of(self._holder.state) != self._on_trial:
            return None
        compared, agreeing = self.shadow.figures if self.shadow else (0, 0)
        return {
            "phase": self.runner.link.phase if self.runner else "waits",
            "running_s": round(now - self._began_at, 1),
            "compared": compared,
            "agreeing": agreeing,
        }

    def _judge(self, runner: Runner, now: float, running: Runner | None, alone: bool) -> Runner | None:
        if runner.is_ready and runner.ready_at is None:
            runner.ready_at = now
            self._events.event("trial_ready", version=runner.version, bundle_sha256=runner.bundle_sha256)
        if runner.is_ready and self.shadow is None and running is not None and running.is_ready:
            with suppress(RuntimeError):  # the system gives no thread: the next turn tries again
                self.shadow = Shadow(
                    runner.link, _answers(running), _answers(runner), self._patience_s, self._events.count
                )
        compared, agreeing = self.shadow.figures if self.shadow else (0, 0)
        ready_s = None if runner.ready_at is None else now - runner.ready_at
        verdict = judge_trial(TrialFigures(now - self._began_at, ready_s, compared, agreeing, alone), self._health)
        if verdict.rejection is not None:
            self._reject(verdict.rejection)
        elif verdict.commit:
            return self._commit(runner, compared, agreeing)
        return None

    def _start(self, now: float) -> None:
        assert self._on_trial is not None
        slot, sha256 = self._on_trial
        state = self._holder.state
        held = state.held(slot)
        if state.trial is None or held is None:
            return
        if state.trial.starts >= STARTS_ALLOWED:
            reason = f"{state.trial.starts} starts failed, the last: {self._failure}"
            self._reject(reason, refuse=self._blames == "release")
            return
        on_trial = self._on_trial
        counted = changed(
            self._holder,
            self._events,
            lambda state: state.with_trial_start() if trial_of(state) == on_trial else state,
        )
        if counted is None or trial_of(counted) != on_trial:
            return
        self._events.count("worker_starts")
        try:
            if not self._slots.is_complete(slot, held):
                self._reject("its slot was damaged.", refuse=False)
                return
            self.runner = self._starter.start(slot, held, on_trial=True)
        except (OSError, RuntimeError) as error:  # the system's fault: it may give in a second what it refuses now
            self._failure, self._blames, self._start_at = f"it could not be started: {error}", "disk", now + 1.0
        else:
            self._events.event("trial_started", version=held.release.version, bundle_sha256=sha256)

    def _take_start_back(self) -> None:
        on_trial = self._on_trial
        changed(
            self._holder,
            self._events,
            lambda state: state.without_trial_start() if trial_of(state) == on_trial else state,
        )

    def _note_end(self, runner: Runner) -> bool:
        """Take note of a worker's end; True when that was also the trial's."""
        ending = runner.link.ending
        self._failure = ending.reason if ending else "it ended"
        self._blames = ending.blames if ending else "release"
        self._events.count("worker_ends")
        self._events.event("trial_failed", version=runner.version, reason=self._failure)
        self._end_worker("")
        if self._blames == "request":
            self._take_start_back()
        elif ending is not None and ending.deterministic:
            self._reject(self._failure, refuse=self._blames == "release")
            return True
        return False

    def _commit(self, runner: Runner, compared: int, agreeing: int) -> Runner | None:
        on_trial = self._on_trial
        changed(self._holder, self._events, lambda state: state.committed() if trial_of(state) == on_trial else state)
        # What stands there counts: a write that failed only in its last flush has happened all the same.
        state = self._holder.state
        held = state.held(runner.place)
        if state.active != runner.place or held is None or held.release.bundle_sha256 != runner.bundle_sha256:
            return None  # the state cannot be written now, or another bundle came: the next turn sees to it
        if self.shadow is not None:
            self.shadow.stop()
        self._on_trial = self.runner = self.shadow = None
        self._events.count("commits")
        self._events.event(
            "commit",
            version=runner.version,
            bundle_sha256=runner.bundle_sha256,
            place=runner.place,
            compared=compared,
            agreeing=agreeing,
        )
        return runner

    def _reject(self, reason: str, refuse: bool = True) -> None:
        assert self._on_trial is not None
        slot, sha256 = self._on_trial
        held = self._holder.state.held(slot)
        step = without_trial(slot, sha256, reason, utc_now(), refuse)
        if changed(self._holder, self._events, step) is None:
            return
        self._end_worker("its trial has ended")
        self._on_trial = None
        empty_slot(self._slots, self._events, slot)  # before it is told: the next installation may be waiting
        self._events.count("rollbacks")
        version = held.release.version if held else None
        self._events.event("rollback", version=version, bundle_sha256=sha256, reason=reason)

    def _end_worker(self, reason: str) -> None:
        if self.shadow is not None:
            self.shadow.stop()
        if self.runner is not None:
            self.runner.link.end(reason)
        self.runner = self.shadow = None


def _answers(runner: Runner) -> dict[str, Any]:
    answers = runner.model.get("answers")
    return answers if isinstance(answers, dict) else {}
