"""What a run holds, and that a killed one is never half there."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.errors import RegistryError
from edgewright.pipeline.tracking import RunRecord, Tracking, log_run, update_run
from edgewright.pipeline.tracking.client import artifact_repository, open_client
from edgewright.pipeline.tracking.runs import COMPLETE

Record = Callable[..., RunRecord]


def stored(tracking: Tracking, run_id: str, path: str, into: Path) -> Path:
    uri = open_client(tracking).get_run(run_id).info.artifact_uri
    return Path(artifact_repository(tracking, uri).download_artifacts(path, dst_path=str(into)))


def runs_of(tracking: Tracking) -> list[Any]:
    client = open_client(tracking)
    return list(client.search_runs([client.get_experiment_by_name("digits").experiment_id]))


def test_a_run_is_flat_named_by_variant_and_target_and_tagged(tracking: Tracking, record: Record) -> None:
    run = open_client(tracking).get_run(log_run(tracking, record("b1")))

    assert run.info.run_name == "p50-i8@linux-x86"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"prune.sparsity": "0.5"}
    assert "mlflow.parentRunId" not in run.data.tags
    expected = {"build": "b1", "variant": "p50-i8", "target": "linux-x86", "git_commit": "c0ffee", "complete": "true"}
    assert {f"edgewright.{key}": value for key, value in expected.items()}.items() <= run.data.tags.items()


def test_the_experiment_is_the_model_and_says_how_to_read_it(tracking: Tracking, record: Record) -> None:
    log_run(tracking, record("b1"))
    experiment = open_client(tracking).get_experiment_by_name("digits")

    assert "to compare" in experiment.tags["mlflow.note.content"].lower()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_figures_come_back_to_the_last_digit(tracking: Tracking, record: Record, values: list[float]) -> None:
    metrics = {f"figure_{index}": value for index, value in enumerate(values)}
    run_id = log_run(tracking, record("b1"))

    update_run(tracking, run_id, metrics=metrics)

    read = open_client(tracking).get_run(run_id).data.metrics
    assert {name: read[name] for name in metrics} == metrics


def test_a_series_keeps_its_steps_in_order(tracking: Tracking, record: Record) -> None:
    points = [(epoch, 1 / (epoch + 3)) for epoch in range(8)]
    run_id = log_run(tracking, record("b1", series={"train_loss": points}))

    history = open_client(tracking).get_metric_history(run_id, "train_loss")

    assert [(point.step, point.value) for point in history] == points


def test_more_figures_than_one_call_takes_are_all_stored(tracking: Tracking, record: Record) -> None:
    series = {"loss": [(step, float(step)) for step in range(1100)]}
    params = {f"param_{index}": index for index in range(130)}
    run_id = log_run(tracking, record("b1", series=series, params=params))

    assert len(open_client(tracking).get_metric_history(run_id, "loss")) == 1100
    assert len(open_client(tracking).get_run(run_id).data.params) == 130


def test_artifacts_get_the_path_they_are_keyed_by(tracking: Tracking, record: Record, tmp_path: Path) -> None:
    wanted = record("b1")
    run_id = log_run(tracking, wanted)

    assert stored(tracking, run_id, "predictions.npz", tmp_path).read_bytes() == b"\x00\x01predictions"
    for file in ("model.onnx", "manifest.json"):
        fetched = stored(tracking, run_id, f"bundle/{file}", tmp_path)
        assert fetched.read_bytes() == (wanted.artifacts["bundle"] / file).read_bytes()
        assert not fetched.is_symlink()


def test_logging_twice_gives_one_run(tracking: Tracking, record: Record) -> None:
    assert log_run(tracking, record("b1")) == log_run(tracking, record("b1"))
    assert len(runs_of(tracking)) == 1


@pytest.mark.parametrize("other", [{"build": "b2"}, {"variant": "i8"}, {"target": "pi5-arm64"}])
def test_another_build_variant_or_target_is_another_run(
    tracking: Tracking, record: Record, other: dict[str, Any]
) -> None:
    first = record("b1")
    assert log_run(tracking, first) != log_run(tracking, replace(first, **other))


def test_killed_before_any_write_the_next_call_leaves_one_whole_run(
    tracking: Tracking,
    record: Record,
    killed_before_write: Callable[[int, Callable[[], object]], bool],
    tmp_path: Path,
) -> None:
    number = 0
    while killed_before_write(number, partial(log_run, tracking, record(f"b{number}"))):
        run_id = log_run(tracking, record(f"b{number}"))
        same_build = [run for run in runs_of(tracking) if run.data.tags["edgewright.build"] == f"b{number}"]
        assert [run.info.run_id for run in same_build] == [run_id]
        run = open_client(tracking).get_run(run_id)
        assert run.info.status == "FINISHED"
        assert run.data.tags[COMPLETE] == "true"
        assert run.data.metrics == dict(record("b0").metrics)
        assert stored(tracking, run_id, "bundle/model.onnx", tmp_path).is_file()
        number += 1
    assert number >= 5, "the run is written in fewer steps than were to be interrupted"


def test_a_bench_report_is_added_later_and_the_newer_figure_counts(
    tracking: Tracking, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = log_run(tracking, record("b1", metrics={"latency_p95_ms": 9.0}))
    monkeypatch.setattr("edgewright.pipeline.tracking.runs.time.time", lambda: 1.0)

    update_run(tracking, run_id, metrics={"latency_p95_ms": 2.5, "energy_mj": 4.0}, tags={"edgewright.verdict": "pass"})

    data = open_client(tracking).get_run(run_id).data
    assert (data.metrics["latency_p95_ms"], data.metrics["energy_mj"]) == (2.5, 4.0)
    assert data.tags["edgewright.verdict"] == "pass"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_figure(tracking: Tracking, record: Record, value: float) -> None:
    with pytest.raises(RegistryError, match=r"latency_p95_ms is .*leave out what was not measured"):
        log_run(tracking, record("b1", metrics={"latency_p95_ms": value}))
    with pytest.raises(RegistryError, match="loss at step 3 is"):
        log_run(tracking, record("b1", series={"loss": [(3, value)]}))


def test_a_missing_artifact_or_an_escaping_path_is_refused_before_anything_is_written(
    tracking: Tracking, record: Record, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match=r"artifact verdict\.json is not at"):
        log_run(tracking, record("b1", artifacts={"verdict.json": tmp_path / "absent"}))
    with pytest.raises(RegistryError, match="leaves the run's folder"):
        log_run(tracking, record("b1", artifacts={"../evil": tmp_path}))
    assert open_client(tracking).get_experiment_by_name("digits") is None


def test_a_name_that_queries_cannot_carry_is_refused(tracking: Tracking, record: Record) -> None:
    with pytest.raises(RegistryError, match="cannot name a model, build, variant or target"):
        log_run(tracking, record("b1' or '1'='1"))


def test_a_deleted_experiment_is_named_with_its_remedy(tracking: Tracking, record: Record) -> None:
    log_run(tracking, record("b1"))
    client = open_client(tracking)
    client.delete_experiment(client.get_experiment_by_name("digits").experiment_id)

    with pytest.raises(RegistryError, match="experiment digits was deleted: restore it"):
        log_run(tracking, record("b2"))


def test_what_an_incomplete_run_had_uploaded_is_removed(tracking: Tracking, record: Record) -> None:
    run_id = log_run(tracking, record("b1"))
    client = open_client(tracking)
    client.delete_tag(run_id, COMPLETE)
    uri = client.get_run(run_id).info.artifact_uri

    assert log_run(tracking, record("b1")) != run_id
    assert artifact_repository(tracking, uri).list_artifacts() == []
    shutil.rmtree(tracking.home)
