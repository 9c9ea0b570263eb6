"""Two commands at once in one workspace: two builds make one release, two promotions leave one champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.signing.publisher import DEVELOPMENT
from edgewright.pipeline.tracking import RunRecord, champion, download, log_run, register, versions
from edgewright.pipeline.tracking.client import open_client

pytestmark = pytest.mark.slow


def test_two_builds_at_once_make_one_release(make_workshop: Any) -> None:
    workshop = make_workshop()
    both = [workshop.start("edgewright", *workshop.build_words()) for _ in range(2)]
    ended = [(process.communicate(timeout=400), process.returncode) for process in both]
    assert [(status, err.replace(f"{DEVELOPMENT}\n", "")) for (_, err), status in ended] == [(0, ""), (0, "")]
    tracking = workshop.tracking
    in_office = champion(tracking, "tiny", "here")
    assert in_office is not None
    assert in_office.version == 1
    assert [len(versions(tracking, "tiny", target)) for target in ("here", "board")] == [1, 1]
    client = open_client(tracking)
    assert len(client.search_runs([client.get_experiment_by_name("tiny").experiment_id])) == 6
    assert workshop.prefect("select state_name, count(*) from flow_run group by 1") == [("Released", 2)]
    assert workshop.described_processes() == []


def test_promotions_at_once_happen_one_after_the_other(workshop: Any, tmp_path: Path) -> None:
    tracking = workshop.tracking
    first = champion(tracking, "tiny", "here")
    assert first is not None
    bundle = download(tracking, first, "bundle", tmp_path)
    for build in ("second", "third", "fourth"):
        words = {"model": "tiny", "build": build, "variant": first.variant, "target": "here"}
        run_id = log_run(tracking, RunRecord(**words, artifacts={"bundle": bundle}))
        register(
            tracking,
            "tiny",
            "here",
            run_id=run_id,
            build=build,
            bundle_sha256=first.bundle_sha256,
            verdict="pass",
            variant=first.variant,
        )
    numbers = ("2", "3", "4")
    words = ("promote", "tiny", "--target", "here", "--reason", "a trial")
    started = [workshop.start("edgewright", *words, "--version", number) for number in numbers]
    ended = [(process.communicate(timeout=120), process.returncode) for process in started]
    assert [status for _, status in ended] == [0] * 3
    waited = [line for (_, err), _ in ended for line in err.splitlines()]
    assert [line for line in waited if not line.startswith("waiting: edgewright promote of ")] == []

    # Each says whom it replaced: that is one line of succession, from the first to who is in office now.
    said = [out for (out, _), _ in ended]
    replaced = {
        int(words.split(" in place of version ")[1].rstrip(".\n")): number
        for words, number in zip(said, numbers, strict=True)
    }
    succession = [1]
    while succession[-1] in replaced:
        succession.append(int(replaced[succession[-1]]))
    assert sorted(succession) == [1, 2, 3, 4]
    known = {each.version: each for each in versions(tracking, "tiny", "here")}
    assert known[succession[-1]].aliases == ("champion",)
    assert known[succession[-2]].aliases == ("previous",)
    assert [known[later].replaced for later in succession[1:]] == succession[:-1]
    done = workshop.edgewright("rollback", "tiny", "--target", "here", "--reason", "a trial")
    assert (done.status, done.err) == (0, "")
    assert champion(tracking, "tiny", "here").version == succession[-2]
