"""A trial's model beside the running one: bounded, never waited for, and compared by what is decided."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from edgewright.device.answer import ReadingTimeoutError, Reply, WorkerLostError
from edgewright.device.shadow import Shadow
from edgewright.errors import DataError, DeadlineError

CLASSES = {"kind": "classification", "labels": ["a", "b"]}
TRAVEL = {"kind": "regression", "mean": 0.0, "std": 8.0, "quantity": "travel", "unit": "mm"}


def labels(*words: str) -> Reply:
    return Reply([{}] * len(words), list(words), [], [1.0] * len(words), [])


def values(*numbers: float) -> Reply:
    return Reply([{}] * len(numbers), [], list(numbers), [], [])


class Trial:
    """Answers what the test says, when it says so."""

    def __init__(self, give: Callable[[], Reply]) -> None:
        self.give, self.may = give, threading.Event()
        self.may.set()

    def ask(self, body: bytes, content_type: str, give_up_at: float) -> Reply:
        self.may.wait(5)
        return self.give()


def compared(running: Reply, give: Callable[[], Reply], one: Any = CLASSES, other: Any = CLASSES) -> tuple[int, int]:
    counts: dict[str, float] = {}
    shadow = Shadow(Trial(give), one, other, 1.0, lambda name, value: counts.update({name: value}))
    shadow.offer(b"x", "application/x-npy", running)
    stop_at = time.monotonic() + 2
    while "shadow_compared" not in counts and time.monotonic() < stop_at:
        time.sleep(0.002)
    shadow.stop()
    return shadow.figures


def raising(error: Exception) -> Callable[[], Reply]:
    def give() -> Reply:
        raise error

    return give


def test_labels_agree_by_their_names() -> None:
    assert compared(labels("a", "b", "b"), lambda: labels("a", "b", "a")) == (3, 2)


def test_values_agree_within_half_a_standard_deviation_of_the_training_data() -> None:
    assert compared(values(10.0, 20.0), lambda: values(13.9, 24.1), TRAVEL, TRAVEL) == (2, 1)


@pytest.mark.parametrize("other", [{**TRAVEL, "unit": "m"}, {**TRAVEL, "quantity": "speed"}])
def test_values_of_different_things_do_not_agree(other: Any) -> None:
    assert compared(values(10.0), lambda: values(10.5), TRAVEL, other) == (1, 0)


def test_answers_of_another_kind_or_number_do_not_agree() -> None:
    assert compared(labels("a"), lambda: values(1.0), CLASSES, TRAVEL) == (1, 0)
    assert compared(labels("a", "a"), lambda: labels("a")) == (2, 0)


@pytest.mark.parametrize("error", [DataError("another shape"), DeadlineError("too slow")])
def test_what_the_running_model_answers_the_new_one_must_answer_too(error: Exception) -> None:
    assert compared(labels("a"), raising(error)) == (1, 0)


@pytest.mark.parametrize("error", [WorkerLostError("gone"), ReadingTimeoutError("a large request")])
def test_a_worker_that_ends_is_counted_elsewhere(error: Exception) -> None:
    shadow = Shadow(Trial(raising(error)), CLASSES, CLASSES, 1.0, lambda *_: None)
    shadow.offer(b"x", "application/x-npy", labels("a"))
    time.sleep(0.05)
    assert shadow.figures == (0, 0)
    shadow.stop()


def test_inputs_wait_up_to_a_bound_and_are_dropped_beyond_it() -> None:
    trial, counts = Trial(lambda: labels("a")), dict[str, float]()

    def count(name: str, value: float) -> None:
        counts[name] = counts.get(name, 0) + value

    trial.may.clear()
    shadow = Shadow(trial, CLASSES, CLASSES, 1.0, count)
    start = time.monotonic()
    for _ in range(100):
        shadow.offer(bytes(100_000), "application/x-npy", labels("a"))
    assert time.monotonic() - start < 1  # nobody waited for the trial
    assert counts["shadow_dropped"] >= 75 and shadow._bytes <= 2 << 20
    trial.may.set()
    while counts.get("shadow_compared", 0) + counts["shadow_dropped"] < 100:
        time.sleep(0.002)
    shadow.offer(bytes(5 << 20), "application/x-npy", labels("a"))  # a large one, when nothing else waits
    while counts["shadow_compared"] + counts["shadow_dropped"] < 101:
        time.sleep(0.002)
    assert shadow.figures[0] == counts["shadow_compared"] == shadow.figures[1]
    shadow.stop()
    shadow.offer(b"x", "application/x-npy", labels("a"))
    assert shadow.figures[0] == counts["shadow_compared"]
