"""Progress of the running stages: to whoever listens in this process, and to the flow run's page.

A build in a terminal listens and draws bars; a run from Prefect's UI sees one progress artifact per piece of work.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from edgewright.pipeline.progress import Progress

# Updates of a page, per piece of work: people cannot read faster, and every one is a request.
_PAGE_INTERVAL_S = 2.0
# Hears the stage's name and how far one piece of its work is.
StageListener = Callable[[str, Progress], None]
_listeners: list[StageListener] = []


@contextlib.contextmanager
def listening(listener: StageListener) -> Iterator[None]:
    """Calls ``listener`` with all progress of this process's tasks while the block runs. It must be thread-safe."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def is_listened_to() -> bool:
    """Whether a command shows this process's progress to somebody at a terminal."""
    return bool(_listeners)


class Reporter:
    """Tells listeners and the flow run's page how far one piece of a stage's work is."""

    def __init__(self, stage: str, work: str) -> None:
        self._stage = stage
        self._work = work
        self._artifact: UUID | None = None
        self._shown_at = 0.0
        self._lock = threading.Lock()

    def __call__(self, progress: Progress) -> None:
        """Hears progress of this work, whatever the stage itself calls it; call it from inside the task."""
        progress = dataclasses.replace(progress, work=self._work)
        for listener in list(_listeners):
            listener(self._stage, progress)
        finished = progress.done >= progress.total
        with self._lock:
            now = time.monotonic()
            if not finished and now - self._shown_at < _PAGE_INTERVAL_S:
                return
            self._shown_at = now
            percent = 100 * progress.done / progress.total
            text = f"{self._stage} {self._work}: {progress.note}"
            if self._artifact is None:
                key = "progress-" + "".join(
                    letter if letter.isalnum() else "-" for letter in f"{self._stage} {self._work}".lower()
                )
                self._artifact = create_progress_artifact(percent, key=key, description=text)  # type: ignore[assignment]
            else:
                update_progress_artifact(self._artifact, percent, description=text)
