from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.bench_report import BenchReport, parse_report
from edgewright.errors import BundleError, EngineError
from edgewright.golden import GoldenReplay
from edgewright.measurement import Measurement, ProcessFigures, speedup
from edgewright.strict_json import dump_json

positive = st.floats(1e-6, 1e6)
figures = st.builds(
    ProcessFigures, positive, positive, positive, positive, positive, positive, positive, st.integers(1, 10**6)
)


def measurement(*latencies_ms: float) -> Measurement:
    processes = tuple(
        ProcessFigures(ms, ms * 2, ms * 3, ms, 5.0, 50.0 + i, 100.0, 10) for i, ms in enumerate(latencies_ms)
    )
    return Measurement("onnxruntime", "1.0", ("CPUExecutionProvider",), 1, processes)


def report(**changes: Any) -> BenchReport:
    fields: dict[str, Any] = {
        "bundle_sha256": "a" * 64,
        "model": "digits",
        "target": "pi5-arm64",
        "variant": "i8",
        "build": "b1",
        "platform": "linux/arm64",
        "cpu_model": "Cortex",
        "golden": GoldenReplay(16, 16, 0.01, 0.12, 3),
        "measurement": measurement(1.0, 2.0, 3.0),
        "reference_sha256": "b" * 64,
        "reference": measurement(4.0, 4.0, 9.0),
    }
    return BenchReport(**{**fields, **changes})


def test_figures_are_medians_over_processes_and_memory_is_the_greatest() -> None:
    found = measurement(3.0, 1.0, 2.0)
    assert (found.latency_p50_ms, found.latency_p95_ms, found.latency_p99_ms) == (2.0, 4.0, 6.0)
    assert found.peak_memory_mib == 52.0


@given(st.lists(figures, min_size=1, max_size=5))
def test_a_measurement_survives_json(processes: list[ProcessFigures]) -> None:
    found = Measurement("onnxruntime", "1.0", ("A", "B"), 4, tuple(processes))
    assert Measurement.from_json(json.loads(dump_json(found.to_json()))) == found


def test_speed_ups_are_per_round() -> None:
    assert speedup(measurement(4.0, 4.0), measurement(1.0, 2.0)) == (4.0, 2.0)
    with pytest.raises(EngineError, match="2 and 1 processes"):
        speedup(measurement(1.0, 1.0), measurement(1.0))


@pytest.mark.parametrize("changes", [{}, {"reference": None, "reference_sha256": None}])
def test_a_report_survives_its_own_bytes(changes: dict[str, Any]) -> None:
    written = report(**changes)
    assert parse_report(written.to_bytes(), "r") == written
    assert parse_report(written.to_bytes(), "r").to_bytes() == written.to_bytes()


def test_a_report_gives_the_speed_up_of_its_rounds() -> None:
    assert report().speedup_rounds == (4.0, 2.0, 3.0)
    assert report().speedup_x == 3.0
    assert report(reference=None).speedup_x is None


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        (("format_version",), 2, "newer"),
        (("bundle_sha256",), "x", "64 hexadecimal"),
        (("golden", "agreeing"), 17, "agreeing"),
        (("measurement", "summary", "latency_p95_ms"), 0.1, "the medians of the processes"),
        (("measurement", "processes", 0, "latency_p50_ms"), -1, "0 or more"),
        (("reference", "speedup_x"), 99, "median"),
        (("reference", "speedup_rounds", 0), 99, "speedup_rounds"),
        (("note",), "hi", "unknown key"),
    ],
)
def test_a_report_that_contradicts_itself_is_refused(path: Any, value: object, rule: str) -> None:
    tree = json.loads(report().to_bytes())
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(BundleError, match=rule):
        parse_report(dump_json(tree), "r")


def test_a_report_measured_in_other_rounds_is_refused() -> None:
    tree = json.loads(report().to_bytes())
    tree["reference"]["measurement"] = measurement(1.0).to_json()
    with pytest.raises(BundleError, match="same rounds"):
        parse_report(dump_json(tree), "r")
