"""Progress reaches whoever listens here at once, and the flow run's page only as often as people can read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgewright.pipeline.progress import Progress


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is written to the page; the page itself is Prefect's."""
    from tasks import progress

    written: list[tuple[Any, ...]] = []

    def create(percent: float, key: str, description: str) -> str:
        written.append((percent, key, description))
        return "id"

    def update(artifact: str, percent: float, description: str) -> None:
        written.append((percent, artifact, description))

    monkeypatch.setattr(progress, "create_progress_artifact", create)
    monkeypatch.setattr(progress, "update_progress_artifact", update)
    return written


def test_a_listener_hears_everything_the_page_the_first_and_the_last(page: list[tuple[Any, ...]]) -> None:
    from tasks.progress import Reporter, is_listened_to, listening

    heard: list[tuple[str, Progress]] = []
    reporter = Reporter("quantize", "p50-i8 Uint8")
    steps = [Progress("p50-i8", done, 4, f"step {done}") for done in range(5)]
    with listening(lambda stage, progress: heard.append((stage, progress))):
        assert is_listened_to()
        for step in steps:
            reporter(step)
    assert not is_listened_to()
    reporter(Progress("p50-i8", 4, 4, "unheard"))
    # Under the name of the task's work: a library's own name for a step means little beside others'.
    assert heard == [("quantize", replace(step, work="p50-i8 Uint8")) for step in steps]
    assert page == [
        (0, "progress-quantize-p50-i8-uint8", "quantize p50-i8 Uint8: step 0"),
        (100, "id", "quantize p50-i8 Uint8: step 4"),
        (100, "id", "quantize p50-i8 Uint8: unheard"),
    ]
