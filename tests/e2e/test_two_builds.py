"""Two builds of one recipe at once in one workspace, from nothing: both end well, and there is one release."""

from __future__ import annotations

from typing import Any

import pytest

from edgewright.pipeline.tracking import champion, versions
from edgewright.pipeline.tracking.client import open_client

pytestmark = pytest.mark.slow


def test_two_builds_at_once_make_one_release(make_workshop: Any) -> None:
    workshop = make_workshop()
    both = [workshop.start("edgewright", *workshop.build_words()) for _ in range(2)]
    ended = [(process.communicate(timeout=400), process.returncode) for process in both]
    assert [(status, err) for (_, err), status in ended] == [(0, ""), (0, "")]
    tracking = workshop.tracking
    in_office = champion(tracking, "tiny", "here")
    assert in_office is not None
    assert in_office.version == 1
    assert [len(versions(tracking, "tiny", target)) for target in ("here", "board")] == [1, 1]
    client = open_client(tracking)
    assert len(client.search_runs([client.get_experiment_by_name("tiny").experiment_id])) == 6
    assert workshop.prefect("select state_name, count(*) from flow_run group by 1") == [("Completed", 2)]
    assert workshop.described_processes() == []
