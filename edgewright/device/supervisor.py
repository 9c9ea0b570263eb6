"""Watches over the workers: answers through the active one, tries a new release beside it, goes back when one fails.

`Supervisor.tick` does all that takes decisions, in one thread; `Supervisor.answer` is called by any number of threads
and only ever meets a worker that has proved its bundle. Between the two stands one attribute: who serves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from edgewright.device.agent_config import AgentConfig
from edgewright.device.answer import BusyError, ModelFailedError, Reply, WorkerLostError, answer_json
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.device.state_words import describe_state
from edgewright.device.supervisor_active import ActiveKeeper
from edgewright.device.supervisor_state import SupervisorEvents
from edgewright.device.trial_run import TrialRun
from edgewright.device.worker_link import MOST_WAITING, NotTakenError, WorkerLink
from edgewright.device.worker_runner import Runner, Starter, StartWorker
from edgewright.errors import DataError, DeadlineError, EdgewrightError, NothingServesError

_COUNTERS: dict[type[EdgewrightError], str] = {
    DataError: "requests_bad",
    BusyError: "requests_busy",
    DeadlineError: "requests_deadline",
    NothingServesError: "requests_unserved",
    WorkerLostError: "requests_failed",
    ModelFailedError: "requests_failed",
}
_END_S = 5.0  # longest wait for a killed process


class Supervisor:
    """The serving half of the agent."""

    def __init__(
        self,
        config: AgentConfig,
        holder: StateHolder,
        slots: Slots,
        events: SupervisorEvents,
        now: Callable[[], float] = time.monotonic,
        start_worker: StartWorker = WorkerLink,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            config: The configuration.
            holder: The state.
            slots: The bundles.
            events: Who is told what happens.
            now: Clock of all that takes longer than an answer, in seconds.
            start_worker: How a worker is started.
        """
        self._config, self._holder, self._events, self._now = config, holder, events, now
        self._changed = threading.Condition()
        self._waiting = 0
        starter = Starter(config, slots, now, self._wake, start_worker)
        self._active = ActiveKeeper(config, holder, slots, starter, events)
        self._trial = TrialRun(config, holder, slots, starter, events)
        self._leaving: list[tuple[Runner, float]] = []

    def start(self) -> None:
        """Start what is active."""
        self.tick()

    def tick(self) -> None:
        """Do what is due; to be called several times a second, by one thread."""
        now = self._now()
        self._active.tend(now)
        runner = self._active.runner
        is_last_hope = self._holder.state.active is None or self._active.is_hopeless
        alone = is_last_hope and not (runner and runner.is_ready)
        committed = self._trial.tend(now, runner, alone)
        if committed is not None:
            with self._changed:
                before = self._active.adopt(committed, now)
                self._changed.notify_all()
            if before is not None:
                before.link.retire()
                self._leaving.append((before, now))
        self._dismiss(now)

    def stop(self) -> None:
        """End all workers."""
        links = [each.link for each in (self._active.runner, self._trial.runner) if each is not None]
        self._active.stop()
        self._trial.stop()
        for runner, _ in self._leaving:
            runner.link.end("the agent ends")
            links.append(runner.link)
        for link in links:
            link.wait_ended(_END_S)

    @property
    def serving(self) -> Runner | None:
        """What answers now."""
        runner = self._active.runner
        return runner if runner is not None and runner.is_ready else None

    @property
    def worker_pid(self) -> int | None:
        """The process that answers now."""
        runner = self.serving
        return None if runner is None else runner.link.pid

    def answer(self, body: bytes, content_type: str) -> bytes:
        """Answer on a request with what serves, in JSON.

        Raises:
            NothingServesError: Nothing serves, and nothing is ready within a request's time.
            BusyError: Too many requests are waiting.
            DataError: The request is no input of the model.
            DeadlineError: The model was not done in time.
            ModelFailedError: The model has no answer.
            WorkerLostError: The worker ended while it answered.
        """
        start = time.monotonic()
        try:
            runner, reply = self._ask(body, content_type, start + self._config.serve.deadline_s)
        except EdgewrightError as error:
            for kind, counter in _COUNTERS.items():
                if isinstance(error, kind):
                    self._events.count(counter)
            raise
        latency_ms = 1e3 * (time.monotonic() - start)
        shadow = self._trial.shadow
        if shadow is not None:
            shadow.offer(body, content_type, reply)
        self._events.answered(latency_ms, reply.facts())
        if reply.confidences:
            self._events.sample(body, content_type, min(reply.confidences))
        return answer_json(runner.release(), reply.answers, latency_ms)

    def describe(self) -> dict[str, Any]:
        """Say what serves, how the trial stands, and what the state says."""
        serving, told = self.serving, describe_state(self._holder.state)
        if told["trial"] is not None:
            told["trial"] |= self._trial.describe(self._now()) or {}
        return {**told, "serves": describe_runner(serving) if serving else None}

    def _ask(self, body: bytes, content_type: str, give_up_at: float) -> tuple[Runner, Reply]:
        while True:
            runner = self._await_ready(give_up_at)
            try:
                return runner, runner.link.ask(body, content_type, give_up_at)
            except NotTakenError:
                continue  # it has ended or was replaced between the two lines

    def _await_ready(self, give_up_at: float) -> Runner:
        with self._changed:
            while (runner := self.serving) is None:
                if self._holder.state.active is None or self._active.is_hopeless:
                    raise NothingServesError("no bundle serves on this device now: it waits for a release.")
                if self._waiting >= MOST_WAITING:
                    raise BusyError("the model is being started, and enough requests wait for it: ask again.")
                self._waiting += 1
                try:
                    left_s = give_up_at - time.monotonic()
                    if left_s <= 0 or not self._changed.wait(left_s):
                        raise NothingServesError("the model is being started and was not ready in time: ask again.")
                finally:
                    self._waiting -= 1
            return runner

    def _dismiss(self, now: float) -> None:
        """End workers that were replaced, once nobody waits for them any more."""
        stay = []
        for runner, since in self._leaving:
            if runner.link.idle or now - since > 3 * self._config.serve.deadline_s:  # waiting, reading, answering
                runner.link.end("another release serves")
            else:
                stay.append((runner, since))
        self._leaving = stay

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def describe_runner(runner: Runner) -> dict[str, Any]:
    """Say which release a worker answers with, what it takes, and how it has proved itself."""
    figures = runner.link.report.get("figures", {})
    return {"place": runner.place, "release": runner.release(), "model": runner.model, "figures": dict(figures)}
