"""The variant table on a flow run's page: rounded for people, honest about what was not measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from edgewright.pipeline.summary import VariantSummary

FIGURES = {"accuracy_pct": 98.12345, "accuracy_drop_points": 0.12345, "size_kib": 96.6}


def row(metrics: dict[str, float], outcome: Any = None, said: str = "pass") -> dict[str, Any]:
    from tasks.page import _row

    build: Any = SimpleNamespace(quality="accuracy", quality_key="accuracy")
    target: Any = SimpleNamespace(chosen="i8" if outcome else "p50", verdict=SimpleNamespace(said=said))
    return _row(build, target, VariantSummary("i8", "run", metrics, 97.0, 99.0, 0.3, "CPUExecutionProvider", outcome))


def test_a_row_of_a_variant_that_was_measured_here() -> None:
    assert row({**FIGURES, "latency_p95_ms": 0.12345, "speedup_x": 4.567}, "pass") == {
        "variant": "i8 (chosen)",
        "accuracy %": 98.12,
        "drop points": 0.12,
        "size KiB": 97,
        "p95 ms": 0.123,
        "speed-up": 4.57,
        "on": "CPUExecutionProvider",
        "verdict": "pass",
    }


def test_what_was_not_measured_is_no_zero() -> None:
    shown = row(FIGURES)
    assert (shown["p95 ms"], shown["speed-up"]) == ("not measured", "not measured")
    assert shown["verdict"] == "not put to the gate"


def test_a_waiver_is_said_where_the_verdict_is() -> None:
    assert row(FIGURES, "pass", "pass (1 check waived by anna)")["verdict"] == "pass (1 check waived by anna)"
