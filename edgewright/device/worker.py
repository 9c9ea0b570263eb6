"""The worker process: proves one bundle, then answers with it until the agent closes the line.

    python -m edgewright.device.worker FD

It is a process of its own because a model may do anything: crash, hang, ask for all memory. Its address space is
bounded, it leaves no core file, the system's memory killer takes it before the agent, and it never outlives the agent:
it ends when its line is closed, and the kernel's alarm ends it when its heart, a thread, does not beat any more.
"""

from __future__ import annotations

import functools
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgewright.device.frames import Frame, FrameReader
from edgewright.errors import EdgewrightError

if TYPE_CHECKING:
    from edgewright.device.worker_answer import Answerer

_READ_BYTES = 1 << 18
_BEATS = 4  # a heartbeat's time has so many beats: one that is late does no harm
_OOM_SCORE = 700  # of 1000: far before the agent, whose score is that of any process
_JOB_MAX_BYTES = 1 << 16


def main() -> int:
    """Do the job that comes over the line."""
    line = socket.socket(fileno=int(sys.argv[1]))
    frames = _Frames(line, _JOB_MAX_BYTES)
    first = frames.next()
    if first is None:
        return 0
    job = dict(first.head)
    _limit(job["memory_mib"])
    heart = _Heart(line, job["heartbeat_s"], job["start_deadline_s"])
    # numpy and the engine enter the memory only now, under the limit and with a heart that beats.
    from edgewright.device.worker_proof import RefusedError, prove

    try:
        answerer, report = prove(Path(job["folder"]), job)
    except RefusedError as refusal:
        facts = {"reason": str(refusal), "deterministic": refusal.deterministic, "blames": refusal.blames}
        heart.send(Frame({"kind": "refused", **facts}))
        return 1
    heart.watch_beats_alone()
    heart.send(Frame({"kind": "ready", **report}))
    _serve(_Frames(line, job["request_bytes"]), answerer, heart.send)
    return 0


def _serve(frames: _Frames, answerer: Answerer, send: Callable[[Frame], None]) -> None:
    while (request := frames.next()) is not None:
        number, head = request.head["number"], request.head
        has_read = Frame({"kind": "read", "number": number})
        try:
            answer = answerer.answer(
                request.body, head["content_type"], head["deadline_s"], functools.partial(send, has_read)
            )
            send(Frame({"kind": "answer", "number": number, **answer.facts}, answer.body()))
        except EdgewrightError as error:
            code, usable = answerer.look_into(error)
            send(Frame({"kind": "trouble", "number": number, "code": code, "message": str(error), "usable": usable}))


class _Frames:
    """Messages from the line, one after the other."""

    def __init__(self, line: socket.socket, body_max_bytes: int) -> None:
        self._line, self._reader = line, FrameReader(body_max_bytes)
        self._waiting: list[Frame] = []

    def next(self) -> Frame | None:
        """Wait for the next message; None when the line is closed."""
        while not self._waiting:
            data = self._line.recv(_READ_BYTES)
            if not data:
                return None
            self._waiting = list(self._reader.feed(data))
        return self._waiting.pop(0)


class _Heart:
    """Beats on the line, and keeps the kernel's alarm from ringing."""

    def __init__(self, line: socket.socket, heartbeat_s: float, start_deadline_s: float) -> None:
        self._line, self._heartbeat_s = line, heartbeat_s
        # Loading a large model may hold every thread of this process: until it is proved, its own deadline counts.
        self._alarm_s = start_deadline_s + heartbeat_s
        self._sending = threading.Lock()
        self._set_alarm()
        threading.Thread(target=self._beat, name="heart", daemon=True).start()

    def watch_beats_alone(self) -> None:
        """From now on, the alarm rings when the heart has stopped."""
        self._alarm_s = 2 * self._heartbeat_s
        self._set_alarm()

    def send(self, frame: Frame) -> None:
        """Send a message; ends this process when nobody is there."""
        with self._sending:
            try:
                self._line.sendall(frame.to_bytes())
            except OSError:
                os._exit(0)

    def _set_alarm(self) -> None:
        # Nobody handles SIGALRM, so the kernel ends the process, whatever holds Python up.
        signal.setitimer(signal.ITIMER_REAL, self._alarm_s)

    def _beat(self) -> None:
        watch = select.poll()
        watch.register(self._line, select.POLLRDHUP)
        while True:
            if watch.poll(1000 * self._heartbeat_s / _BEATS):
                os._exit(0)  # the agent has closed the line, or is gone
            self.send(Frame({"kind": "beat"}))
            self._set_alarm()


def _limit(memory_mib: float) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = int(memory_mib * (1 << 20))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    score = Path("/proc/self/oom_score_adj")
    if os.access(score, os.W_OK):
        score.write_text(str(_OOM_SCORE), "ascii")


if __name__ == "__main__":
    sys.exit(main())
