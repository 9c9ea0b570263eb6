"""One command, from real data to a release: what it says, what it leaves in MLflow and Prefect, what a second one does."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from edgewright.pipeline.tracking import baseline, candidate, champion, download, versions
from edgewright.pipeline.tracking.client import open_client
from edgewright.pipeline.tracking.model_version import registered_names

MEASURED = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "peak_memory_mib", "speedup_x")
STAGES = tuple(
    f" {stage} " for stage in ("data", "train", "compress", "quantize", "evaluate", "measure", "pack", "report")
)
EVERYWHERE = ("accuracy_pct", "accuracy_drop_points", "size_kib", "compressed_size_kib", "sparsity_pct")


@pytest.fixture(scope="module")
def runs(first_build: Any) -> list[Any]:
    client = open_client(first_build.workshop.tracking)
    return list(client.search_runs([client.get_experiment_by_name("tiny").experiment_id]))


def stages_of(workshop: Any) -> dict[str, str]:
    """State of each task of the latest flow run, by name."""
    latest = "select id from flow_run order by start_time desc limit 1"
    return dict(workshop.prefect(f"select name, state_name from task_run where flow_run_id = ({latest})"))


def test_it_ends_well_in_few_words_and_leaves_nothing_running(first_build: Any) -> None:
    done = first_build.done
    assert done.status == 0, done.err
    assert done.err == "", "no framework speaks for itself"
    assert done.notices == 1, "that development keys sign is said, once"
    assert first_build.left_running == []
    assert " release     ✓ tiny.here version 1 is champion\n" in done.out
    assert " release     … tiny.board version 1 is candidate\n" in done.out
    assert "On the device: edgewright-agent bench" in done.out
    assert "Traceback" not in done.out


def test_the_target_of_this_machine_has_a_champion_and_a_baseline_the_other_a_candidate(first_build: Any) -> None:
    tracking = first_build.workshop.tracking
    assert registered_names(tracking) == ("tiny.board", "tiny.here")
    here, board = champion(tracking, "tiny", "here"), candidate(tracking, "tiny", "board")
    assert here is not None
    assert here.aliases == ("baseline", "champion")
    assert (here.verdict, here.variant, here.is_complete) == ("pass", "p50-i8", True)
    assert board is not None
    assert board.aliases == ("candidate",)
    assert (board.verdict, board.is_complete) == ("not_measurable", True)
    assert champion(tracking, "tiny", "board") is baseline(tracking, "tiny", "board") is None


def test_the_summary_and_mlflow_agree_to_the_digit(first_build: Any, runs: list[Any]) -> None:
    by_id = {run.info.run_id: run.data.metrics for run in runs}
    seen = 0
    for target in first_build.summary["targets"]:
        for variant in target["variants"]:
            logged = {k: v for k, v in by_id[variant["run_id"]].items() if not k.startswith("epoch_")}
            assert logged == variant["metrics"]
            assert set(EVERYWHERE) <= logged.keys()
            assert all((key in logged) == (target["target"] == "here") for key in MEASURED), "unmeasured is absent"
            seen += 1
    assert seen == len(by_id) == 6


def test_runs_are_flat_named_and_tagged_so_that_the_compare_view_can_tell_them_apart(
    first_build: Any, runs: list[Any]
) -> None:
    names = {"fp32@here", "i8@here", "p50-i8@here", "fp32@board", "i8@board", "p50-i8@board"}
    assert {run.info.run_name for run in runs} == names
    for run in runs:
        tags = run.data.tags
        assert "mlflow.parentRunId" not in tags
        assert run.info.status == "FINISHED"
        assert tags["edgewright.build"] == first_build.summary["build"]
        assert tags["edgewright.data_sha256"] == first_build.summary["data_sha256"]
        assert tags["edgewright.complete"] == "true"
        assert tags["edgewright.git_commit"]
        assert f"{tags['edgewright.variant']}@{tags['edgewright.target']}" == run.info.run_name
    verdicts = {run.info.run_name: run.data.tags["edgewright.verdict"] for run in runs}
    assert verdicts["p50-i8@here"] == "pass"
    assert verdicts["p50-i8@board"] == "not_measurable"
    assert verdicts["i8@here"] == "not put to the gate"


def test_the_version_page_names_its_bundle_and_says_how_to_pull_it(first_build: Any, tmp_path: Any) -> None:
    tracking = first_build.workshop.tracking
    for target in first_build.summary["targets"]:
        (version,) = versions(tracking, "tiny", target["target"])
        assert version.bundle_sha256 == target["bundle_sha256"]
        assert version.build == first_build.summary["build"]
        assert "edgewright-agent pull" in version.description
        # Both bundles are what their tags promise: download refuses anything else.
        into = tmp_path / target["target"]
        assert (download(tracking, version, "bundle", into) / "model.onnx").is_file()
        assert (download(tracking, version, "reference", into) / "model.onnx").is_file()
        assert json.loads(download(tracking, version, "verdict.json", into).read_text()) == target["verdict"]


def test_prefect_shows_progress_a_table_a_verdict_and_a_link(first_build: Any) -> None:
    workshop = first_build.workshop
    assert workshop.prefect("select name, state_name from flow_run") == [("release-tiny", "Released")]
    artifacts = Counter(workshop.prefect("select key, type from artifact"))
    for target in ("here", "board"):
        assert artifacts[f"variants-{target}", "table"] == 1
        assert artifacts[f"verdict-{target}", "markdown"] == 1
        assert artifacts[f"registry-{target}", "markdown"] == 1
    (page,) = {data for (data,) in workshop.prefect("select data from artifact where key = 'registry-here'")}
    assert "/#/models/tiny.here/versions/1)" in page, "the release"
    assert page.count("/#/runs/") == 3, "and every run of it"
    assert {key for key, kind in artifacts if kind == "progress"} >= {"progress-train-base", "progress-measure-here"}
    assert set(stages_of(workshop).values()) <= {"Completed", "Unchanged"}


def test_a_second_build_computes_nothing_and_writes_nothing(first_build: Any, make_workshop: Any) -> None:
    workshop = make_workshop(first_build.workshop)
    before = snapshot_of_registry(workshop.tracking)
    done, summary = workshop.build()
    assert (done.status, done.err) == (0, "")
    assert snapshot_of_registry(workshop.tracking) == before
    assert {**summary, "tracking_uri": ""}.keys() == first_build.summary.keys()
    for now, then in zip(summary["targets"], first_build.summary["targets"], strict=True):
        assert now["variants"] == then["variants"]
        assert (now["version"], now["outcome"], now["champion"]) == (then["version"], then["outcome"], then["champion"])
    looking = ("judge-", "attest-", "publish-", "sign-", "keep-", "describe-")  # these look at the registry, each time
    stages = {name: state for name, state in stages_of(workshop).items() if not name.startswith(looking)}
    assert len(stages) == 2 + 2 + 2 + 6 + 1 + 4 + 1  # data, train, compress, quantize, evaluate, measure, pack, report
    assert set(stages.values()) == {"Unchanged"}, "the page says so"
    said = [line for line in done.out.splitlines() if line.startswith(STAGES) and " ✓ " in line]
    assert len(said) == len(stages)
    assert all(line.endswith("unchanged") for line in said), "and so does the terminal"
    assert workshop.described_processes() == []


def snapshot_of_registry(tracking: Any) -> dict[str, Any]:
    client = open_client(tracking)
    experiment = client.get_experiment_by_name("tiny").experiment_id
    return {
        "runs": {run.info.run_id: run.data.tags for run in client.search_runs([experiment])},
        "versions": {
            (each.name, each.version): (dict(each.tags), each.aliases)
            for target in ("here", "board")
            for each in versions(tracking, "tiny", target)
        },
    }
