"""One holder at a time, on all machines that share a store: one build and one promotion per model.

A lease is one object of the shared store. Its holder renews it every third of its life; it is changed by
compare-and-swap alone, so of two who want it, one gets it. A dead holder loses it: at once where it is seen from its own
machine that its process is gone, and elsewhere when it was not renewed in time.

**What this rests on.** Machines compare the written end of a lease with their own clock, so the clocks of a team may
differ by at most the margin; time synchronisation keeps them within a second. The holder itself trusts no such clock: it
counts the time since its last renewal, sleep of the machine included. No lease can stop a holder between its look at the
lease and what it does next: whoever holds one calls ``Lease.check`` right before each write that must not happen twice.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgewright.errors import EdgewrightError
from edgewright.pipeline.lease_record import LeaseRecord
from edgewright.pipeline.object_store import ObjectStore


class LeaseHeldError(EdgewrightError):
    """Somebody else holds the lease."""


class LeaseLostError(EdgewrightError):
    """The lease is somebody else's by now, or could not be renewed in time."""


@dataclass(frozen=True)
class Terms:
    """For how long a lease is given; all who use a name agree on them.

    Attributes:
        life_s: Seconds until it ends unless it is renewed.
        margin_s: Seconds by which the clocks of two machines may differ: others wait that much longer.
        poll_s: Seconds between two looks of somebody who waits.
    """

    life_s: float = 60.0
    margin_s: float = 15.0
    poll_s: float = 0.5


DEFAULT_TERMS = Terms()


class Lease:
    """A lease that is held; ``hold_lease`` makes it."""

    def __init__(self, shared: ObjectStore, record: LeaseRecord, begun_s: float, terms: Terms) -> None:
        self._shared, self._terms = shared, terms
        self._record, self._ends_at = record, begun_s + terms.life_s
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._lost = ""

    @property
    def record(self) -> LeaseRecord:
        """What stands in the shared store."""
        return self._record

    def check(self) -> None:
        """Says whether the lease is still held; the store is asked only when its life has run out.

        Raises:
            LeaseLostError: It is not.
        """
        with self._lock:
            if not self._lost and _now_s() >= self._ends_at:
                # This process or its machine slept. Where nobody took the lease meanwhile, it is still held.
                try:
                    self._renew()
                except Exception as error:  # whatever keeps the store from answering
                    self._lost = f"it could not be renewed in time: {error}"
            if self._lost:
                raise self._lost_error()

    def keep(self) -> None:
        """Renews the lease in time until it is over or lost; ``hold_lease`` runs this in a thread."""
        regular_s = pause_s = self._terms.life_s / 3
        while not self._over.wait(pause_s):
            with self._lock:
                if self._lost or self._over.is_set():
                    return
                try:
                    self._renew()
                    pause_s = regular_s
                except Exception:  # the store does not answer; ``check`` tells when that lasts until the lease's end
                    pause_s = regular_s / 4

    def give_back(self) -> None:
        """Lets others have it. A store that does not answer lets it run out.

        Raises:
            LeaseLostError: It was no longer one's own.
        """
        self._over.set()
        with self._lock:
            if not self._lost:
                try:
                    if not _swap(self._shared, self._record.given_back(), self._record):
                        self._lost = _who_now(self._shared, self._record.name)
                except Exception as error:
                    if _now_s() >= self._ends_at:
                        self._lost = f"it could not be renewed in time: {error}"
            if self._lost:
                raise self._lost_error()

    def _renew(self) -> None:
        """Puts its end further off, or finds that it is lost."""
        begun_s = _now_s()
        record = self._record.renewed(self._terms.life_s)
        if _swap(self._shared, record, self._record):
            self._record, self._ends_at = record, begun_s + self._terms.life_s
        else:
            self._lost = _who_now(self._shared, record.name)

    def _lost_error(self) -> LeaseLostError:
        told = f"the lease {self._record.name} in {self._shared.location} was lost: {self._lost}"
        return LeaseLostError(f"{told}. Begin again: what was finished before is remembered.")


@contextlib.contextmanager
def hold_lease(
    shared: ObjectStore,
    name: str,
    *,
    holder: str,
    wait_s: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
    terms: Terms = DEFAULT_TERMS,
) -> Iterator[Lease]:
    """Holds a lease while the block runs; a daemon thread renews it.

    Args:
        shared: Where all who might want it look.
        name: What only one may do at a time, e.g. ``build.digits`` or ``promotion.digits``.
        holder: Who wants it, in words, e.g. ``a nightly retrain``.
        wait_s: How long to wait for somebody else.
        on_wait: Hears who holds it, once for each holder that is waited for.
        terms: For how long it is given.

    Raises:
        LeaseHeldError: Somebody else holds it, and still did after ``wait_s``.
        LeaseLostError: At the end of the block: it was somebody else's by then. An error of the block goes first.
    """
    lease = _obtain(shared, name, holder, wait_s, on_wait, terms)
    threading.Thread(target=lease.keep, name=f"lease {name}", daemon=True).start()
    try:
        yield lease
    except BaseException:
        with contextlib.suppress(LeaseLostError):  # what went wrong inside is what to tell
            lease.give_back()
        raise
    lease.give_back()


def read_lease(shared: ObjectStore, name: str, terms: Terms = DEFAULT_TERMS) -> LeaseRecord | None:
    """Who holds a lease; None where it is free, or its holder is known to be dead.

    Raises:
        EdgewrightError: What stands there cannot be read.
    """
    record = _read(shared, name)
    return None if record is None or record.is_free(terms.margin_s) else record


def _obtain(
    shared: ObjectStore, name: str, holder: str, wait_s: float, on_wait: Callable[[str], None] | None, terms: Terms
) -> Lease:
    give_up_at = _now_s() + wait_s
    told = ""
    while True:
        begun_s = _now_s()
        before = _read(shared, name)
        if before is None or before.is_free(terms.margin_s):
            mine = LeaseRecord.of_this_process(name, holder, terms.life_s)
            if _swap(shared, mine, before):
                return Lease(shared, mine, begun_s, terms)
            continue  # somebody was faster: see who
        if _now_s() >= give_up_at:
            raise LeaseHeldError(f"{before.told()}; see {shared.location}. Wait for it to end, or end it.")
        if on_wait is not None and told != before.token:
            on_wait(f"waiting: {before.told()}")
            told = before.token
        time.sleep(min(terms.poll_s * random.uniform(0.5, 1.5), max(0.0, give_up_at - _now_s())))


def _swap(shared: ObjectStore, record: LeaseRecord, before: LeaseRecord | None) -> bool:
    """Puts a record in the place of the one that was there before; whether it stands there now."""
    key, content = _key(record.name), record.to_bytes()
    try:
        done = shared.create(key, content) if before is None else shared.replace(key, content, before.to_bytes())
    except Exception:
        # The answer may have been lost on its way back, not the write. No two records are equal, so a look tells.
        if shared.read(key) == content:
            return True
        raise
    return done or shared.read(key) == content


def _read(shared: ObjectStore, name: str) -> LeaseRecord | None:
    content = shared.read(_key(name))
    return None if content is None else LeaseRecord.from_bytes(content, f"{_key(name)} in {shared.location}")


def _who_now(shared: ObjectStore, name: str) -> str:
    record = _read(shared, name)
    if record is None:
        return "somebody removed it"
    return record.told() if record.until else f"{record.holder} took it on {record.host} and gave it back since"


def _key(name: str) -> str:
    return f"leases/{name}.json"


def _now_s() -> float:
    """Seconds by a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
