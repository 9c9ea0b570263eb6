"""Sends the spool to its receiver when there is a link: batches of JSON lines, forgotten only once they are acknowledged.

``POST <spool.url>/v1/batches`` with the device's name and the items; the answer names, by epoch, the ranges of sequences
that are durable there, or refused for good. An acknowledgement that is lost leads to the same items being sent again, and
the receiver knows them by their numbers. An item is given up on the receiver's own word alone: proxies, captive portals and
servers of something else answer 400 and 413, too. No redirect is followed: the token would go along.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

from edgewright.device.agent_config import AgentConfig
from edgewright.device.paced_http import Pace, PacedConnection, PacedTlsConnection
from edgewright.device.poller import backoff_pause_s
from edgewright.device.spool import Item, Spool
from edgewright.device.spool_file import pack
from edgewright.errors import EdgewrightError
from edgewright.strict_json import Fields, load_json

PATH = "/v1/batches"
_BATCH_BYTES = 256 << 10
_ANSWER_MAX_BYTES = 256 << 10
_REFUSAL_MAX_BYTES = 4096
_GZIP_FROM_BYTES = 512
_LOOK_S = 1.0
_STUBBORN = (400, 413, 422)
"""Answers that may be the same for the same items: fewer are sent next."""
_FOR_GOOD = "for_good"
"""Field of a refusal by which the receiver says that it will never take what was sent: a single item is given up."""


class SendError(EdgewrightError):
    """The receiver cannot be reached, refused, or answered something else than asked.

    Attributes:
        status: What it answered; None where nothing came.
        is_final: Whether the receiver itself says that it will never take what was sent.
    """

    def __init__(self, message: str, status: int | None = None, is_final: bool = False) -> None:
        super().__init__(message)
        self.status, self.is_final = status, is_final


@dataclass
class SenderFigures:
    """What was sent since the start.

    Attributes:
        sent_items: Items that were acknowledged.
        sent_bytes: Bytes of bodies that were sent, as they went over the line.
        refused_items: Items that the receiver will never take; they were given up.
        failures: Requests that failed, in all.
        failures_in_a_row: Since the last acknowledgement.
        last_sent_s: When something was last acknowledged, seconds since 1970.
        last_error: Of the last request; None when it went well.
    """

    sent_items: int = 0
    sent_bytes: int = 0
    refused_items: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    last_sent_s: float | None = None
    last_error: str | None = None


class Sender:
    """Empties one spool, in a thread of its own."""

    def __init__(
        self,
        config: AgentConfig,
        spool: Spool,
        on_trouble: Callable[[str], None] = lambda text: None,
        dice: random.Random | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            config: Its sections spool and device; and of registry the pauses, and how slow an answer may be.
            spool: What to empty.
            on_trouble: Told in one sentence when sending begins to fail, and when it works again.
            dice: Gives the jitter.
        """
        parts = urlsplit(config.spool.url)
        self._is_https, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/") + PATH
        self._headers = {"X-Edgewright-Device": config.device.id, "Content-Type": "application/x-ndjson"}
        if config.spool.token:
            self._headers["Authorization"] = f"Bearer {config.spool.token}"
        self._registry = config.registry
        self._most_items = self._items = max(1, int(config.spool.batch))
        self._spool, self._on_trouble, self._dice = spool, on_trouble, dice or random.Random()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.figures = SenderFigures()

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End; a request that is under way may be broken off, its items stay."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def send_batch(self) -> int:
        """Send one batch, and forget what the receiver has; gives how many items that were.

        Raises:
            SendError: It could not be sent, or not be forgotten. Nothing was lost.
        """
        batch = self._spool.next_batch(self._items, _BATCH_BYTES)
        if not batch:
            return 0
        try:
            stored, refused = self._exchange(batch)
        except SendError as error:
            if error.status not in _STUBBORN:
                raise
            if len(batch) > 1:
                self._items = len(batch) // 2
                raise
            if not error.is_final:
                raise
            stored, refused = set(), set(batch)
        done = [item for item in batch if item in stored or item in refused]
        if not done:
            raise SendError("the receiver acknowledged nothing of what was sent.")
        if not self._spool.acknowledge(done):
            raise SendError("what was acknowledged cannot be forgotten: the spool cannot be written. It is sent again.")
        given_up = len(refused - stored)
        self.figures.refused_items += given_up
        self.figures.sent_items += len(done) - given_up
        self.figures.last_sent_s = time.time()
        self._items = min(self._most_items, self._items * 2)
        return len(done)

    def next_pause_s(self) -> float:
        """Give the pause after a failure, in seconds: see `backoff_pause_s`."""
        return backoff_pause_s(self._registry, self.figures.failures_in_a_row, self._dice)

    def _run(self) -> None:
        figures = self.figures
        while not self._stopping.is_set():
            if not self._spool.wait_for_items(_LOOK_S):
                self._stopping.wait(_LOOK_S / 10)
                continue
            try:
                if not self.send_batch():
                    self._stopping.wait(1.0)  # the spool has items and cannot read them now
            except SendError as error:
                if self._stopping.is_set():
                    return  # broken off on purpose
                figures.failures, figures.failures_in_a_row = figures.failures + 1, figures.failures_in_a_row + 1
                figures.last_error = str(error)
                if figures.failures_in_a_row == 1:
                    self._on_trouble(f"sending fails: {error}")
                self._stopping.wait(self.next_pause_s())
                continue
            if figures.failures_in_a_row:
                self._on_trouble(f"sending works again after {figures.failures_in_a_row} failures")
            figures.failures_in_a_row, figures.last_error = 0, None

    def _exchange(self, batch: Sequence[Item]) -> tuple[set[Item], set[Item]]:
        """Send items; gives those that the receiver has, and those that it will never take."""
        body = b"\n".join(item.line for item in batch) + b"\n"
        headers = dict(self._headers)
        if len(body) >= _GZIP_FROM_BYTES and len(packed := pack(body)) < 0.9 * len(body):
            body, headers["Content-Encoding"] = packed, "gzip"
        pace = Pace(self._registry.timeout_s, self._registry.minimum_bytes_per_s, self._stopping.is_set)
        with closing(self._connection(pace)) as connection:
            try:
                connection.request("POST", self._path, body, headers)
                self.figures.sent_bytes += len(body)
                answer = connection.getresponse()
                pace.allow_body(_ANSWER_MAX_BYTES)
                data = answer.read(_ANSWER_MAX_BYTES + 1)
            except (OSError, http.client.HTTPException, ValueError) as cause:
                raise SendError(f"the receiver at {self._host} cannot be reached: {_reason(cause)}.") from cause
        if answer.status != 200:
            text = f"the receiver at {self._host} refused: {_told(answer, data)}"
            raise SendError(text, answer.status, _is_final(data))
        if len(data) > _ANSWER_MAX_BYTES:
            raise SendError(f"the receiver at {self._host} answered more than {_ANSWER_MAX_BYTES} bytes.")
        place = f"the answer of the receiver at {self._host}"
        fields = Fields(load_json(data, place, SendError), place, SendError)
        return _named(fields, "stored", batch), _named(fields, "refused", batch)

    def _connection(self, pace: Pace) -> http.client.HTTPConnection:
        kind = PacedTlsConnection if self._is_https else PacedConnection
        return kind(self._host, self._port, timeout=self._registry.timeout_s, pace=pace)


def _named(fields: Fields, key: str, batch: Sequence[Item]) -> set[Item]:
    """Which of the items an answer names: ``{"<epoch>": [[first, last], ...]}``. What was not sent, counts for nothing."""
    ranges = fields.take(key)
    if not isinstance(ranges, dict) or not all(isinstance(pairs, list) for pairs in ranges.values()):
        raise fields.fail(key, "lists of ranges by epoch", ranges)
    if sum(len(pairs) for pairs in ranges.values()) > len(batch):
        raise fields.fail(key, f"at most {len(batch)} ranges", ranges)
    for pairs in ranges.values():
        if not all(isinstance(pair, list) and [type(each) for each in pair] == [int, int] for pair in pairs):
            raise fields.fail(key, "ranges [first, last]", pairs)
    return {item for item in batch if any(first <= item.sequence <= last for first, last in ranges.get(item.epoch, []))}


def _told(answer: http.client.HTTPResponse, data: bytes) -> str:
    text = " ".join(data[:200].decode(errors="replace").split())
    hint = " Set EDGEWRIGHT_AGENT_SPOOL_TOKEN to the receiver's token." if answer.status in (401, 403) else ""
    return f"{answer.status} {answer.reason[:60]} {text}.{hint}"


def _is_final(data: bytes) -> bool:
    """Whether the body of a refusal is the receiver's, and says that the same items will be refused again."""
    if len(data) > _REFUSAL_MAX_BYTES:
        return False
    try:
        told = load_json(data, "a refusal", SendError)
    except SendError:
        return False
    return isinstance(told, dict) and told.get(_FOR_GOOD) is True


def _reason(cause: BaseException) -> str:
    return "no answer in time" if isinstance(cause, TimeoutError) else str(cause)[:200] or type(cause).__name__
