"""A new model answers what the running one has answered, and the two are compared; no client waits for it."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edgewright.device.answer import BusyError, ReadingTimeoutError, Reply, WorkerLostError
from edgewright.device.worker_link import NotTakenError
from edgewright.errors import EdgewrightError

_MOST_BYTES = 2 << 20  # of inputs that wait; a single larger one is taken when nothing else waits
_MOST_INPUTS = 64
# Two values agree when they differ by less than this share of the standard deviation of the training data's values.
_VALUE_SHARE = 0.5


class Asked(Protocol):
    """What answers: a `edgewright.device.worker_link.WorkerLink`."""

    def ask(self, body: bytes, content_type: str, give_up_at: float) -> Reply:
        """Answer on a request."""
        ...


class Shadow:
    """Compares a trial's answers with the running model's on live inputs."""

    def __init__(
        self,
        link: Asked,
        running: Mapping[str, Any],
        trial: Mapping[str, Any],
        patience_s: float,
        count: Callable[[str, float], None],
    ) -> None:
        """Begin.

        Args:
            link: The trial's worker, ready.
            running: What the running model's worker reports of its ``answers``.
            trial: What the trial's does.
            patience_s: Longest time that an answer may take.
            count: Counts ``shadow_compared``, ``shadow_agreed`` and ``shadow_dropped``.
        """
        self._link, self._patience_s, self._count = link, patience_s, count
        self._tolerance = _value_tolerance(running, trial)
        self._inputs: deque[tuple[bytes, str, Reply]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._stopped = False
        self._compared = self._agreeing = 0
        threading.Thread(target=self._work, name="shadow", daemon=True).start()

    @property
    def figures(self) -> tuple[int, int]:
        """Samples compared, and those of them that agree."""
        with self._changed:
            return self._compared, self._agreeing

    def offer(self, body: bytes, content_type: str, reply: Reply) -> None:
        """Have a live input compared, or drop it when too much is waiting. Never waits."""
        with self._changed:
            full = len(self._inputs) >= _MOST_INPUTS or self._bytes + len(body) > _MOST_BYTES
            if self._stopped or (full and self._inputs):
                self._count("shadow_dropped", len(reply.answers))
                return
            self._inputs.append((body, content_type, reply))
            self._bytes += len(body)
            self._changed.notify()

    def stop(self) -> None:
        """Compare nothing more."""
        with self._changed:
            self._stopped = True
            self._inputs.clear()
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._inputs or self._stopped)
                if self._stopped:
                    return
                body, content_type, running = self._inputs.popleft()
                self._bytes -= len(body)
            try:
                found = self._link.ask(body, content_type, time.monotonic() + self._patience_s)
                agreeing = self._agree(running, found)
            except (BusyError, NotTakenError, WorkerLostError, ReadingTimeoutError):
                continue  # the end of a worker is counted by who watches it; a request not read says nothing of a model
            except EdgewrightError:
                agreeing = 0  # what the running model answers, the new one must answer too
            with self._changed:
                self._compared += len(running.answers)
                self._agreeing += agreeing
            self._count("shadow_compared", len(running.answers))
            self._count("shadow_agreed", agreeing)

    def _agree(self, running: Reply, found: Reply) -> int:
        if len(running.answers) != len(found.answers):
            return 0
        if running.labels and found.labels:
            return sum(one == other for one, other in zip(running.labels, found.labels, strict=True))
        if running.labels or found.labels:
            return 0
        pairs = zip(running.values, found.values, strict=True)
        return sum(math.isclose(one, other, rel_tol=0, abs_tol=self._tolerance) for one, other in pairs)


def _value_tolerance(running: Mapping[str, Any], trial: Mapping[str, Any]) -> float:
    """Give how far two values may lie apart; below 0, where they are values of different things."""
    spread = running.get("std")
    same = (running.get("quantity"), running.get("unit")) == (trial.get("quantity"), trial.get("unit"))
    return _VALUE_SHARE * spread if same and isinstance(spread, float) and math.isfinite(spread) else 0.0
