"""The report: of fixed size, of sound JSON, whatever was answered; and the machine's figures."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
from pathlib import Path
from typing import Any

import pytest

from edgewright.bundle_file import BundleFile
from edgewright.device.agent_state import AgentState, Held
from edgewright.device.sensors_of_machine import read_temperatures, resident_mib
from edgewright.device.state_words import describe_place
from edgewright.device.telemetry import REFERENCE_NAME, Telemetry, to_line
from edgewright.signed_release import Budget, SignedRelease


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def held(version: int) -> Held:
    digest = f"{version:064x}"
    files = (BundleFile("golden.npz", digest, 10), BundleFile("manifest.json", digest, 10))
    release = SignedRelease("digits", "linux-x86", version, "i8", "onnxruntime", "1/a/b", "0.1.0", Budget(), files)
    return Held(release, "2030-01-01T00:00:00Z")


STATE = dataclasses.replace(
    AgentState().with_slot("A", held(3)).with_slot("B", held(4)).with_trial("A").committed().with_trial("B")
)


def test_a_report_says_what_was_answered_since_the_last_one(tmp_path: Path) -> None:
    clock = Clock()
    telemetry = Telemetry(tmp_path, clock)
    clock.now = 50.0
    telemetry.report(STATE, None, {})
    for latency_ms in range(1, 101):
        facts = {
            "samples": 2,
            "confidences": [0.5, 0.99],
            "labels": ["1", "7"],
            "input_mean": [0.1, 0.2],
            "values": [3.0],
        }
        telemetry.answered(float(latency_ms), facts)
    clock.now = 70.0
    report = telemetry.report(STATE, os.getpid(), {"counts": {"polls": 1}})
    assert (report["period_s"], report["uptime_s"]) == (20.0, 70.0)
    assert report["answers"] == {"requests": 100, "samples": 200, "samples_per_s": 10.0}
    assert report["latency_ms"]["p95"] == pytest.approx(95, rel=0.02)
    assert report["labels"] == {"1": 100, "7": 100}
    assert report["values"]["mean"] == 3.0
    assert report["confidence_bins"][10] == report["confidence_bins"][19] == 100
    assert report["drift"]["reference_samples"] == 200
    assert report["counts"] == {"polls": 1}
    assert report["serves"] == describe_place(STATE, "A")
    assert report["serves"]["name"] == "digits.linux-x86"
    assert (report["serves"]["version"], report["trial"]["version"]) == (3, 4)
    assert report["memory_mib"]["agent"] == pytest.approx(report["memory_mib"]["worker"], rel=0.05)
    assert telemetry.report(STATE, None, {})["answers"]["requests"] == 0


def test_its_size_is_bounded(tmp_path: Path) -> None:
    telemetry, dice = Telemetry(tmp_path), random.Random(1)
    for index in range(20_000):
        facts = {
            "samples": 1,
            "confidences": [dice.random()],
            "labels": [f"label {index}" * 20],
            "input_mean": [dice.random()],
        }
        telemetry.answered(dice.lognormvariate(0, 4), facts)
    assert len(to_line(telemetry.report(STATE, None, {}))) < 20_000


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"samples": "many", "confidences": "high", "labels": 7, "input_mean": None},
        {
            "samples": -5,
            "confidences": [math.nan, "x", None, True, 2.0],
            "input_mean": [math.inf, [1.0]],
            "labels": [None],
        },
        {"samples": 10**30, "labels": ["x"] * 1_000_000, "confidences": [0.5] * 1_000_000},
    ],
)
def test_facts_that_are_none_are_left_out(tmp_path: Path, facts: dict[str, Any]) -> None:
    telemetry = Telemetry(tmp_path)
    telemetry.answered(math.nan, facts)
    json.loads(to_line(telemetry.report(AgentState(), None, {})))


def test_the_drifts_reference_outlives_a_restart_and_belongs_to_one_release(tmp_path: Path) -> None:
    def settle(telemetry: Telemetry, mean: float, samples: int = 500) -> None:
        dice = random.Random(1)
        for _ in range(samples):
            telemetry.answered(1.0, {"input_mean": [dice.gauss(mean, 1)]})

    telemetry = Telemetry(tmp_path)
    telemetry.follow("a" * 64)
    settle(telemetry, 0.0)
    telemetry.follow("a" * 64)
    assert (tmp_path / REFERENCE_NAME).exists()

    restarted = Telemetry(tmp_path)
    restarted.follow("a" * 64)
    settle(restarted, 3.0)
    assert restarted.report(STATE, None, {})["drift"]["psi"] > 1

    restarted.follow("b" * 64)
    settle(restarted, 3.0)
    settle(restarted, 3.0)
    assert restarted.report(STATE, None, {})["drift"]["psi"] < 0.1

    (tmp_path / REFERENCE_NAME).write_bytes(b'{"format": 1, "bundle_sha256"')
    damaged = Telemetry(tmp_path)
    damaged.follow("b" * 64)
    assert damaged.drift() == (None, None)


def test_places_that_hold_no_signed_release_are_named() -> None:
    assert describe_place(AgentState(), None) is None
    assert describe_place(AgentState(active="factory"), "factory") == {"place": "factory"}


def test_temperatures_are_read_where_there_are_zones(tmp_path: Path) -> None:
    assert read_temperatures(tmp_path) is None
    for index, (name, value) in enumerate(
        (("cpu-thermal", "51234"), ("cpu-thermal", "60000"), ("odd", "x"), ("off", "-274000"))
    ):
        zone = tmp_path / f"thermal_zone{index}"
        zone.mkdir()
        (zone / "type").write_text(f"{name}\n")
        (zone / "temp").write_text(f"{value}\n")
    assert read_temperatures(tmp_path) == {"cpu-thermal": 51.234, "cpu-thermal thermal_zone1": 60.0}


def test_memory_is_that_of_a_process_and_none_where_there_is_none() -> None:
    assert 5 < (resident_mib() or 0) < 5000
    assert resident_mib(2**22 + 1) is None
