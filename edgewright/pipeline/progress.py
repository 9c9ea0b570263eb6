"""Progress that a stage reports while it runs: who is how far, and a few words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far one piece of work is.

    Attributes:
        work: Name of the work, e.g. ``train`` or ``p50``.
        done: Steps done.
        total: Steps in all.
        note: A few words, e.g. ``epoch 3/8  validation 97.9 %``.
    """

    work: str
    done: float
    total: float
    note: str = ""


ProgressListener = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """A listener for callers that do not care."""
