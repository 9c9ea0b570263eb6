"""Leases: one holder at a time, whoever is killed, stopped, or cut off from the store."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgewright.errors import EdgewrightError
from edgewright.pipeline import lease_record
from edgewright.pipeline.lease import Lease, LeaseHeldError, LeaseLostError, Terms, hold_lease, read_lease
from edgewright.pipeline.lease_record import LeaseRecord
from edgewright.pipeline.object_store import FolderStore

ROOT = Path(__file__).parents[3]
# Short enough to wait for, long enough for a busy machine to renew in time.
SHORT = Terms(life_s=2.0, margin_s=0.5, poll_s=0.05)
KEY = "leases/build.digits.json"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "shared")


def hold(store: Any, holder: str = "a test", **more: Any) -> Any:
    return hold_lease(store, "build.digits", holder=holder, **more)


def put(store: FolderStore, **changes: Any) -> LeaseRecord:
    """A lease of this process, changed."""
    record = dataclasses.replace(LeaseRecord.of_this_process("build.digits", "somebody", 60), **changes)
    store.write(KEY, record.to_bytes())
    return record


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_who_is_second_is_told_who_holds_it(store: FolderStore) -> None:
    with hold(store, "a nightly retrain") as lease:
        lease.check()
        with pytest.raises(LeaseHeldError) as caught, hold(store):
            pass
    record = lease.record
    for part in (
        "a nightly retrain holds build.digits",
        record.host,
        f"process {os.getpid()}",
        record.since,
        record.until,
    ):
        assert part in str(caught.value)
    assert str(caught.value).endswith("Wait for it to end, or end it.")
    with hold(store):
        pass  # it was given back


def test_leases_of_other_names_are_others(store: FolderStore) -> None:
    with hold(store), hold_lease(store, "promotion.digits", holder="a test"):
        pass


def test_it_is_given_back_whatever_goes_wrong_inside(store: FolderStore) -> None:
    with pytest.raises(ValueError, match="inside"), hold(store):
        raise ValueError("inside")
    assert read_lease(store, "build.digits") is None
    with hold(store):
        pass


def test_the_record_tells_people_who_holds_it(store: FolderStore) -> None:
    with hold(store, "a nightly retrain"):
        content = json.loads(store.read(KEY) or b"")
        assert read_lease(store, "build.digits") == LeaseRecord(**content)
    assert (content["name"], content["holder"], content["pid"]) == ("build.digits", "a nightly retrain", os.getpid())
    assert datetime.fromisoformat(content["until"]) - datetime.fromisoformat(content["since"]) > timedelta(seconds=59)
    assert read_lease(store, "build.digits") is None


def test_who_waits_hears_for_whom_and_gets_it_when_it_is_free(store: FolderStore) -> None:
    heard: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with hold(store, "the first", terms=SHORT):
            entered.set()
            leave.wait(30)

    other = threading.Thread(target=first)
    other.start()
    assert entered.wait(30)
    threading.Timer(0.5, leave.set).start()
    with hold(store, wait_s=30, on_wait=heard.append, terms=SHORT) as lease:
        lease.check()
    other.join(30)
    assert len(heard) == 1, "once for each holder"
    assert heard[0].startswith("waiting: the first holds build.digits")


def test_it_outlives_its_life_by_renewal(store: FolderStore) -> None:
    terms = Terms(life_s=0.9, margin_s=0.0, poll_s=0.05)
    with hold(store, terms=terms) as lease:
        until = lease.record.until
        deadline = time.monotonic() + 30
        while datetime.now(UTC) < datetime.fromisoformat(until) + timedelta(seconds=1) and time.monotonic() < deadline:
            time.sleep(0.05)
            lease.check()
        assert lease.record.until > until
        with pytest.raises(LeaseHeldError), hold(store, terms=terms):
            pass


# --- the dead -----------------------------------------------------------------------------------------------------


def test_a_dead_process_of_this_machine_loses_it_at_once(store: FolderStore) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    put(store, pid=child.pid)
    with hold(store):
        pass


def test_so_does_one_that_is_dead_and_not_yet_buried(store: FolderStore) -> None:
    child = subprocess.Popen(["true"])
    deadline = time.monotonic() + 30
    while b") Z" not in Path(f"/proc/{child.pid}/stat").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.01)
    put(store, pid=child.pid)
    with hold(store):
        pass
    child.wait()


def test_a_process_that_got_the_number_of_a_dead_one_is_not_it(store: FolderStore) -> None:
    put(store, process_created=1)
    with hold(store):
        pass


@pytest.mark.parametrize("kernel", ["another machine", ""])
def test_of_another_machine_only_time_tells(store: FolderStore, kernel: str) -> None:
    elsewhere = {"kernel": kernel, "pid": 4_000_000, "host": "elsewhere"}
    put(store, until=in_seconds(-SHORT.margin_s + 0.3), **elsewhere)
    with pytest.raises(LeaseHeldError, match="on elsewhere"), hold(store, terms=SHORT):
        pass  # its clock may be behind by the margin
    with hold(store, wait_s=30, terms=SHORT):
        pass


def test_where_a_kernel_tells_nothing_of_itself_time_decides(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_record, "_created", lambda pid: 0)
    with hold(store) as lease:
        assert lease.record.kernel == ""
        with pytest.raises(LeaseHeldError), hold(store):
            pass


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"name": 1}', b"\xff", "naive", "other spaces"], ids=lambda value: repr(value)
)
def test_what_is_no_lease_is_refused_and_left_alone(store: FolderStore, content: bytes | str) -> None:
    record = put(store, until="2026-01-01T00:00:00" if content == "naive" else in_seconds(60))
    if isinstance(content, str):
        content = record.to_bytes() + (b"" if content == "naive" else b" ")
    store.write(KEY, content)
    told = r"leases/build.digits.json in .* is no lease that this version can read"
    with pytest.raises(EdgewrightError, match=told), hold(store):
        pass
    assert store.read(KEY) == content


# --- the lost -----------------------------------------------------------------------------------------------------


class CutOff:
    """A shared store that does not answer, or whose answers are lost on their way."""

    def __init__(self, store: FolderStore) -> None:
        self.store, self.away, self.lossy = store, False, False
        self.location = store.location

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def call(*arguments: Any) -> Any:
            if self.away:
                raise EdgewrightError("the store does not answer")
            answer = method(*arguments)
            if self.lossy and name in ("create", "replace"):
                raise EdgewrightError("the answer was lost")
            return answer

        return call


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_lost(lease: Lease) -> bool:
    try:
        lease.check()
    except LeaseLostError:
        return True
    return False


def test_one_that_cannot_be_renewed_in_time_is_lost(store: FolderStore) -> None:
    cut_off = CutOff(store)
    told = "could not be renewed in time: the store does not answer"
    with pytest.raises(LeaseLostError, match=told), hold(cut_off, terms=SHORT) as lease:
        cut_off.away = True
        lease.check()  # its life has not run out
        wait_until(lambda: is_lost(lease))
        cut_off.away = False
        assert is_lost(lease), "for good: somebody may have had it"


def test_a_short_interruption_of_the_store_loses_nothing(store: FolderStore) -> None:
    cut_off = CutOff(store)
    with hold(cut_off, terms=SHORT) as lease:
        until = lease.record.until
        cut_off.away = True
        time.sleep(SHORT.life_s / 2)
        cut_off.away = False
        wait_until(lambda: lease.record.until > until)
        lease.check()


def test_an_answer_that_is_lost_is_looked_up(store: FolderStore) -> None:
    cut_off = CutOff(store)
    cut_off.lossy = True
    with hold(cut_off, terms=SHORT) as lease:
        until = lease.record.until
        wait_until(lambda: lease.record.until > until)
        lease.check()
    assert read_lease(store, "build.digits") is None


def test_a_store_that_is_away_at_the_end_lets_it_run_out(store: FolderStore) -> None:
    cut_off = CutOff(store)
    with hold(cut_off):
        cut_off.away = True
    with pytest.raises(LeaseHeldError), hold(store):
        pass


def test_what_somebody_else_took_is_told_and_not_given_back(store: FolderStore) -> None:
    with pytest.raises(LeaseLostError, match=r"somebody holds build\.digits"), hold(store):
        taken = put(store)
    assert store.read(KEY) == taken.to_bytes()


def test_what_somebody_removed_is_told(store: FolderStore) -> None:
    with pytest.raises(LeaseLostError, match="somebody removed it"), hold(store):
        store.delete(KEY)


def test_an_error_of_the_block_goes_before_the_loss(store: FolderStore) -> None:
    with pytest.raises(ValueError, match="inside"), hold(store):
        put(store)
        raise ValueError("inside")


# --- many processes -----------------------------------------------------------------------------------------------

# Holds the lease again and again until its time is over. The witness is a lock of the kernel's: who cannot get it inside is
# not alone there. Now and then one kills itself inside.
_CONTENDER = """
import fcntl, os, random, signal, sys, time
from pathlib import Path
from edgewright.pipeline.lease import LeaseHeldError, Terms, hold_lease
from edgewright.pipeline.object_store import FolderStore

root, ends, deadly = Path(sys.argv[1]), time.monotonic() + float(sys.argv[2]), float(sys.argv[3])
store, witness = FolderStore(root / "shared"), os.open(root / "witness", os.O_RDWR | os.O_CREAT)
while time.monotonic() < ends:
    try:
        with hold_lease(store, "build.digits", holder="one of many", wait_s=1.0, terms=Terms(5.0, 0.5, 0.02)) as lease:
            fcntl.flock(witness, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lease.check()
            print("inside", flush=True)
            time.sleep(random.uniform(0, 0.02))
            if random.random() < deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            fcntl.flock(witness, fcntl.LOCK_UN)
    except LeaseHeldError:
        continue
"""

# Holds the lease, says so, and checks whenever it is asked to.
_HOLDER = """
import sys
from pathlib import Path
from edgewright.pipeline.lease import LeaseLostError, Terms, hold_lease
from edgewright.pipeline.object_store import FolderStore

with hold_lease(FolderStore(Path(sys.argv[1])), "build.digits", holder="the stopped", terms=Terms(2.0, 0.5, 0.05)) as lease:
    print("held", flush=True)
    for line in sys.stdin:
        try:
            lease.check()
            print("still held", flush=True)
        except LeaseLostError as error:
            print("lost:", error, flush=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python programs, and ends them."""
    started: list[subprocess.Popen[str]] = []

    def run(program: str, *words: Any) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-c", program, *map(str, words)]
        started.append(subprocess.Popen(command, **pipes, text=True, cwd=ROOT))
        return started[-1]

    yield run
    for each in started:
        each.kill()
        each.communicate()


def test_of_many_processes_there_are_never_two_inside(tmp_path: Path, start: Callable[..., Any]) -> None:
    mortals = [start(_CONTENDER, tmp_path, 4, 0.05) for _ in range(4)]
    others = [start(_CONTENDER, tmp_path, 4, 0.0) for _ in range(3)]
    entered = 0
    for each in [*mortals, *others]:
        out, err = each.communicate(timeout=90)
        assert err == "", "nobody found another one inside, nobody lost it"
        assert each.returncode in ((0,) if each in others else (0, -signal.SIGKILL))
        entered += out.count("inside")
    assert entered > 20, "they came and went"
    assert -signal.SIGKILL in [each.returncode for each in mortals], "and some died inside"


def test_a_killed_holder_loses_it_at_once(store: FolderStore, start: Callable[..., Any]) -> None:
    holder = start(_HOLDER, store.location)
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(LeaseHeldError, match=f"the stopped holds build.digits on .* .process {holder.pid}"),
        hold(store),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with hold(store):
        pass


def test_a_stopped_holder_that_wakes_up_learns_that_it_lost(store: FolderStore, start: Callable[..., Any]) -> None:
    holder = start(_HOLDER, store.location)
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(LeaseHeldError), hold(store, terms=SHORT):
        pass  # it may only be slow
    with hold(store, "the next", wait_s=30, terms=SHORT):
        holder.send_signal(signal.SIGCONT)
        holder.stdin.write("check\n")
        holder.stdin.flush()
        told = holder.stdout.readline()
    assert told.startswith("lost: the lease build.digits in"), told
    assert "the next holds build.digits" in told
    _, err = holder.communicate(timeout=30)
    assert "LeaseLostError" in err, "and so it ends"


def test_one_that_slept_and_was_not_missed_holds_it_still(store: FolderStore, start: Callable[..., Any]) -> None:
    holder = start(_HOLDER, store.location)
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)
    time.sleep(SHORT.life_s + SHORT.margin_s + 0.5)
    holder.send_signal(signal.SIGCONT)
    out, err = holder.communicate("check\n", timeout=30)
    assert (out, err, holder.returncode) == ("still held\n", "", 0)
