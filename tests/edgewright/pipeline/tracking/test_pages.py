"""What people read in the registry: marks of runs, pages of versions, models and experiments; never what decides."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.pipeline.tracking import (
    BODY_BEGINS,
    ModelVersion,
    RunRecord,
    Tracking,
    champion,
    experiment_link,
    get_version,
    log_run,
    promote,
    record_decision,
    register,
    repair,
    rollback,
    set_verdict,
    update_run,
    write_experiment,
    write_pages,
)
from edgewright.pipeline.tracking.client import open_client
from edgewright.pipeline.tracking.image_recording import record_image_tags
from edgewright.pipeline.tracking.image_tags import PlatformImage, RecordedImages, recorded_images
from edgewright.pipeline.tracking.standing import STANDING
from edgewright.pipeline.tracking.version_page import LONGEST
from edgewright.pipeline.verdict import Check, Verdict

Release = Callable[..., ModelVersion]
MODEL, TARGET = "digits", "linux-x86"
NAME = "digits.linux-x86"
NOTE = "mlflow.note.content"


def take_office(tracking: Tracking, version: ModelVersion, **more: str) -> None:
    promote(tracking, MODEL, TARGET, version.version, **{"reason": "passed", "who": "anna", **more})


def standings(tracking: Tracking) -> dict[str, str]:
    """Standing by build and variant, in the order of the page: by standing, then the newest first."""
    client = open_client(tracking)
    found = client.get_experiment_by_name(MODEL)
    runs = client.search_runs([found.experiment_id], order_by=[f"tags.`{STANDING}` ASC", "attributes.start_time DESC"])
    return {
        f"{run.data.tags['edgewright.build']} {run.data.tags['edgewright.variant']}": run.data.tags.get(STANDING, "")
        for run in runs
    }


def page(tracking: Tracking, version: int) -> str:
    return get_version(tracking, MODEL, TARGET, version).description


def model_page(tracking: Tracking) -> str:
    return str(open_client(tracking).get_registered_model(NAME).description)


def note(tracking: Tracking) -> str:
    return str(open_client(tracking).get_experiment_by_name(MODEL).tags[NOTE])


@pytest.fixture
def judged(
    tracking: Tracking, record: Callable[..., RunRecord], make_bundle: Callable[[str], tuple[Path, str]], tmp_path: Path
) -> Callable[..., ModelVersion]:
    """Release a build whose run holds a verdict of so many checks, and maybe a figure."""

    def publish(build: str, checks: tuple[Check, ...], *files: str) -> ModelVersion:
        verdict = Verdict(
            MODEL, TARGET, "p50-i8", "pass" if all(c.outcome == "pass" for c in checks) else "fail", checks
        )
        folder = tmp_path / build
        (folder / "figures").mkdir(parents=True)
        (folder / "verdict.json").write_text(verdict.to_json())
        for name in files:
            (folder / name).write_text("<svg/>")
        usual = record(build, metrics={"accuracy_pct": 98.75, "accuracy_drop_points": 0.25, "size_kib": 97.0})
        more = {"verdict.json": folder / "verdict.json", "figures": folder / "figures"}
        run_id = log_run(tracking, replace(usual, artifacts={**usual.artifacts, **more}))
        return register(
            tracking,
            MODEL,
            TARGET,
            run_id=run_id,
            build=build,
            bundle_sha256=make_bundle(f"{build}-p50-i8")[1],
            verdict=verdict.outcome,
            variant="p50-i8",
        )

    return publish


# --- runs


def test_the_champion_stands_first_then_the_newest_build_then_history(
    tracking: Tracking, release: Release, record: Callable[..., RunRecord]
) -> None:
    first = release("b1")
    take_office(tracking, first)
    release("b2")
    log_run(tracking, record("b3", variant="fp32"))
    write_pages(tracking, MODEL, TARGET)
    assert list(standings(tracking).items()) == [
        ("b1 p50-i8", "champion"),
        ("b3 fp32", "newest build"),
        ("b2 p50-i8", ""),
    ]


def test_the_mark_follows_the_office_forth_and_back(tracking: Tracking, release: Release) -> None:
    one, two = release("b1"), release("b2")
    take_office(tracking, one)
    take_office(tracking, two)
    assert standings(tracking) == {"b2 p50-i8": "champion", "b1 p50-i8": ""}
    rollback(tracking, MODEL, TARGET, reason="misreads sevens", who="ben")
    assert standings(tracking) == {"b1 p50-i8": "champion", "b2 p50-i8": "newest build"}


def test_each_target_has_a_champion_and_a_newest_build_of_its_own(tracking: Tracking, release: Release) -> None:
    take_office(tracking, release("b1"))
    other = release("b0", target="pi5-arm64")
    promote(tracking, MODEL, "pi5-arm64", other.version, reason="passed", who="anna")
    assert standings(tracking) == {"b1 p50-i8": "champion", "b0 p50-i8": "champion"}


# --- versions


def test_a_versions_page_says_what_it_is_what_it_passed_where_from_and_how_to_get_it(
    tracking: Tracking, judged: Callable[..., ModelVersion]
) -> None:
    check = Check(
        name="accuracy floor", outcome="pass", figure=98.75, limit=90.0, unit="%", low=98.1, high=99.2, reason="holds"
    )
    version = judged("b1", (check,), "figures/quality_against_cost.svg")
    take_office(tracking, version, reason="field trial went well")
    text = page(tracking, 1)
    first, *_ = text.splitlines()
    assert first.startswith("p50-i8, pass: champion since 20"), "plain words: lists show the first line as it is"
    assert "| 98.75 %&emsp; | +0.25 points&emsp; | 97 KiB&emsp; | not measured&emsp; |" in text
    assert "| accuracy floor&emsp; | pass&emsp; | 98.75 %&emsp; | 90.00 %&emsp; | 98.10 to 99.20 |" in text
    assert (
        f"![quality against cost](get-artifact?path=figures%2Fquality_against_cost.svg&run_uuid={version.run_id})"
        in text
    )
    assert "class_drops" not in text, "only figures that are there"
    assert version.bundle_sha256 in text
    assert ", by anna: field trial went well" in text
    assert "edgewright-agent pull --registry URL --model digits --target linux-x86 --into DIR" in text


def test_a_page_tells_of_the_rollback_on_both_sides(tracking: Tracking, release: Release) -> None:
    for build in ("b1", "b2"):
        take_office(tracking, release(build))
    rollback(tracking, MODEL, TARGET, reason="misreads sevens", who="ben")
    assert page(tracking, 2).startswith("p50-i8, pass: rolled back on 20")
    assert "by ben: misreads sevens" in page(tracking, 2)
    assert page(tracking, 1).startswith("p50-i8, pass: champion since 20")
    assert model_page(tracking).startswith(
        "version 1 is champion: what devices of the target linux-x86 shall run for digits\n"
    )


def test_a_later_verdict_is_on_the_page(tracking: Tracking, release: Release) -> None:
    version = release("b1", verdict="not_measurable")
    set_verdict(tracking, MODEL, TARGET, version.version, "pass", reason="bench report from a Pi 5")
    assert page(tracking, 1).startswith("p50-i8, pass: not promoted\n")
    assert "bench report from a Pi 5" in page(tracking, 1)


def test_a_persons_answer_is_on_the_page(tracking: Tracking, release: Release) -> None:
    release("b1")
    record_decision(tracking, MODEL, TARGET, 1, decision="rejected", reason="wait for March", who="anna")
    assert "| decided&emsp; | rejected: wait for March (anna, 20" in page(tracking, 1)


def test_a_long_verdict_gives_way_to_what_every_registry_can_hold(
    tracking: Tracking, judged: Callable[..., ModelVersion]
) -> None:
    passed = tuple(
        Check(name=f"class {number} of a hundred", outcome="pass", figure=1.0, limit=2.0, unit="points", reason="holds")
        for number in range(100)
    )
    failed = Check(name="pays", outcome="fail", figure=0.9, limit=1.0, unit="x", reason="slower", remedy="prune more")
    version = judged("b1", (*passed, failed))
    write_pages(tracking, MODEL, TARGET, version.version)
    text = page(tracking, 1)
    assert len(text) <= LONGEST
    assert "| pays&emsp; | fail&emsp; |" in text
    assert "- **pays**, fail: slower. Try: prune more" in text
    assert "the rest is in the run's verdict.md" in text
    assert "### How to pull it" in text


def test_a_release_with_images_says_where_to_pull_them_and_what_their_proof_came_to(
    tracking: Tracking, release: Release
) -> None:
    version = release("b1")
    one, two = (f"sha256:{letter * 64}" for letter in "ab")
    arm = PlatformImage("linux/arm/v7", two, "not proven here: no emulator")
    images = RecordedImages(
        one, "/layout", f"registry.example/digits@{one}", (PlatformImage("linux/amd64", one, "proven"), arm)
    )
    record_image_tags(tracking, version, images)
    assert recorded_images(get_version(tracking, MODEL, TARGET, 1).tags) == images
    text = page(tracking, 1)
    assert f"`docker pull registry.example/digits@{one}`" in text
    assert "linux/arm/v7&emsp; | not proven here: no emulator" in text
    record_image_tags(tracking, version, RecordedImages(one, "/layout", None, (arm,)))
    again = recorded_images(get_version(tracking, MODEL, TARGET, 1).tags)
    assert again == RecordedImages(one, "/layout", images.pull, (arm,)), "the same index is where it was pushed to"
    record_image_tags(tracking, version, RecordedImages(two, "/layout", None, (arm,)))
    another = recorded_images(get_version(tracking, MODEL, TARGET, 1).tags)
    assert another == RecordedImages(two, "/layout", None, (arm,)), "another index was pushed nowhere"
    assert f"In /layout: `{two}`" in page(tracking, 1)


def test_peoples_words_stay_words(tracking: Tracking, release: Release) -> None:
    take_office(tracking, release("b1"), reason="a | b\n# c ![x](http://evil) <img src=x>", who="*anna*")
    assert r"by \*anna\*: a \| b \# c \!\[x\](http://evil) \<img src=x\>" in page(tracking, 1)


def test_what_arrives_later_is_shown_once_the_page_is_written_anew(
    tracking: Tracking, release: Release, tmp_path: Path
) -> None:
    version = release("b1")
    take_office(tracking, version)
    assert "report of the build" not in page(tracking, 1)
    (tmp_path / "report.html").write_text("<p>")
    update_run(tracking, version.run_id, artifacts={"report.html": tmp_path / "report.html"})
    write_pages(tracking, MODEL, TARGET, version.version)
    assert f"/runs/{version.run_id}/artifacts/report.html" in page(tracking, 1)


# --- experiments


def describe(tracking: Tracking, *targets: str) -> str:
    tags = {"edgewright.task": "classification"}
    return write_experiment(tracking, MODEL, f"{BODY_BEGINS}\n\nOf the recipe.\n", tags, "accuracy", targets)


def test_the_experiment_opens_with_where_to_look_and_who_is_in_office(tracking: Tracking, release: Release) -> None:
    take_office(tracking, release("b1"))
    number = describe(tracking, TARGET)
    first, _, rest = note(tracking).partition("\n")
    assert first.startswith(
        f"**[Champions and the newest build](#/experiments/{number}/runs?workflowType=machine_learning&viewStateShareKey="
    )
    assert "- linux-x86: champion is [version 1](#/models/digits.linux-x86/versions/1" in rest
    assert "- newest build: `b1` (linux-x86: p50-i8 pass)" in rest
    assert note(tracking).endswith("Of the recipe.\n")
    tags = open_client(tracking).get_experiment_by_name(MODEL).tags
    assert (tags["edgewright.task"], tags["mlflow.experimentKind"]) == ("classification", "custom_model_development")


def test_a_promotion_renews_the_head_and_leaves_the_recipe(tracking: Tracking, release: Release) -> None:
    one, two = release("b1"), release("b2")
    take_office(tracking, one)
    describe(tracking, TARGET)
    take_office(tracking, two)
    assert "champion is [version 2]" in note(tracking)
    assert note(tracking).endswith("Of the recipe.\n")


def test_saved_views_sort_choose_columns_and_tell_variants_apart(tracking: Tracking, release: Release) -> None:
    release("b1")
    describe(tracking, TARGET, "pi5-arm64")
    describe(tracking, TARGET)
    tags = open_client(tracking).get_experiment_by_name(MODEL).tags
    views = {
        key.removeprefix("mlflow.sharedViewState."): json.loads(value) for key, value in tags.items() if "View" in key
    }
    assert sorted(views) == ["edgewright", f"edgewright-{TARGET}"], "a target that is gone has no view"
    every, now = json.loads(views["edgewright"]["state"]), json.loads(views[f"edgewright-{TARGET}"]["state"])
    assert (every["orderByKey"], every["orderByAsc"], every["searchFilter"]) == (f"tags.`{STANDING}`", True, "")
    assert now["searchFilter"] == f"tags.`edgewright.target` = '{TARGET}' and tags.`{STANDING}` LIKE '%'"
    assert {"tags.`edgewright.verdict`", "metrics.`accuracy_pct`"} <= set(every["selectedColumns"])
    charts = {chart.get("metricKey", chart["type"]) for chart in every["compareRunCharts"]}
    assert charts == {"accuracy_pct", "accuracy_drop_points", "size_kib", "latency_p95_us", "speedup_x", "SCATTER"}


def test_the_filter_of_a_view_is_one_that_the_registry_understands(tracking: Tracking, release: Release) -> None:
    release("b0")
    take_office(tracking, release("b1"))
    number = describe(tracking, TARGET)
    state = json.loads(open_client(tracking).get_experiment(number).tags[f"mlflow.sharedViewState.edgewright-{TARGET}"])
    asked = json.loads(state["state"])["searchFilter"]
    found = open_client(tracking).search_runs([number], asked)
    assert [run.data.tags["edgewright.build"] for run in found] == ["b1"]


def test_there_is_a_link_where_there_is_a_page(tracking: Tracking) -> None:
    assert experiment_link(tracking.uri, MODEL) is None, "a file has no page"


def test_writing_again_writes_nothing(
    tracking: Tracking, release: Release, killed_before_write: Callable[[int, Callable[[], object]], bool]
) -> None:
    take_office(tracking, release("b1"))
    describe(tracking, TARGET)
    assert not killed_before_write(0, lambda: describe(tracking, TARGET))
    assert not killed_before_write(0, lambda: write_pages(tracking, MODEL, TARGET, 1))
    assert not killed_before_write(0, lambda: repair(tracking, MODEL))


# --- kills and failures


def test_pages_that_a_kill_left_out_of_date_are_written_by_a_repair(
    tracking: Tracking, release: Release, killed_before_write: Callable[[int, Callable[[], object]], bool]
) -> None:
    one, two = release("b1"), release("b2")
    take_office(tracking, one)
    describe(tracking, TARGET)
    decisive, number = 0, 0
    while killed_before_write(number, lambda: take_office(tracking, two, allow_withdrawn=True)):  # type: ignore[arg-type]
        number += 1
        found = champion(tracking, MODEL, TARGET)
        if found is None or found.version != two.version:
            decisive = number
            repair(tracking, MODEL)
            continue
        repair(tracking, MODEL)
        assert standings(tracking) == {"b2 p50-i8": "champion", "b1 p50-i8": ""}
        assert page(tracking, 2).startswith("p50-i8, pass: champion since")
        assert page(tracking, 1).startswith("p50-i8, pass: the champion before this one")
        assert model_page(tracking).startswith("version 2 is champion")
        assert "champion is [version 2]" in note(tracking)
        rollback(tracking, MODEL, TARGET, reason="again", who="test")
    assert number - decisive >= 4, "pages are written in fewer steps than were to be interrupted"


def test_a_page_that_cannot_be_written_undoes_no_promotion(
    tracking: Tracking, release: Release, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def refuse(*_: Any, **__: Any) -> None:
        raise MlflowException("the disk is full")

    version = release("b1")
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(MlflowClient, "update_model_version", refuse)
        take_office(tracking, version)
    found = champion(tracking, MODEL, TARGET)
    assert found is not None
    assert found.version == version.version
    assert "writing the pages of a release failed: the registry answered: the disk is full" in caplog.text
    repair(tracking, MODEL)
    assert page(tracking, 1).startswith("p50-i8, pass: champion since")
