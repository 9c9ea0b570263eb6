"""The gate's evidence and limits: values that cannot hold what nothing could be decided by."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgewright.errors import GateError
from edgewright.pipeline.evidence import Budgets, Corrupted, Evidence, GateLimits, NoneYet, SliceLimit
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.statistics import Interval
from gate_evidence import UNMEASURED

ANSWERS = Predictions(tuple(f"{index:064x}" for index in range(3)), np.zeros(3, np.int64), np.zeros(3, np.int64))


def evidence(**changes: Any) -> Evidence:
    values: dict[str, Any] = {"quality": Quality("accuracy"), "candidate": ANSWERS, "reference": ANSWERS}
    values |= {"champion": NoneYet(), "baseline": NoneYet(), "measured": UNMEASURED, "groups": None}
    return Evidence(**{**values, **changes})


class TestLimits:
    """A limit outside of its range would leave the outcome undefined."""

    @pytest.mark.parametrize(
        "limits",
        [
            {"floor_pct": 101},
            {"floor_pct": float("nan")},
            {"margin_points": 0},
            {"margin_points": float("nan")},
            {"confidence": 1.0},
            {"confidence": 0.5},
            {"candidates": 0},
            {"candidates": 1.5},
            {"agreement_pct": 0},
            {"agreement_pct": 100},
            {"calibration_error_points": 0},
            {"robustness_margin_points": -1},
        ],
    )
    def test_out_of_range_is_refused_by_name_and_value(self, limits: dict[str, Any]) -> None:
        ((name, value),) = limits.items()
        with pytest.raises(GateError, match=f"gate limit {name} is {value}"):
            GateLimits(**{"floor_pct": 50, **limits})

    @pytest.mark.parametrize(("by", "margin"), [("", 3), ("class", 0), ("class", 100), ("class", float("nan"))])
    def test_so_is_a_slice_without_name_or_margin(self, by: str, margin: float) -> None:
        with pytest.raises(GateError, match="slice"):
            SliceLimit(by, margin)

    def test_a_slice_has_one_margin(self) -> None:
        with pytest.raises(GateError, match="class, class; give each one margin only"):
            GateLimits(floor_pct=50, slices=(SliceLimit("class", 3), SliceLimit("class", 5)))


class TestFigures:
    """No number that is not one gets as far as a verdict."""

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0])
    @pytest.mark.parametrize("field", ["size_kib", "reference_size_kib"])
    def test_sizes(self, field: str, bad: float) -> None:
        with pytest.raises(GateError, match=field):
            dataclasses.replace(UNMEASURED, **{field: bad})

    @pytest.mark.parametrize("field", ["latency_p95_ms", "speedup", "peak_memory_mib"])
    def test_intervals(self, field: str) -> None:
        with pytest.raises(GateError, match=f"lower bound of {field} is -1.0"):
            dataclasses.replace(UNMEASURED, **{field: Interval(1.0, -1.0, 2.0, 0.95)})

    @pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_budget_that_nothing_or_everything_meets(self, bad: float) -> None:
        with pytest.raises(GateError, match="budget size_kib"):
            Budgets(size_kib=bad)


class TestOnePerSample:
    """What does not line up with the samples would slice or group others."""

    def test_groups(self) -> None:
        with pytest.raises(GateError, match="groups: 2 values for 3 samples"):
            evidence(groups=("ada", "ben"))

    def test_slices(self) -> None:
        with pytest.raises(GateError, match="slice by 'shift': 4 values for 3 samples"):
            evidence(slices={"shift": ("day",) * 4})

    def test_groups_of_corrupted_samples(self) -> None:
        with pytest.raises(GateError, match="corrupted groups: 1 values for 3 samples"):
            Corrupted(candidate=ANSWERS, reference=ANSWERS, groups=("ada",))
