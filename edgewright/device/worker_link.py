"""One worker process as the agent sees it: started, listened to, asked, and ended when it misbehaves.

The worker is not trusted: what it sends is bounded and checked, and a worker that sends anything else is ended. All ways
to its end lead through one place, which says how it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgewright.device.answer import (
    ANSWER_MAX_BYTES,
    BusyError,
    ReadingTimeoutError,
    Reply,
    WorkerLostError,
    read_reply,
)
from edgewright.device.frames import Frame, FrameError, FrameReader
from edgewright.device.worker_job import LAST_WORDS, WorkerJob, describe_end, start_worker
from edgewright.errors import DeadlineError, EdgewrightError

MOST_WAITING = 8
"""Requests that wait for their turn; more are told to come back."""
_GRACE_S = 1.0  # the worker breaks an inference off by itself; only one that cannot is killed
_READ_BYTES = 1 << 16
_DYING_S = 0.5
_STDERR_BYTES = 4096
_REASON_CHARACTERS = 600


Blames = Literal["release", "disk", "request"]


@dataclass(frozen=True)
class Ending:
    """How a worker ended.

    Attributes:
        reason: In words.
        deterministic: Another start would end the same way.
        blames: Whose fault it is: the ``release``'s; the ``disk``'s, which did not give the signed bytes; or the
            ``request``'s that was being read, which the model never saw.
    """

    reason: str
    deterministic: bool = False
    blames: Blames = "release"


class NotTakenError(EdgewrightError):
    """This worker did not take the request: another may."""


class WorkerLink:
    """One worker process."""

    def __init__(self, job: WorkerJob, now: Callable[[], float], on_change: Callable[[], None]) -> None:
        """Start the process.

        Args:
            job: What for.
            now: Clock of the deadlines that `check` looks at, seconds.
            on_change: Called, from another thread, when the worker has become ready or has ended.

        Raises:
            OSError: The system cannot start it.
            RuntimeError: The system gives no thread.
        """
        self.job, self._now, self._on_change = job, now, on_change
        self.phase: Literal["starting", "ready", "ended"] = "starting"
        self.ending: Ending | None = None
        self.report: Mapping[str, Any] = {}
        self._why: Ending | None = None  # the reason for which it is being ended
        self._retired = self._suspected = self._broken = False
        self._reads = False  # a request, which the model has not seen yet
        self._turn = threading.Condition()
        self._queue: deque[object] = deque()
        self._number = 0
        self._reply: Frame | None = None
        self._stderr = bytearray()
        self._line, self._process = start_worker(job)
        self.started_at = self._heard_at = now()
        self._send(job.to_frame())
        try:
            threading.Thread(target=self._listen, name=f"worker-{self.pid}", daemon=True).start()
        except RuntimeError:
            self._give_up()
            raise

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it has proved its bundle and is not on its way to its end."""
        return self.phase == "ready" and self._why is None and not self._broken

    @property
    def idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return not self._queue

    def ask(self, body: bytes, content_type: str, give_up_at: float) -> Reply:
        """Ask, one after the other in the order of coming.

        Args:
            body: The request.
            content_type: What it is.
            give_up_at: When waiting for a turn ends, in `time.monotonic` seconds.

        Raises:
            NotTakenError: The worker is not ready, or ended before this request had its turn.
            BusyError: There was no turn in time.
            DataError: The request is no input of the model.
            DeadlineError: The model was not done in time.
            ReadingTimeoutError: The request was not read in time, which is not the model's fault.
            ModelFailedError: The model has no answer.
            WorkerLostError: The worker ended while it answered.
        """
        ticket = object()
        with self._turn:
            if not self.is_ready or self._retired:
                raise NotTakenError("the worker is not ready.")
            if len(self._queue) > MOST_WAITING:
                raise BusyError(f"{len(self._queue)} requests wait already: ask again in a second.")
            self._queue.append(ticket)
            try:
                self._await_turn(ticket, give_up_at)
            except EdgewrightError:
                self._leave(ticket)
                raise
        try:
            return self._exchange(body, content_type)
        finally:
            with self._turn:
                self._leave(ticket)

    def retire(self) -> None:
        """Take no more requests; those that wait are still answered."""
        with self._turn:
            self._retired = True

    def check(self) -> None:
        """End the worker when it is not ready in time, or silent for too long."""
        now = self._now()
        if self.phase != "ended" and self._process.poll() is not None:
            self._kill()  # it is gone, and a process that it has left behind holds the line
        elif self.phase == "starting" and now - self.started_at > self.job.start_deadline_s:
            self.end(f"it did not prove its bundle within {self.job.start_deadline_s:g} s")
        elif self.phase == "ready" and now - self._heard_at > self.job.heartbeat_s:
            # Twice, since it may have been this process that slept: then the beats lie there, unread.
            if self._suspected:
                self.end(f"it was silent for more than {self.job.heartbeat_s:g} s")
            self._suspected = True

    def end(self, reason: str, deterministic: bool = False) -> None:
        """End the process now; `ending` is set once it is gone."""
        with self._turn:
            if self._why is None:
                self._why = Ending(reason, deterministic, self._blames())
            self._turn.notify_all()
        self._kill()

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait until the process is gone."""
        with self._turn:
            return self._turn.wait_for(lambda: self.phase == "ended", timeout_s)

    def _await_turn(self, ticket: object, give_up_at: float) -> None:
        while self._queue[0] is not ticket or not self.is_ready:
            if not self.is_ready:
                raise NotTakenError("the worker ended before this request had its turn.")
            left_s = give_up_at - time.monotonic()
            if left_s <= 0 or not self._turn.wait(left_s):
                raise BusyError("other requests took too long: ask again in a second.")

    def _leave(self, ticket: object) -> None:
        self._queue.remove(ticket)
        self._turn.notify_all()

    def _exchange(self, body: bytes, content_type: str) -> Reply:
        deadline_s = self.job.deadline_s
        with self._turn:
            self._number, self._reply, self._reads = self._number + 1, None, True
            number = self._number
        head = {"kind": "ask", "number": number, "content_type": content_type, "deadline_s": deadline_s}
        if not self._send(Frame(head, body)):
            raise NotTakenError("the worker ended before it had the whole request.")
        with self._turn:
            # Each has its own time: what a client sends is not held against the model.
            self._turn.wait_for(lambda: not self._reads or self.phase == "ended", deadline_s + _GRACE_S)
            is_read = not self._reads
            if is_read:
                self._turn.wait_for(lambda: self._reply is not None or self.phase == "ended", deadline_s + _GRACE_S)
            reply, ended = self._reply, self.phase == "ended"
            self._reply = None  # it may be large, and the next request may be far away
        if not is_read and not ended:
            self.end(f"it did not read a request within {deadline_s:g} s")
            raise ReadingTimeoutError(f"the request was not read within {deadline_s:g} s: ask for less at once.")
        if reply is None and not ended:
            self.end(f"it did not end an inference within {deadline_s:g} s")
            raise DeadlineError(f"the model did not answer within {deadline_s:g} s and is started anew.")
        if reply is None:
            raise WorkerLostError("the process that was answering has ended; ask again.")
        try:
            return read_reply(reply)
        except FrameError as error:
            self.end(str(error))
            raise WorkerLostError("the process that was answering spoke nonsense; ask again.") from error
        finally:
            if reply.head.get("usable") is False:
                self.end(f"its model answers no more: {str(reply.head.get('message'))[:LAST_WORDS]}")

    def _send(self, frame: Frame) -> bool:
        self._line.settimeout(self.job.deadline_s + _GRACE_S)
        try:
            self._line.sendall(frame.head_bytes())
            self._line.sendall(frame.body)
        except TimeoutError:
            self.end("it did not take a request")
            return False
        except OSError:
            self._broken = True  # it has ended, which its listener is about to see
            return False
        return True

    def _listen(self) -> None:
        """Read what the worker says and complains until it ends. The only place where it is said to have ended."""
        stderr = self._process.stderr
        assert stderr is not None
        reader = FrameReader(ANSWER_MAX_BYTES)
        with selectors.DefaultSelector() as selector:
            selector.register(self._line, selectors.EVENT_READ, "line")
            selector.register(stderr, selectors.EVENT_READ, "stderr")
            while self._read(selector, reader):
                pass
        code = self._await_exit()
        self._keep(_rest(stderr.fileno()))
        stderr.close()
        with self._turn:
            self._line.close()
            # A heart that reading has stopped rings the alarm; any other death is the bundle's own.
            blames = self._blames() if code == -signal.SIGALRM else "release"
            self.ending = self._why or Ending(describe_end(code, bytes(self._stderr)), blames=blames)
            self.phase = "ended"
            self._turn.notify_all()
        self._on_change()

    def _await_exit(self) -> int:
        try:
            # The line of a process that dies is closed before the rest of it is gone: let it say what it died of.
            return self._process.wait(_DYING_S)
        except subprocess.TimeoutExpired:
            self._kill()
            return self._process.wait()

    def _read(self, selector: selectors.BaseSelector, reader: FrameReader) -> bool:
        for key, _ in selector.select():
            if key.data == "stderr":
                words = os.read(key.fd, _READ_BYTES)
                if not words:
                    selector.unregister(key.fileobj)
                self._keep(words)
                continue
            try:
                data = self._line.recv(_READ_BYTES)
                for frame in reader.feed(data):
                    self._take(frame)
            except FrameError as error:
                self.end(str(error))
                return False
            except OSError:
                return False
            if not data:
                return False
        return True

    def _take(self, frame: Frame) -> None:
        with self._turn:
            self._heard_at, self._suspected = self._now(), False
            if frame.kind == "beat":
                return
            if frame.kind == "ready" and self.phase == "starting":
                self.report, self.phase = _report(frame.head), "ready"
            elif frame.kind == "refused" and self.phase == "starting":
                reason = str(frame.head.get("reason"))[:_REASON_CHARACTERS]
                blames: Blames = "disk" if frame.head.get("blames") == "disk" else "release"
                self._why = self._why or Ending(reason, frame.head.get("deterministic") is True, blames)
            elif frame.kind == "read" and self._reads and self._awaits(frame.head.get("number")):
                self._reads = False
            elif frame.kind in ("answer", "trouble") and self._awaits(frame.head.get("number")):
                self._reply, self._reads = frame, False
            else:
                raise FrameError(f"it sent a message of the kind {frame.kind!r:.40} that nobody waits for")
            self._turn.notify_all()
        if frame.kind == "ready":
            self._on_change()

    def _awaits(self, number: object) -> bool:
        return bool(self._queue) and self._reply is None and number == self._number

    def _keep(self, words: bytes) -> None:
        self._stderr += words
        del self._stderr[:-_STDERR_BYTES]

    def _blames(self) -> Blames:
        return "request" if self._reads else "release"

    def _give_up(self) -> None:
        """End a process that nobody listens to."""
        self._process.kill()
        self._process.wait()
        self._line.close()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        with contextlib.suppress(OSError):  # closed already
            self._line.shutdown(socket.SHUT_RDWR)  # wakes the listener, also when another process holds the other end


def _report(head: Mapping[str, Any]) -> Mapping[str, Any]:
    figures, model = head.get("figures"), head.get("model")
    if not isinstance(figures, dict) or not isinstance(model, dict):
        raise FrameError("it reported nothing about its bundle")
    try:
        json.dumps(head)
    except RecursionError as cause:  # it would end whoever shows it
        raise FrameError("its report is nested too deeply") from cause
    return {"figures": figures, "model": model}


def _rest(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, _READ_BYTES)
    except BlockingIOError:
        return b""
