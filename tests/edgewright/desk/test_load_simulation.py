"""Simulated builds leave on real servers what builds leave, and are counted as they were asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgewright.desk import load_simulation
from edgewright.desk.load_simulation import main, sweep
from edgewright.desk.simulated_build import NAME, Shape
from edgewright.errors import EdgewrightError
from edgewright.pipeline.tracking import tracking_server
from edgewright.pipeline.tracking.client import open_client

SHAPE = Shape(
    tasks=2,
    pages=1,
    page_bytes=10,
    log_lines=2,
    runs=2,
    metrics=3,
    params=2,
    tags=1,
    files=2,
    file_bytes=10,
    versions=1,
)


@pytest.fixture
def prefect_url(prefect_api: None) -> str:
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value())


def test_builds_of_a_flow_stand_on_prefects_server(prefect_url: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowFilter, FlowFilterName

    found = sweep("prefect", prefect_url, SHAPE, seconds=0.5, rates=(60, 300))
    assert [level.offered for level in found.levels] == [60, 300][: len(found.levels)]
    assert all(level.builds >= level.at_once >= 1 for level in found.levels)
    ours = {"flow_filter": FlowFilter(name=FlowFilterName(any_=[NAME]))}
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(**ours)
        tasks = client.read_task_runs(**ours)
        # Of these runs alone: other tests' flows have left theirs on the same server.
        of_runs = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id for run in runs]))
        artifacts = client.read_artifacts(artifact_filter=of_runs)
    assert runs and {run.state_name for run in runs} == {"Completed"}
    assert len(tasks) == min(200, SHAPE.tasks * len(runs)), "recorded when the sweep ends"
    assert {task.state_name for task in tasks} == {"Completed"}
    assert len(artifacts) == min(200, (SHAPE.tasks + SHAPE.pages) * len(runs))
    first = found.levels[0]
    assert set(first.requests_per_minute) == {
        "create flow run",
        "set state",
        "create artifact",
        "update artifact",
        "log",
    }
    assert first.lag_s is not None
    assert first.server_cpu_s_per_build is not None


def test_builds_stand_in_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracking_server(tmp_path / "home") as tracking:
        found = sweep("mlflow", tracking.uri, SHAPE, seconds=0.5, rates=(60,))
        client = open_client(tracking)
        (experiment,) = [each for each in client.search_experiments() if each.name.startswith(NAME)]
        runs = client.search_runs([experiment.experiment_id])
        (model,) = client.search_registered_models()
        files = [each.path for each in client.list_artifacts(runs[0].info.run_id)]
    assert len(runs) % SHAPE.runs == 0 and {run.info.status for run in runs} == {"FINISHED"}
    assert (len(runs[0].data.metrics), len(runs[0].data.params)) == (SHAPE.metrics, SHAPE.params)
    assert runs[0].data.tags["edgewright.complete"] == "true"
    assert files == ["file-0.bin", "file-1.bin"]
    assert set(model.aliases) == {"candidate", "champion"}
    (level,) = found.levels
    assert (found.doubled_at, found.sustained) == (None, level)
    assert level.lag_s is None


def level(rate: float, build_s: float) -> Any:
    return load_simulation.Level(rate, 7, build_s, build_s, 1, {}, {}, {}, None, None)


def test_it_ends_where_a_build_takes_twice_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {10: 1.0, 20: 1.5, 40: 1.9, 80: 2.0, 160: 9.0}

    async def measure(side: str, url: str, shape: Shape, rate: float, seconds: float) -> Any:
        return level(rate, times[int(rate)])

    monkeypatch.setattr(load_simulation, "_measure", measure)
    found = sweep("mlflow", "http://127.0.0.1:1", SHAPE, 1.0, (10, 20, 40, 80, 160))
    assert (found.doubled_at, found.sustained.offered) == (80, 40)
    assert [each.offered for each in found.levels] == [10, 20, 40, 80]


def test_a_server_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EdgewrightError, match=r"http://127.0.0.1:9 cannot be loaded"):
        sweep("mlflow", "http://127.0.0.1:9", SHAPE, 0.1, (60,))
    assert main([]) == 2
    assert "give --prefect, --mlflow or both" in capsys.readouterr().err
    assert main(["--mlflow", "http://127.0.0.1:9"]) == 1
    assert "cannot be loaded" in capsys.readouterr().err


def test_the_figures_are_written_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measure(side: str, url: str, shape: Shape, rate: float, seconds: float) -> Any:
        return level(rate, rate / 10)

    monkeypatch.setattr(load_simulation, "_measure", measure)
    assert main(["--mlflow", "http://127.0.0.1:1", "--output", str(tmp_path / "load.json")]) == 0
    figures = json.loads((tmp_path / "load.json").read_text())
    assert set(figures) == {"machine", "shape", "mlflow"}
    assert figures["mlflow"]["doubled_at"] == 20
    assert figures["mlflow"]["sustained"]["offered"] == 15
    assert "15 builds/min" in capsys.readouterr().out
