"""What serves, when a release is tried, and when the device goes back: with a clock of the test's and pretended workers.

The second half has real ones: nothing a client asks may fail while a release is exchanged.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edgewright import durable
from edgewright.device import slots
from edgewright.device.agent_config import AgentConfig, HealthSection
from edgewright.device.agent_state import AgentState
from edgewright.device.answer import BusyError, ModelFailedError, ReadingTimeoutError, Reply, WorkerLostError
from edgewright.device.metrics import COUNTERS
from edgewright.device.slots import Slots
from edgewright.device.state_holder import StateHolder
from edgewright.device.state_words import describe_state
from edgewright.device.supervisor import Supervisor
from edgewright.device.trial import GO_ON, TrialFigures, Verdict, judge_trial
from edgewright.device.worker_job import WorkerJob
from edgewright.device.worker_link import Blames, Ending, NotTakenError
from edgewright.errors import AgentStateError, DataError, DeadlineError, EdgewrightError, NothingServesError
from edgewright.signed_release import Budget
from serving_agent import RecordedEvents, RestlessClient, ServingAgent, small_config
from small_bundles import LABELS, install, make_small_bundle, release_of


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three bundles that answer alike, and one that decides otherwise."""
    folder = tmp_path_factory.mktemp("bundles")
    alike = [make_small_bundle(folder / f"v{number}", variant=f"v{number}").folder for number in (1, 2, 3)]
    return [*alike, make_small_bundle(folder / "other", variant="other", rotate=1).folder]


class PretendedLink:
    """A worker that is what the test says."""

    def __init__(self, job: WorkerJob, now: Callable[[], float], on_change: Callable[[], None]) -> None:
        self.job, self.on_change = job, on_change
        self.phase, self.ending, self.report = "starting", None, {}
        self.ended_for: str | None = None
        self.checked = 0
        self.idle, self.retired, self.pid = True, False, 4711
        self.label = LABELS[0]

    @property
    def is_ready(self) -> bool:
        return self.phase == "ready" and self.ended_for is None

    def become_ready(self) -> None:
        answers = {"kind": "classification", "labels": list(LABELS)}
        self.phase, self.report = "ready", {"figures": {}, "model": {"variant": "v", "answers": answers}}
        self.on_change()

    def fail(self, reason: str = "it ended", deterministic: bool = False, blames: Blames = "release") -> None:
        self.phase, self.ending = "ended", Ending(reason, deterministic, blames)
        self.on_change()

    def ask(self, body: bytes, content_type: str, give_up_at: float) -> Reply:
        if not self.is_ready or self.retired:
            raise NotTakenError("not ready")
        return Reply([{"label": self.label}], [self.label], [], [0.5], [1.0])

    def check(self) -> None:
        self.checked += 1

    def end(self, reason: str, deterministic: bool = False) -> None:
        self.ended_for = reason

    def retire(self) -> None:
        self.retired = True

    def wait_ended(self, timeout_s: float) -> bool:
        return True


class Bench:
    """A supervisor with pretended workers and a clock."""

    def __init__(self, config: AgentConfig) -> None:
        config.state.mkdir(parents=True, exist_ok=True)
        self.config, self.clock = config, 1000.0
        self.holder, self.slots = StateHolder(config.state), Slots(config.state, config.factory)
        self.slots.prepare()
        self.start_agent()

    def start_agent(self) -> None:
        """A new process on the same state folder."""
        self.events, self.links = RecordedEvents(), list[PretendedLink]()
        self.holder = StateHolder(self.config.state)
        self.supervisor = Supervisor(self.config, self.holder, self.slots, self.events, lambda: self.clock, self._start)

    def _start(self, *args: Any) -> Any:
        self.links.append(PretendedLink(*args))
        self.seen = self.holder.state  # what is on the disk when a worker is started
        return self.links[-1]

    @property
    def state(self) -> AgentState:
        return self.holder.state

    @property
    def last(self) -> PretendedLink:
        return self.links[-1]

    def tick(self, later_s: float = 0.25) -> None:
        self.clock += later_s
        self.supervisor.tick()

    def install(self, folder: Path, version: int) -> Any:
        return install(self.holder.change, self.slots, folder, version)

    def serve(self, folder: Path, version: int) -> Any:
        """Let a bundle be active and its worker be ready."""
        release = self.install(folder, version)
        self.holder.change(lambda state: state.committed())
        self.tick()
        self.last.become_ready()
        self.tick()
        return release

    def serving(self) -> int | None:
        found = self.supervisor.serving
        return found.version if found else None

    def compare(self, times: int) -> None:
        """Let live inputs be answered, and wait until they are compared."""
        before = self.events.counts.get("shadow_compared", 0)
        for _ in range(times):
            self.supervisor.answer(b"x", "application/x-npy")
        stop_at = time.monotonic() + 5
        while self.events.counts.get("shadow_compared", 0) < before + times and time.monotonic() < stop_at:
            time.sleep(0.002)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(small_config(tmp_path, health={"window_s": 100, "shadow_s": 10}))


def test_a_device_without_any_bundle_waits_and_says_so(bench: Bench) -> None:
    bench.tick()
    with pytest.raises(NothingServesError):
        bench.supervisor.answer(b"x", "application/x-npy")
    assert bench.links == [] and bench.supervisor.describe()["serves"] is None


def test_a_start_is_on_the_disk_before_it_runs_and_taken_back_once_it_is_proved(
    bench: Bench, bundles: list[Path]
) -> None:
    bench.install(bundles[0], 1)
    bench.holder.change(lambda state: state.committed())
    bench.tick()
    assert bench.seen.failed_starts == 1
    bench.last.become_ready()
    bench.tick()
    assert StateHolder(bench.config.state).state.failed_starts == 0
    assert bench.serving() == 1


def test_an_agent_that_is_switched_off_often_does_not_lose_a_release_that_is_well(
    bench: Bench, bundles: list[Path]
) -> None:
    bench.serve(bundles[0], 1)
    for _ in range(5):
        bench.start_agent()
        bench.tick()
        bench.last.become_ready()
        bench.tick()
    assert bench.state.active == "A" and bench.state.failed_starts == 0


def test_a_first_release_is_tried_and_serves_as_soon_as_it_is_ready(bench: Bench, bundles: list[Path]) -> None:
    bench.install(bundles[0], 1)
    bench.tick()
    assert bench.seen.trial is not None and bench.seen.trial.starts == 1
    bench.last.become_ready()
    bench.tick()
    assert bench.serving() == 1 and bench.state.active == "A"
    assert bench.events.of("commit")[0]["version"] == 1


def test_a_release_serves_after_its_shadow_phase_and_the_old_worker_ends_when_nobody_waits(
    bench: Bench, bundles: list[Path]
) -> None:
    bench.serve(bundles[0], 1)
    old = bench.last
    bench.install(bundles[1], 2)
    bench.tick()
    bench.last.become_ready()
    bench.tick()
    bench.tick(9.0)
    assert bench.serving() == 1
    old.idle = False
    bench.tick(1.1)
    assert bench.serving() == 2 and bench.state.active == "B" and old.retired and old.ended_for is None
    old.idle = True
    bench.tick()
    assert old.ended_for == "another release serves"


def test_a_trial_ends_with_its_third_failed_start(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    release = bench.install(bundles[1], 2)
    for number in (1, 2, 3):
        bench.tick()
        assert bench.seen.trial is not None and bench.seen.trial.starts == number
        bench.last.fail("it was ended by SIGSEGV")
        bench.tick()
    assert bench.state.trial is None and bench.state.is_refused(release.bundle_sha256)
    assert bench.events.of("rollback")[0]["reason"] == "3 starts failed, the last: it was ended by SIGSEGV"
    assert bench.serving() == 1 and len(bench.links) == 4


def test_starts_of_a_trial_count_over_the_deaths_of_the_agent(bench: Bench, bundles: list[Path]) -> None:
    release = bench.install(bundles[0], 1)
    for _ in range(3):
        bench.start_agent()  # the one before was killed while its worker was starting
        bench.tick()
    bench.start_agent()
    bench.tick()
    assert bench.links == [] and bench.state.is_refused(release.bundle_sha256)


def test_ending_the_agent_on_purpose_is_no_failed_start(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    bench.install(bundles[1], 2)
    for _ in range(5):
        bench.start_agent()
        bench.tick()
        bench.last.become_ready()
        bench.tick()
        bench.supervisor.stop()
    assert bench.state.trial is not None and bench.state.trial.starts == 0 and bench.state.failed_starts == 0


def test_a_deterministic_refusal_ends_a_trial_at_once(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    release = bench.install(bundles[1], 2)
    bench.tick()
    bench.last.fail("it does not reproduce its golden samples", deterministic=True)
    bench.tick()
    assert bench.state.is_refused(release.bundle_sha256) and len(bench.links) == 2


def test_another_release_that_comes_during_a_trial_takes_its_place(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    bench.install(bundles[1], 2)
    bench.tick()
    first = bench.last
    first.become_ready()
    bench.install(bundles[2], 3)
    bench.tick(50.0)
    assert first.ended_for is not None
    bench.tick()
    assert bench.state.trial is not None and bench.state.trial.starts == 1 and bench.state.refused == ()


def test_disagreement_on_live_inputs_rolls_back_with_figures(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    release = bench.install(bundles[1], 2)
    bench.tick()
    bench.last.label = LABELS[1]
    bench.last.become_ready()
    bench.tick()
    bench.compare(5)
    bench.tick(10.0)
    reason = "it decided 0 of 5 live samples as the running model did, at least 80 % must agree."
    assert bench.state.refused[0].reason == reason and bench.state.is_refused(release.bundle_sha256)
    assert bench.serving() == 1


def test_three_failed_starts_in_a_row_fall_back_to_the_other_slot(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    release = bench.install(bundles[1], 2)
    bench.tick()
    bench.last.become_ready()
    bench.tick()
    bench.tick(11.0)
    assert bench.serving() == 2
    for _ in range(3):
        if bench.last.phase == "starting":
            bench.last.become_ready()
            bench.tick()
        bench.last.fail("it was ended by SIGKILL")
        bench.tick()
    assert bench.state.active == "A" and bench.state.slots["B"] is None and bench.state.failed_starts == 1
    assert bench.state.is_refused(release.bundle_sha256)
    assert "3 starts in a row failed, the last: it was ended by SIGKILL" in bench.state.refused[0].reason
    assert bench.last.job.folder == bench.slots.folder("A").resolve()


def test_a_death_after_the_window_is_not_held_against_the_bundle(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    for _ in range(6):
        bench.tick(101.0)
        bench.last.fail()
        bench.tick()
        bench.last.become_ready()
        bench.tick()
    assert bench.serving() == 1 and bench.state.failed_starts == 0


def test_with_nothing_to_fall_back_on_it_is_started_for_ever_with_pauses(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    started = []
    for _ in range(400):
        if bench.last.phase == "starting":
            started.append(bench.clock)
            bench.last.fail()
        elif bench.last.is_ready:
            bench.last.fail()
        bench.tick(1.0)
    pauses = [after - before for before, after in pairwise(started)]
    assert pauses[-1] == pytest.approx(60, abs=2) and pauses == sorted(pauses)
    assert bench.state.active == "A" and bench.state.failed_starts == 3 and bench.state.refused == ()
    with pytest.raises(NothingServesError):
        bench.supervisor.answer(b"x", "application/x-npy")


def test_a_bundle_that_fails_for_ever_gives_way_to_one_on_trial(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    for _ in range(6):
        bench.last.fail()
        bench.tick()
    bench.install(bundles[1], 2)
    bench.tick()
    bench.last.become_ready()
    bench.tick()
    assert bench.serving() == 2


@pytest.mark.parametrize("how", ["shorter", "other bytes"])
def test_a_slot_that_the_disk_has_damaged_is_left_and_its_release_may_come_again(
    how: str, bench: Bench, bundles: list[Path]
) -> None:
    """Names and sizes are compared at once; other bytes of the same number are found by the worker, which reads them."""
    bench.serve(bundles[0], 1)
    bench.install(bundles[1], 2)
    bench.holder.change(lambda state: state.committed())
    model = bench.slots.folder("B") / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + (b"x" if how == "other bytes" else b""))
    bench.start_agent()
    bench.tick()
    if how == "other bytes":
        assert bench.last.job.files == release_of(bundles[1], 2).files
        bench.last.fail("it is damaged", deterministic=True, blames="disk")
        bench.tick()
    assert bench.state.active == "A" and bench.state.slots["B"] is None and bench.state.refused == ()
    assert bench.events.of("fall_back")[0]["reason"] == "what is in B is damaged or gone."


def test_a_damaged_slot_ends_a_trial_and_its_release_may_come_again(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    bench.install(bundles[1], 2)
    bench.tick()
    bench.last.fail("it is damaged", deterministic=True, blames="disk")
    bench.tick()
    assert bench.state.trial is None and bench.state.slots["B"] is None and bench.state.refused == ()


def test_a_slot_that_cannot_be_looked_at_for_a_moment_is_kept(
    bench: Bench, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.serve(bundles[0], 1)
    bench.start_agent()

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(slots, "_check_sizes", refuse)
        for _ in range(5):
            bench.tick(1.0)
    assert bench.links == [] and bench.state.active == "A"
    bench.tick(1.0)
    bench.last.become_ready()
    assert bench.serving() == 1


@pytest.mark.parametrize("error", [OSError(errno.EAGAIN, "no process"), RuntimeError("can't start new thread")])
def test_what_the_system_refuses_for_a_moment_is_no_bundles_fault(
    error: Exception, bench: Bench, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.serve(bundles[0], 1)
    bench.start_agent()
    starter = bench.supervisor._active._starter

    def refuse(*_: object) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(starter, "_start_worker", refuse)
        for _ in range(10):
            bench.tick(1.0)
    assert bench.state.active == "A" and bench.state.refused == ()
    bench.tick(1.0)
    bench.last.become_ready()
    bench.tick()
    assert bench.serving() == 1 and bench.state.failed_starts == 0


def test_a_request_that_could_not_be_read_is_not_held_against_a_release(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    bench.install(bundles[1], 2)
    for _ in range(6):
        bench.last.fail("it did not read a request within 1 s", blames="request")
        bench.tick()
        bench.last.become_ready()
        bench.tick()
    assert bench.state.failed_starts == 0 and bench.state.refused == ()
    assert bench.state.active == "A" and bench.state.trial is not None and bench.state.trial.starts <= 1


def test_a_commit_whose_last_flush_fails_has_happened(
    bench: Bench, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the new state was exchanged: what stands there counts, and its worker is the one that serves."""
    bench.serve(bundles[0], 1)
    bench.install(bundles[1], 2)
    bench.tick()
    bench.last.become_ready()
    bench.tick()
    trial = bench.last

    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "flush_folder", fail)
        bench.tick(11.0)
    assert bench.state.active == "B" and bench.serving() == 2 and trial.ended_for is None
    bench.tick()
    assert bench.serving() == 2 and len(bench.links) == 2


@pytest.mark.parametrize("kind", ["rollback", "fall_back"])
def test_a_slot_is_empty_before_that_is_told(kind: str, bench: Bench, bundles: list[Path]) -> None:
    """Telling may wait for the disk: an installation in the meantime must not lose its files."""
    bench.serve(bundles[0], 1)
    bench.install(bundles[1], 2)
    if kind == "fall_back":
        bench.holder.change(lambda state: state.committed())
        bench.start_agent()
    bench.tick()
    seen: dict[str, bool] = {}
    told = bench.events.event

    def event(kind: str, **facts: Any) -> None:
        seen.setdefault(kind, bench.slots.folder("B").exists())
        told(kind, **facts)

    bench.events.event = event  # type: ignore[method-assign]
    for _ in range(3):
        bench.last.fail()
        bench.tick()
    bench.tick()
    assert seen[kind] is False


def test_with_all_slots_damaged_the_device_waits_for_a_release(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    (bench.slots.folder("A") / "model.onnx").unlink()
    bench.start_agent()
    bench.tick()
    assert bench.links == [] and bench.state.active is None
    bench.install(bundles[1], 2)
    bench.tick()
    bench.last.become_ready()
    bench.tick()
    assert bench.serving() == 2


def test_the_factory_bundle_serves_first_and_is_what_remains(bundles: list[Path], tmp_path: Path) -> None:
    bench = Bench(small_config(tmp_path, bundles[2], health={"window_s": 100, "shadow_s": 0}))
    bench.tick()
    assert bench.state.active == "factory" and bench.last.job.folder == bundles[2].resolve()
    bench.last.become_ready()
    bench.install(bundles[0], 1)
    bench.tick()
    bench.last.become_ready()
    bench.tick()
    assert bench.serving() == 1
    for _ in range(3):
        bench.last.fail()
        bench.tick()
    assert bench.state.active == "factory" and bench.last.job.folder == bundles[2].resolve()


def test_what_is_on_trial_is_not_a_place_to_fall_back_to(bundles: list[Path], tmp_path: Path) -> None:
    bench = Bench(small_config(tmp_path, bundles[2], health={"window_s": 100, "shadow_s": 50}))
    bench.serve(bundles[0], 1)
    active = bench.last
    bench.install(bundles[1], 2)
    bench.tick()
    for _ in range(3):
        active.fail()
        bench.tick()
        active = next(link for link in reversed(bench.links) if link.job.folder != bench.slots.folder("B").resolve())
    assert bench.state.active == "factory" and bench.state.trial is not None and bench.state.trial.slot == "B"


def test_a_full_disk_does_not_stop_what_serves(
    bench: Bench, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.serve(bundles[0], 1)
    bench.install(bundles[1], 2)

    def full(step: object) -> AgentState:
        raise AgentStateError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.holder, "change", full)
        for _ in range(5):
            bench.tick()
        assert bench.serving() == 1 and len(bench.links) == 1  # an uncounted start is none
        bench.last.fail()
        bench.tick()
        bench.last.become_ready()
        bench.tick()
        assert bench.serving() == 1
    assert bench.events.of("state_unwritable")
    bench.tick()
    assert bench.state.trial is not None and bench.state.trial.starts == 1


def test_on_a_disk_that_was_full_from_the_first_start_the_factory_bundle_serves(
    bundles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(small_config(tmp_path, bundles[2]))

    def full(step: object) -> AgentState:
        raise AgentStateError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.holder, "change", full)
        bench.tick()
        assert bench.last.job.folder == bundles[2].resolve()
        bench.last.become_ready()
        bench.tick()
        assert bench.supervisor.serving is not None
    assert bench.state.active is None
    bench.install(bundles[0], 1)
    bench.tick()
    bench.last.become_ready()
    bench.tick()
    assert bench.state.trial is not None, "with room again a release is tried beside it, as beside any other"


def test_only_a_trial_must_keep_the_signed_budget(bench: Bench, bundles: list[Path]) -> None:
    install(bench.holder.change, bench.slots, bundles[0], 1, Budget(10.0, 100.0))
    bench.tick()
    assert (bench.last.job.latency_p95_ms, bench.last.job.peak_memory_mib) == (15.0, 100.0)
    bench.last.become_ready()
    bench.tick()
    bench.last.fail()
    bench.tick()
    assert (bench.last.job.latency_p95_ms, bench.last.job.peak_memory_mib) == (None, None)


def test_requests_wait_for_a_worker_that_is_starting(bench: Bench, bundles: list[Path]) -> None:
    bench.install(bundles[0], 1)
    bench.holder.change(lambda state: state.committed())
    bench.tick()
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(bench.supervisor.answer(b"x", "application/x-npy"))
        except BusyError as error:
            answers.append(error)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    while len([each for each in answers if isinstance(each, BusyError)]) < 4:
        time.sleep(0.002)
    bench.last.become_ready()
    for thread in threads:
        thread.join()
    assert len(answers) == 12 and sum(isinstance(each, BusyError) for each in answers) == 4
    assert bench.events.counts["requests_busy"] == 4 and bench.events.samples == [0.5] * 8


@pytest.mark.parametrize(
    ("error", "counter"),
    [
        (DataError("x"), "requests_bad"),
        (BusyError("x"), "requests_busy"),
        (DeadlineError("x"), "requests_deadline"),
        (ReadingTimeoutError("x"), "requests_deadline"),
        (WorkerLostError("x"), "requests_failed"),
        (ModelFailedError("x"), "requests_failed"),
    ],
)
def test_a_request_without_an_answer_is_counted_once_by_what_went_wrong(
    error: EdgewrightError, counter: str, bench: Bench, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.serve(bundles[0], 1)

    def fail(*_: object) -> Reply:
        raise error

    monkeypatch.setattr(bench.last, "ask", fail)
    with pytest.raises(type(error)):
        bench.supervisor.answer(b"x", "application/x-npy")
    counts = {name: count for name, count in bench.events.counts.items() if name.startswith("requests")}
    assert counts == {counter: 1} and counter in COUNTERS


def test_every_event_names_a_bundle_in_the_same_way(bench: Bench, bundles: list[Path]) -> None:
    bench.serve(bundles[0], 1)
    second = bench.install(bundles[1], 2)
    bench.tick()
    bench.last.become_ready()
    bench.tick()
    bench.tick(11.0)
    third = bench.install(bundles[2], 3)
    bench.tick()
    bench.last.fail("it does not reproduce its golden samples", deterministic=True)
    bench.tick()
    for kind, release in (("trial_started", second), ("trial_ready", second), ("commit", second), ("rollback", third)):
        assert bench.events.of(kind)[0 if kind != "rollback" else -1]["bundle_sha256"] == release.bundle_sha256
    assert not any("bundle" in facts for _, facts in bench.events.told)


def test_what_it_says_of_itself_is_what_the_state_says_and_how_the_trial_stands(
    bench: Bench, bundles: list[Path]
) -> None:
    bench.serve(bundles[0], 1)
    release = bench.install(bundles[1], 2)
    bench.tick()
    told, said = bench.supervisor.describe(), describe_state(bench.state)
    assert {key: told[key] for key in said if key != "trial"} == {key: said[key] for key in said if key != "trial"}
    assert told["trial"] == {
        **said["trial"],
        "phase": "starting",
        "running_s": 0.0,
        "compared": 0,
        "agreeing": 0,
    }
    assert (told["trial"]["version"], told["trial"]["variant"]) == (2, release.variant)
    assert told["slots"]["A"]["name"] == release.name and told["serves"]["release"]["version"] == 1


FIGURES = TrialFigures(running_s=50, ready_s=20, compared=100, agreeing=95, alone=False)
HEALTH = HealthSection(window_s=120, shadow_s=10, shadow_agreement=0.9)


@pytest.mark.parametrize(
    ("figures", "health", "verdict"),
    [
        ({}, {}, Verdict(commit=True)),
        ({"ready_s": 9}, {}, GO_ON),
        ({"ready_s": None}, {}, GO_ON),
        ({"ready_s": None, "running_s": 131}, {}, "missed its window: it was not ready within 130 s"),
        ({"agreeing": 89}, {}, "it decided 89 of 100 live samples as the running model did, at least 90 % must agree"),
        ({"compared": 0, "agreeing": 0}, {}, Verdict(commit=True)),
        ({"compared": 0, "agreeing": 0}, {"shadow_minimum": 1}, GO_ON),
        ({"compared": 4, "agreeing": 4, "running_s": 131}, {"shadow_minimum": 5}, "4 live samples were compared"),
        ({"compared": 5, "agreeing": 5, "running_s": 131}, {"shadow_minimum": 5}, Verdict(commit=True)),
        ({"alone": True, "ready_s": 0, "compared": 0, "agreeing": 0}, {"shadow_minimum": 5}, Verdict(commit=True)),
        ({"alone": True, "ready_s": None}, {}, GO_ON),
    ],
)
def test_a_trial_is_judged(figures: dict[str, Any], health: dict[str, Any], verdict: Verdict | str) -> None:
    found = judge_trial(dataclasses.replace(FIGURES, **figures), dataclasses.replace(HEALTH, **health))
    if isinstance(verdict, str):
        assert not found.commit and found.rejection is not None and verdict in found.rejection
    else:
        assert found == verdict


# From here on with real workers.


def test_a_good_release_takes_over_without_a_failed_answer(bundles: list[Path], tmp_path: Path) -> None:
    agent = ServingAgent(small_config(tmp_path, health={"shadow_minimum": 5}))
    agent.make_active(bundles[0], 1)
    with agent:
        agent.wait_serving(1)
        with RestlessClient(agent) as client:
            agent.install(bundles[1], 2)
            agent.wait_serving(2)
            many = len(client.asked) + 20
            agent.wait(lambda _: len(client.asked) > many)
    assert client.failed == [] and client.versions == [1, 2]
    assert all(each.right for each in client.asked)
    assert client.longest_gap_s < 1.0  # some hundredths on an idle machine
    assert agent.events.of("commit")[0]["agreeing"] >= 5


def test_a_worker_that_is_killed_costs_one_answer_at_most(bundles: list[Path], tmp_path: Path) -> None:
    agent = ServingAgent(small_config(tmp_path, serve={"deadline_s": 5.0}))
    agent.make_active(bundles[0], 1)
    with agent:
        agent.wait_serving(1)
        with RestlessClient(agent) as client:
            for _ in range(2):
                many = len(client.asked) + 10
                agent.wait(lambda _, many=many: len(client.asked) > many)
                pid = agent.supervisor.worker_pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                agent.wait(lambda agent, pid=pid: agent.supervisor.worker_pid not in (None, pid))
            many = len(client.asked) + 10
            agent.wait(lambda _: len(client.asked) > many)
        assert [each.status for each in client.failed] in ([], [503], [503, 503])
        assert client.versions == [1] and agent.state.failed_starts == 2


def test_a_worker_that_is_frozen_is_replaced(bundles: list[Path], tmp_path: Path) -> None:
    agent = ServingAgent(small_config(tmp_path, serve={"heartbeat_s": 0.5}))
    agent.make_active(bundles[0], 1)
    with agent:
        agent.wait_serving(1)
        pid = agent.supervisor.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        agent.wait(lambda agent: agent.events.of("worker_ended"))
        assert "it was silent for more than 0.5 s" in agent.events.of("worker_ended")[0]["reason"]
        agent.wait_serving(1)
        assert agent.ask()[0] == 200


def test_an_agent_that_is_killed_during_a_trial_goes_on_from_its_state_and_leaves_no_worker(
    bundles: list[Path], tmp_path: Path
) -> None:
    config = small_config(tmp_path, health={"shadow_s": 600})
    agent = ServingAgent(config)
    agent.make_active(bundles[0], 1)
    with agent:
        agent.wait_serving(1)
        agent.install(bundles[1], 2)
        agent.wait(lambda agent: agent.events.of("trial_ready"))
        workers = [agent.supervisor._active.runner, agent.supervisor._trial.runner]
        agent.leave()
        for worker in workers:
            assert worker is not None
            worker.link._line.shutdown(2)  # as the kernel does for a process that is gone
            assert worker.link.wait_ended(5)
        with ServingAgent(
            dataclasses.replace(config, health=dataclasses.replace(config.health, shadow_s=0.1))
        ) as after:
            assert after.state.trial is not None and after.state.trial.starts == 1
            after.wait_serving(2)
            assert after.state.active == "B"


def test_the_agents_process_is_small_and_knows_no_numpy() -> None:
    code = """
import sys
sys.modules.setdefault("boto3", None)
import edgewright.device.supervisor, edgewright.device.http_api, edgewright.device.state_holder
status = open("/proc/self/status").read()
print(int(status.split("VmRSS:")[1].split()[0]) / 1024)
heavy = {"numpy", "onnxruntime", *(f"edgewright.{name}" for name in ("manifest", "bundle", "golden", "predictor"))}
print(sorted(heavy & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert float(out[0]) < 35 and out[1] == "[]"
