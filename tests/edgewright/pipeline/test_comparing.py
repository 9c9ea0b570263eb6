"""Comparing builds: everything comes back from the registry, what is not there is told, and the page is logged once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright.bench_report import BenchReport
from edgewright.golden import GoldenReplay
from edgewright.pipeline.comparing import PAGE, draw_up_comparison, log_comparison
from edgewright.pipeline.tracking import RunRecord, comparison, download, get_version, log_run, run_tags, update_run

FAST = {"fp32": 2.0, "p50": 1.0}


def test_what_two_builds_measured_and_answered_comes_back(hand_made: Any) -> None:
    hand_made.publish(hand_made.build(latencies_ms=FAST))
    office = get_version(hand_made.tracking, "digits", "t", 1)
    second = hand_made.build("b2", wrong={"fp32": 20, "p50": 30}, latencies_ms=FAST)
    hand_made.publish(second, champion=office, decision=hand_made.decide(second))
    rows = comparison(hand_made.tracking, "digits", "b1", ["b2"])
    drawn_up = draw_up_comparison(hand_made.tracking, "digits", rows)
    assert [each.build for each in drawn_up.builds] == ["b1", "b2"]
    (target,) = drawn_up.targets
    assert (target.target, target.quality_key, target.class_samples["3"]) == ("t", "accuracy", 200)
    shown = {(each.build, each.variant): each for each in target.variants}
    assert [each.is_reference for each in target.variants] == [True, False, True, False]
    p50 = shown["b1", "p50"]
    assert p50.verdict is not None
    assert p50.verdict.outcome == "pass"
    assert p50.class_pct["0"] == pytest.approx(98.5)
    assert p50.latency == hand_made.measurement(1.0)
    assert p50.latency_note == "where it was built"
    champion, other = (
        shown[build, "p50"] for build in (("b2", "b1") if shown["b2", "p50"].is_champion else ("b1", "b2"))
    )
    assert champion.answered is None
    assert other.answered is not None
    assert (other.answered.samples, other.answered.lost + other.answered.gained) == (2000, 8)


def test_a_devices_measurement_goes_before_none(hand_made: Any, tmp_path: Path) -> None:
    hand_made.publish(hand_made.build())
    version = get_version(hand_made.tracking, "digits", "t", 1)
    report = BenchReport(
        bundle_sha256=version.bundle_sha256,
        model="digits",
        target="t",
        variant="p50",
        build="b1",
        platform="linux/arm64",
        cpu_model="Cortex-A76",
        golden=GoldenReplay(16, 16, 0.0, 0.1, 0),
        measurement=hand_made.measurement(3.0),
    )
    (tmp_path / "report.json").write_bytes(report.to_bytes())
    update_run(hand_made.tracking, version.run_id, artifacts={"bench_report.json": tmp_path / "report.json"})
    drawn_up = draw_up_comparison(hand_made.tracking, "digits", comparison(hand_made.tracking, "digits"))
    told = {each.variant: (each.latency, each.latency_note) for each in drawn_up.targets[0].variants}
    assert told["p50"] == (hand_made.measurement(3.0), "on a device: Cortex-A76")
    assert told["fp32"] == (None, "not measured")


def test_runs_that_hold_nothing_or_damage_are_told_as_such(empty_registry: Any, tmp_path: Path) -> None:
    for name in ("verdict.json", "context.json", "measurement.json"):
        (tmp_path / name).write_text("{torn")
    (tmp_path / "predictions.npz").write_bytes(b"torn")
    broken = {path.name: path for path in tmp_path.iterdir() if path.is_file()}
    fields: dict[str, Any] = {"model": "digits", "build": "b1", "target": "t"}
    metrics = {"accuracy_pct": 98.0, "latency_p50_ms": 0.5}
    log_run(empty_registry, RunRecord(variant="fp32", metrics=metrics, **fields))
    log_run(empty_registry, RunRecord(variant="i8", metrics=metrics, artifacts=broken, **fields))
    drawn_up = draw_up_comparison(empty_registry, "digits", comparison(empty_registry, "digits"))
    bare, torn = drawn_up.targets[0].variants
    assert (bare.verdict, bare.latency, bare.class_pct, bare.latency_note) == (
        None,
        None,
        {},
        "measured; its run keeps the medians alone",
    )
    assert (torn.verdict, torn.latency, torn.class_pct) == (None, None, {})
    assert torn.latency_note.startswith("not readable: measurement")


def test_the_page_is_logged_beside_the_released_run_once(hand_made: Any, tmp_path: Path) -> None:
    hand_made.publish(hand_made.build(latencies_ms=FAST))
    rows = comparison(hand_made.tracking, "digits")
    assert log_comparison(hand_made.tracking, "<p>one", rows) == 1
    version = get_version(hand_made.tracking, "digits", "t", 1)
    assert download(hand_made.tracking, version, PAGE, tmp_path).read_text() == "<p>one"
    assert f"/runs/{version.run_id}/artifacts/{PAGE}" in version.description, "its page leads there"
    assert log_comparison(hand_made.tracking, "<p>one", rows) == 0
    assert log_comparison(hand_made.tracking, "<p>two", rows) == 1
    assert download(hand_made.tracking, version, PAGE, tmp_path).read_text() == "<p>two"


def test_a_build_without_a_release_carries_it_with_its_first_run(empty_registry: Any) -> None:
    fields: dict[str, Any] = {"model": "digits", "build": "b1", "target": "t"}
    runs = [log_run(empty_registry, RunRecord(variant=variant, **fields)) for variant in ("fp32", "i8")]
    rows = comparison(empty_registry, "digits")
    assert log_comparison(empty_registry, "<p>", rows) == 1
    carrying = [run for run in runs if "edgewright.comparison_sha256" in run_tags(empty_registry, run)]
    assert carrying == [rows[0].run_id]


@pytest.mark.parametrize(("against", "builds"), [(None, {"b1", "b2"}), (["b1"], {"b1", "b2"}), ([], {"b2"})])
def test_without_words_a_build_is_compared_with_who_was_in_office(
    hand_made: Any, against: list[str] | None, builds: set[str]
) -> None:
    make: Callable[..., Any] = hand_made.build
    hand_made.publish(make(latencies_ms=FAST))
    office = get_version(hand_made.tracking, "digits", "t", 1)
    hand_made.publish(make("b2", latencies_ms=FAST), champion=office)
    rows = comparison(hand_made.tracking, "digits", None, against)
    assert rows[0].build == "b2"
    assert {row.build for row in rows} == builds
