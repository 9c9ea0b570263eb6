"""``edgewright-agent run``: everything that runs in the agent's own process, wired together.

Three things go on side by side, and none waits for another: answers (the HTTP interface and the supervisor of the
workers), the question for a newer release, and the sending of what was measured. The main loop ticks the supervisor and
feeds the watchdog; when it hangs, systemd starts the agent anew, and the state file says where to go on.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import edgewright
from edgewright.device.agent_config import AgentConfig
from edgewright.device.events import Events
from edgewright.device.http_api import HttpApi
from edgewright.device.notify import Notifier
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder, disk_errors, state_lock
from edgewright.device.status import RUNNING_NAME
from edgewright.device.supervisor import Supervisor
from edgewright.device.updating import Updating
from edgewright.durable import replace_file
from edgewright.errors import AgentStateError, DiskFullError
from edgewright.strict_json import dump_json

TICK_S = 0.25
_STATUS_EVERY_S = 10.0


class AgentService:
    """One agent on one state folder."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._supervisor: Supervisor | None = None
        self._updating: Updating | None = None
        self._events: Events | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            AgentLockedError: Another agent is at work on this state folder.
            AgentStateError: The state cannot be read or written.
            DiskFullError: There is no room for it.
            EnrolmentError: There is no usable root of trust, though a registry is named.
            AgentConfigError: The address cannot be had, or a setting breaks a rule.
        """
        config = self._config
        with state_lock(config.state), ExitStack() as stack:
            holder = StateHolder(config.state)
            slots = Slots(config.state, config.factory)
            with disk_errors(config.state):
                slots.prepare()
            events = self._events = Events(config)
            supervisor = self._supervisor = Supervisor(config, holder, slots, events)
            updating = self._updating = Updating(config, holder, slots, events) if config.registry.url else None
            events.follow(lambda: holder.state, lambda: supervisor.worker_pid)
            stack.enter_context(_stopped_by_signals(self._stop))
            stack.enter_context(events)
            stack.callback(supervisor.stop)
            api = stack.enter_context(HttpApi(config, supervisor, events, self.describe))
            _say_running(config, events, api.address)
            stack.callback((config.state / RUNNING_NAME).unlink, missing_ok=True)
            if holder.damage is not None:
                events.event("alarm", about="state", reason=f"its predecessor was taken: {holder.damage}")
            events.event("agent_started", agent=edgewright.__version__, address=api.address)
            supervisor.start()
            if updating is not None:
                updating.start()
                stack.callback(updating.stop)
            self._tick_until_stopped(supervisor, Notifier())

    def stop(self) -> None:
        """End soon."""
        self._stop.set()

    def describe(self) -> dict[str, Any]:
        """Say what this agent does, for ``status``."""
        said: dict[str, Any] = {
            "agent": edgewright.__version__,
            "device": self._config.device.id,
            "pid": os.getpid(),
            "up_s": round(time.monotonic() - self._began, 1),
        }
        if self._supervisor is not None and self._events is not None:
            said |= {**self._supervisor.describe(), **self._events.describe()}
        said["updates"] = self._updating.describe() if self._updating is not None else {"registry": None}
        return said

    def _tick_until_stopped(self, supervisor: Supervisor, notifier: Notifier) -> None:
        notifier.ready(_words(supervisor))
        told_at = time.monotonic()
        while not self._stop.wait(TICK_S):
            supervisor.tick()
            now = time.monotonic()
            status = _words(supervisor) if now - told_at > _STATUS_EVERY_S else ""
            told_at = now if status else told_at
            notifier.alive(status)
        notifier.stopping()


def _say_running(config: AgentConfig, events: Events, address: str) -> None:
    """Write where this agent is found. A disk without room for that is no reason not to serve."""
    try:
        with disk_errors(config.state):
            replace_file(config.state / RUNNING_NAME, dump_json({"pid": os.getpid(), "address": address}))
    except (DiskFullError, AgentStateError) as error:
        events.event("alarm", about="state", reason=f"{RUNNING_NAME} was not written: {error}")


def _words(supervisor: Supervisor) -> str:
    serving = supervisor.serving
    if serving is None:
        return "nothing serves"
    release = serving.release()
    return f"serves version {release.get('version')} ({release.get('variant')}) from {serving.place}"


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the service; in a thread of somebody else's program its owner calls ``stop``."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
