"""What the gate looks at and what it holds that against: limits, budgets, measurements, predictions.

Values only. A number that is not finite cannot be put into them: what was not measured is None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgewright.errors import GateError
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.statistics import Interval

Pays = Literal["latency", "size"]


@dataclass(frozen=True, kw_only=True)
class GateLimits:
    """What the recipe asks of accuracy.

    Attributes:
        accuracy_floor_pct: Accuracy in percent that no release may fall below, whatever it is compared with.
        margin_points: Largest drop in points (percent of the samples) that is acceptable.
        confidence: Confidence of a decision, between 0.5 and 1.
        candidates: How many variants are put to the gate for one target, of which any may ship.

    Raises:
        GateError: A limit is outside of its range.
    """

    accuracy_floor_pct: float
    margin_points: float = 1.0
    confidence: float = 0.95
    candidates: int = 1

    def __post_init__(self) -> None:
        """Refuse limits under which the outcome would be undefined."""
        for name, value, fits in (
            ("accuracy_floor_pct", self.accuracy_floor_pct, 0 <= self.accuracy_floor_pct <= 100),
            ("margin_points", self.margin_points, 0 < self.margin_points < 100),
            ("confidence", self.confidence, 0.5 < self.confidence < 1),
            ("candidates", self.candidates, isinstance(self.candidates, int) and self.candidates >= 1),
        ):
            if not fits:
                raise GateError(
                    f"gate limit {name} is {value}; it must be: floor 0 to 100 %, margin between 0 and 100 points, "
                    "confidence between 0.5 and 1, candidates at least 1"
                )

    @property
    def confidence_of_each(self) -> float:
        """Confidence at which each candidate is tested, so that the release keeps ``confidence``."""
        return 1 - (1 - self.confidence) / self.candidates


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """What the target can afford; None where it sets no budget.

    Attributes:
        latency_p95_ms: 95th percentile of the latency of one run, milliseconds.
        size_kib: Size of the model's file, KiB.
        peak_memory_mib: Peak resident memory of a fresh process that runs the model, MiB.

    Raises:
        GateError: A budget is not a positive, finite number.
    """

    latency_p95_ms: float | None = None
    size_kib: float | None = None
    peak_memory_mib: float | None = None

    def __post_init__(self) -> None:
        """Refuse budgets that nothing or everything meets."""
        for name in ("latency_p95_ms", "size_kib", "peak_memory_mib"):
            value = getattr(self, name)
            if value is not None:
                _check_positive(value, f"budget {name}")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of the candidate on its target; None where it was not.

    Attributes:
        size_kib: Size of the candidate's model file, KiB.
        reference_size_kib: Size of the reference's model file, KiB.
        latency_p95_ms: 95th percentile of the latency, milliseconds, over fresh processes.
        speedup: Reference's latency over the candidate's, over interleaved fresh processes; above 1 is faster.
        peak_memory_mib: Peak resident memory, MiB, over fresh processes.
        providers_in_use: Execution providers that really ran the model.
        required_provider: Provider that the target demands; None where any will do.
        is_reference: The candidate is the reference itself.

    Raises:
        GateError: A size is not a positive, finite number, or a measured interval reaches below zero.
    """

    size_kib: float
    reference_size_kib: float
    latency_p95_ms: Interval | None
    speedup: Interval | None
    peak_memory_mib: Interval | None
    providers_in_use: tuple[str, ...]
    required_provider: str | None
    is_reference: bool

    def __post_init__(self) -> None:
        """Refuse figures that no measurement gives."""
        _check_positive(self.size_kib, "size_kib")
        _check_positive(self.reference_size_kib, "reference_size_kib")
        for name in ("latency_p95_ms", "speedup", "peak_memory_mib"):
            interval: Interval | None = getattr(self, name)
            if interval is not None:
                _check_positive(interval.low, f"lower bound of {name}")


@dataclass(frozen=True)
class NoneYet:
    """There is no such release yet: nothing to compare with."""


@dataclass(frozen=True)
class Unavailable:
    """The release exists, but its predictions on this split could not be had.

    Attributes:
        reason: Why, for the verdict.
    """

    reason: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the gate looks at; every ``Predictions`` is over the same test samples in the same order.

    Attributes:
        candidate: Answers of the variant under judgement.
        reference: Answers of the uncompressed model of the same training run.
        champion: Answers of the release that devices run today.
        baseline: Answers of the pinned baseline.
        measured: Size, latency, memory and providers.
    """

    candidate: Predictions
    reference: Predictions
    champion: Predictions | NoneYet | Unavailable
    baseline: Predictions | NoneYet | Unavailable
    measured: Measured


def _check_positive(value: float, name: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise GateError(f"{name} is {value}, not a positive, finite number; measure again, or give None if unmeasured")
