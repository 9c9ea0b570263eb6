"""A device's report joins its release: held against it first, then judged like any measurement."""

from __future__ import annotations

import dataclasses
import json
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest

from edgewright.bench_report import BenchReport
from edgewright.errors import BundleError, EdgewrightError, RegistryError, UsageError
from edgewright.golden import GoldenReplay
from edgewright.pipeline.bench_recording import Recorded, record_bench
from edgewright.pipeline.tracking import champion, download, promote
from edgewright.pipeline.tracking.client import open_client
from edgewright.pipeline.tracking.model_version import get_version


@pytest.fixture
def made(hand_made: Any) -> Any:
    """A release that awaits a measurement."""
    build = hand_made.build()
    published = hand_made.publish(build)
    assert get_version(hand_made.tracking, "digits", "t", 1).aliases == ("candidate",)
    return build, published


@pytest.fixture
def report(hand_made: Any, made: Any) -> BenchReport:
    """What a board says of it: twice as fast as the reference."""
    _, published = made
    return BenchReport(
        bundle_sha256=published.bundle_sha256,
        model="digits",
        target="t",
        variant="p50",
        build="b1",
        platform="linux/arm64",
        cpu_model="Cortex-A76",
        golden=GoldenReplay(16, 16, 0.0, 0.1, 0),
        measurement=hand_made.measurement(1.0),
        reference_sha256="1" * 64,
        reference=hand_made.measurement(2.0),
    )


def record(hand_made: Any, report: BenchReport) -> Recorded:
    path = hand_made.folder / "report.json"
    path.write_bytes(report.to_bytes())
    return record_bench(hand_made.tracking, path)


def test_a_release_whose_measurement_was_all_that_lacked_takes_office(
    hand_made: Any, made: Any, report: BenchReport, tmp_path: Path
) -> None:
    recorded = record(hand_made, report)
    assert recorded.verdict.outcome == "pass"
    assert recorded.note == "digits.t version 1 is champion"
    version = champion(hand_made.tracking, "digits", "t")
    assert version is not None
    assert version.tags["edgewright.verdict_reason"] == "bench report from Cortex-A76"
    run = open_client(hand_made.tracking).get_run(version.run_id)
    assert recorded.metrics.items() <= run.data.metrics.items()
    assert (run.data.metrics["latency_p50_ms"], run.data.metrics["speedup_x"]) == (1.0, 2.0)
    assert run.data.tags["edgewright.verdict"] == "pass"
    kept = download(hand_made.tracking, version, "bench_report.json", tmp_path)
    assert kept.read_bytes() == report.to_bytes()
    verdict = json.loads(download(hand_made.tracking, version, "verdict.json", tmp_path).read_text())
    assert verdict == json.loads(recorded.verdict.to_json())


def test_the_same_report_twice_changes_nothing_more(hand_made: Any, made: Any, report: BenchReport) -> None:
    record(hand_made, report)
    before = get_version(hand_made.tracking, "digits", "t", 1)
    assert record(hand_made, report).note == "digits.t version 1 is champion already"
    after = get_version(hand_made.tracking, "digits", "t", 1)
    # Its page tells the latest judgement, which holds the champion against itself by now.
    assert dataclasses.replace(after, description="") == dataclasses.replace(before, description="")


def test_a_device_that_is_too_slow_refuses_the_release(hand_made: Any, made: Any, report: BenchReport) -> None:
    recorded = record(hand_made, dataclasses.replace(report, measurement=hand_made.measurement(50.0)))
    assert recorded.verdict.outcome == "fail"
    assert recorded.verdict.check("latency budget").outcome == "fail"
    version = get_version(hand_made.tracking, "digits", "t", 1)
    assert (version.verdict, version.aliases) == ("fail", ())


def test_without_the_reference_there_is_no_speed_up_but_there_is_a_latency(
    hand_made: Any, made: Any, report: BenchReport
) -> None:
    recorded = record(hand_made, dataclasses.replace(report, reference=None, reference_sha256=None))
    assert recorded.verdict.outcome == "pass", "only size must pay on this target"
    assert "speedup_x" not in recorded.metrics


def test_a_report_about_the_champion_that_would_unseat_it_asks_for_a_rollback(
    hand_made: Any, made: Any, report: BenchReport
) -> None:
    record(hand_made, report)
    with pytest.raises(RegistryError, match=r"is champion, but .*p95 latency 60\.00 ms.*edgewright rollback digits"):
        record(hand_made, dataclasses.replace(report, measurement=hand_made.measurement(50.0)))
    version = get_version(hand_made.tracking, "digits", "t", 1)
    assert (version.verdict, version.is_champion) == ("pass", True)
    run = open_client(hand_made.tracking).get_run(version.run_id)
    assert run.data.metrics["latency_p50_ms"] == 1.0, "what stands in the registry still belongs together"
    assert run.data.tags["edgewright.verdict"] == "pass"


def test_it_is_judged_against_the_champion_of_today(hand_made: Any, made: Any, report: BenchReport) -> None:
    better = hand_made.publish(hand_made.build("b2", {"fp32": 0, "p50": 0}))
    words = {"reason": "field trial", "who": "test", "waiver": "measured by hand"}
    promote(hand_made.tracking, "digits", "t", better.version, **words)
    recorded = record(hand_made, report)
    assert recorded.verdict.check("accuracy against champion").figure == pytest.approx(1.1)
    assert recorded.verdict.outcome != "pass"
    in_office = champion(hand_made.tracking, "digits", "t")
    assert in_office is not None
    assert in_office.version == better.version


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"platform": "linux/amd64"}, RegistryError, "measured on linux/amd64, but digits.t is for linux/arm64"),
        ({"bundle_sha256": "f" * 64}, RegistryError, "no release of digits.t has the bundle ffffffffffff"),
        ({"target": "other"}, RegistryError, "no release of digits.other has the bundle"),
        ({"model": "letters"}, RegistryError, "no release of letters.t has the bundle"),
    ],
)
def test_a_report_that_does_not_belong_to_it_is_refused(
    hand_made: Any,
    made: Any,
    report: BenchReport,
    changes: dict[str, str],
    error: type[EdgewrightError],
    words: str,
) -> None:
    before = get_version(hand_made.tracking, "digits", "t", 1)
    with pytest.raises(error, match=words):
        record(hand_made, dataclasses.replace(report, **changes))
    after = get_version(hand_made.tracking, "digits", "t", 1)
    # Its page tells the latest judgement, which holds the champion against itself by now.
    assert dataclasses.replace(after, description="") == dataclasses.replace(before, description="")


def test_what_is_no_report_is_refused(hand_made: Any, report: BenchReport) -> None:
    path = hand_made.folder / "report.json"
    with pytest.raises(UsageError, match="No such file"):
        record_bench(hand_made.tracking, path)
    for content in (b"", b"{}", report.to_bytes()[:-20], report.to_bytes().replace(b'"golden"', b'"silver"')):
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"report\.json"):
            record_bench(hand_made.tracking, path)


@pytest.mark.parametrize(
    ("key", "was", "now", "words"),
    [
        ("recipe", ("gate", "accuracy_floor_pct"), ("gate", "floor_pct"), r"its recipe .*\(gate\.floor_pct is missing"),
        ("target", ("engine",), ("engines",), r"its target cannot be read here \(engines is missing"),
    ],
)
def test_a_release_of_another_version_of_edgewright_is_named_and_nothing_is_recorded(
    hand_made: Any,
    made: Any,
    report: BenchReport,
    key: str,
    was: tuple[str, ...],
    now: tuple[str, ...],
    words: str,
) -> None:
    for context in hand_made.tracking.home.rglob("context.json"):
        content = json.loads(context.read_text())
        section = reduce(getitem, now[:-1], content[key])
        section[was[-1]] = section.pop(now[-1])
        context.write_text(json.dumps(content))
    before = get_version(hand_made.tracking, "digits", "t", 1)
    with pytest.raises(RegistryError, match=rf"version 1 was built by another version of edgewright: {words}"):
        record(hand_made, report)
    after = get_version(hand_made.tracking, "digits", "t", 1)
    # Its page tells the latest judgement, which holds the champion against itself by now.
    assert dataclasses.replace(after, description="") == dataclasses.replace(before, description="")


@pytest.mark.parametrize(("provider", "outcome"), [("CUDAExecutionProvider", "fail"), ("XNNPACK", "pass")])
def test_a_demanded_provider_counts_where_its_engine_runs_the_file(
    hand_made: Any, report: BenchReport, provider: str, outcome: str
) -> None:
    both = {"engines": ["onnxruntime", "litert"], "required_provider": provider}
    published = hand_made.publish(hand_made.build("b2", target=both))
    recorded = record(hand_made, dataclasses.replace(report, bundle_sha256=published.bundle_sha256))
    assert recorded.verdict.check("provider").outcome == outcome
