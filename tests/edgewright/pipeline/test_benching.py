"""The benchmark's arithmetic; what it measures is real models in real processes, which `make bench` runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.pipeline.artifact_store import ArtifactStore, Stage
from edgewright.pipeline.benching import Row, build_cost, compute_seconds, to_json


@dataclass(frozen=True)
class Result:
    number: int


def test_stages_that_were_computed_add_up_and_remembered_ones_count_once(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    stage = Stage("count", "edgewright.pipeline.progress", ())
    outcomes = [store.run_stage(stage, {"number": number}, Result, lambda: Result(0)) for number in (1, 2, 2)]
    assert [outcome.unchanged for outcome in outcomes] == [False, False, True]
    assert compute_seconds(store) == pytest.approx(outcomes[0].compute_s + outcomes[1].compute_s)


def test_a_builds_costs_are_ratios_of_its_times() -> None:
    cost = build_cost("digits", first_s=200.0, stages_s=250.0, again_s=10.0)
    assert (cost.wall_over_compute, cost.again_over_first) == (0.8, 0.05)


def test_the_file_holds_every_row_and_the_median_of_each_variant() -> None:
    rows = tuple(
        Row("digits", "i8", threads, 0.1, 9000.0, x, x - 0.1, x + 0.1, 327.0, 57.0)
        for threads, x in ((1, 2.5), (2, 1.5))
    )
    content = json.loads(to_json(rows, (), {"cpu": "any"}))
    assert content["median_speedup_x"] == {"i8": 2.0}
    assert [row["threads"] for row in content["models"]] == [1, 2]
