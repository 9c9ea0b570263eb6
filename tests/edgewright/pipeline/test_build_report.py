"""A build's report repeats the build's own figures, and knows what it cannot know."""

from __future__ import annotations

import dataclasses
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.build_report import draw_up
from edgewright.pipeline.report_logging import keep_report, log_missing, log_report
from edgewright.pipeline.reporting.answers import ClassAnswers
from edgewright.pipeline.stages import report
from edgewright.pipeline.summarizing import summarize
from edgewright.pipeline.summary import MissingVariant
from edgewright.pipeline.tracking.client import artifact_repository, open_client


@pytest.fixture
def release(hand_made: Any) -> Any:
    """A summary and what it was drawn up from."""
    made = hand_made.build(latencies_ms={"fp32": 2.0, "p50": 0.5})
    decision = hand_made.decide(made)
    releases = [(made, decision, hand_made.publish(made, decision))]
    return summarize(hand_made.store, "http://127.0.0.1:5000", releases, ()), releases


def test_its_figures_are_the_summarys(hand_made: Any, release: Any) -> None:
    summary, releases = release
    content = draw_up(hand_made.store, summary, releases)
    (target,), (told,) = content.targets, summary.targets
    assert [variant.name for variant in target.variants] == ["fp32", "p50"]
    p50, shown = target.variants[1], told.variants[1]
    assert (p50.quality_pct, p50.speedup) == (shown.metrics["accuracy_pct"], shown.metrics["speedup_x"])
    assert (p50.quality_low_pct, p50.drop_high_points) == (shown.quality_low_pct, shown.drop_high_points)
    assert (target.chosen, target.verdict) == ("p50", told.verdict)
    assert isinstance(target.chosen_answers, ClassAnswers)
    assert sum(map(sum, target.chosen_answers.counts)) == hand_made.samples


def test_versions_are_those_of_what_built_it(hand_made: Any, release: Any) -> None:
    told = {fact.name: fact.value for fact in draw_up(hand_made.store, *release).settings}
    assert told["torch"] == metadata.version("torch")
    assert told["onnxruntime"] == metadata.version("onnxruntime")
    assert not {"tensorflow", "ai-edge-litert", "tf2onnx"} & set(told), "this recipe uses PyTorch alone"


def test_curves_go_from_the_base_on(hand_made: Any, release: Any) -> None:
    content = draw_up(hand_made.store, *release)
    assert [(curve.name, [point.epoch for point in curve.points]) for curve in content.curves] == [("base", [1, 2])]


def test_an_embedded_registry_is_no_link_for_later(hand_made: Any, release: Any) -> None:
    summary, releases = release
    assert draw_up(hand_made.store, summary, releases).registry_url is None
    lasting = dataclasses.replace(summary, tracking_uri="https://registry.example")
    assert draw_up(hand_made.store, lasting, releases).registry_url == "https://registry.example"


def test_it_is_drawn_once_and_put_beside_every_run(hand_made: Any, release: Any, tmp_path: Any) -> None:
    summary, releases = release
    content = draw_up(hand_made.store, summary, releases)
    drawn = report.run(hand_made.store, content, summary.judged)
    assert report.run(hand_made.store, content, dataclasses.replace(summary, tracking_uri="x").judged).unchanged
    page = keep_report(hand_made.store, drawn.value, summary, tmp_path / "reports")
    assert page.name == "digits-b1.html" and "<html" in page.read_text()
    for _ in range(2):
        log_report(hand_made.store, hand_made.tracking, drawn.value, summary.targets[0])

    def files(run_id: str, folder: str | None = None) -> list[str]:
        uri = open_client(hand_made.tracking).get_run(run_id).info.artifact_uri
        return [each.path for each in artifact_repository(hand_made.tracking, uri).list_artifacts(folder)]

    runs = releases[0][2].run_ids
    assert "report.html" in files(runs["p50"])
    assert "report.html" not in files(runs["fp32"])
    for run_id in runs.values():
        expected = {"figures/confusion.svg", "figures/training_curves.svg", "figures/quality_against_cost.svg"}
        assert expected <= set(files(run_id, "figures"))


def test_the_log_of_a_variant_that_failed_lies_beside_the_run_of_the_target_that_lacks_it(
    hand_made: Any, release: Any, tmp_path: Path
) -> None:
    summary, releases = release
    (tmp_path / "a.log").write_text("a kernel is about to fall\n")
    here = MissingVariant("tfl-i8", "its process was ended by SIGSEGV", str(tmp_path / "a.log"))
    elsewhere = dataclasses.replace(here, variant="tfl-p50", targets=("another",))
    silent = MissingVariant("p70", "pruning failed")
    missing = dataclasses.replace(summary, missing=(here, elsewhere, silent))
    log_missing(hand_made.tracking, missing, missing.targets[0])
    uri = open_client(hand_made.tracking).get_run(releases[0][2].run_ids["p50"]).info.artifact_uri
    repository = artifact_repository(hand_made.tracking, uri)
    assert [each.path for each in repository.list_artifacts("missing")] == ["missing/tfl-i8.log"]
    kept = Path(repository.download_artifacts("missing/tfl-i8.log", str(tmp_path)))
    assert kept.read_text() == "a kernel is about to fall\n"
