"""What the gate looks at and what it holds that against: limits, budgets, measurements, predictions.

Values only. A number that is not finite cannot be put into them: what was not measured is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgewright.errors import GateError
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.statistics import Interval

Pays = Literal["latency", "size"]


@dataclass(frozen=True)
class SliceLimit:
    """How much a part of the samples may lose by itself.

    Attributes:
        by: ``class``, ``group``, or the name of a column that the data carry; every value is a slice.
        margin_points: Largest drop against the reference that is acceptable in each of these slices, in points.

    Raises:
        GateError: There is no name, or the margin is out of range.
    """

    by: str
    margin_points: float

    def __post_init__(self) -> None:
        """Refuse a limit under which the outcome would be undefined."""
        if not self.by:
            raise GateError("slice limit has no name; it goes by class, by group or by a column of the data")
        _check_limit(f"slice by {self.by!r}: margin_points", self.margin_points, 0, 100, "points")


@dataclass(frozen=True, kw_only=True)
class GateLimits:
    """What the recipe asks of the answers.

    Attributes:
        floor_pct: Quality in percent that no release may fall below, whatever it is compared with.
        margin_points: Largest acceptable drop in points.
        confidence: Confidence of a decision, between 0.5 and 1.
        candidates: How many variants are put to the gate for one target, of which any may ship.
        slices: Parts of the samples that each have a margin of their own, in the order in which they are shown.
        agreement_pct: Least share of samples on which candidate and reference decide alike; None asks for none.
        calibration_error_points: Largest acceptable rise of the probabilities' calibration error over the reference's;
            None asks for none.
        robustness_margin_points: Largest acceptable drop against the reference on corrupted samples; None asks for none.

    Raises:
        GateError: A limit is outside of its range, or two slice limits go by the same.
    """

    floor_pct: float
    margin_points: float = 1.0
    confidence: float = 0.95
    candidates: int = 1
    slices: tuple[SliceLimit, ...] = ()
    agreement_pct: float | None = None
    calibration_error_points: float | None = None
    robustness_margin_points: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits under which the outcome would be undefined."""
        object.__setattr__(self, "slices", tuple(self.slices))
        if not 0 <= self.floor_pct <= 100:
            raise GateError(f"gate limit floor_pct is {self.floor_pct}; it must lie between 0 and 100 %")
        if not (isinstance(self.candidates, int) and self.candidates >= 1):
            raise GateError(f"gate limit candidates is {self.candidates}; it must be a whole number, at least 1")
        _check_limit("margin_points", self.margin_points, 0, 100, "points")
        _check_limit("confidence", self.confidence, 0.5, 1, "")
        for name, unit in (
            ("agreement_pct", "%"),
            ("calibration_error_points", "points"),
            ("robustness_margin_points", "points"),
        ):
            value = getattr(self, name)
            if value is not None:
                _check_limit(name, value, 0, 100, unit)
        names = [each.by for each in self.slices]
        if len(set(names)) < len(names):
            raise GateError(f"gate limit slices go by {', '.join(names)}; give each one margin only")

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


@dataclass(frozen=True)
class Answered:
    """What a release answers on today's test samples, which are not those that it was judged on.

    Attributes:
        answers: Its answers on today's.
        judged_on: Digests of the samples that it was judged on.
        bundle_sha256: Which release's bundle answered.
    """

    answers: Predictions
    judged_on: frozenset[str]
    bundle_sha256: str


@dataclass(frozen=True, kw_only=True)
class Corrupted:
    """Answers to the same samples after one corruption, e.g. noise.

    Attributes:
        candidate: Answers of the variant under judgement.
        reference: Answers of the uncompressed model to exactly the same corrupted samples.
        groups: The group of each sample; None where samples stand alone.

    Raises:
        GateError: There is not one group per sample.
    """

    candidate: Predictions
    reference: Predictions
    groups: tuple[str, ...] | None

    def __post_init__(self) -> None:
        """Refuse groups that do not line up with the samples."""
        _check_one_each("corrupted groups", self.groups, len(self.candidate))


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the gate looks at; every ``Predictions`` is over the same test samples in the same order.

    Attributes:
        quality: By which figure answers are judged.
        candidate: Answers of the variant under judgement; with folds, those of all folds together.
        reference: Answers of the uncompressed model of the same training run.
        champion: Answers of the release that devices run today; where samples come in groups, maybe of a part of them.
        baseline: Answers of the pinned baseline.
        measured: Size, latency, memory and providers.
        groups: The group (person, recording) of each sample; None where samples stand alone.
        slices: By ``class`` or by a column's name, the value of each sample. ``group`` need not be given: it is ``groups``.
        corrupted: By corruption, in the order in which they are shown, the answers to corrupted samples.
        judged_on: Digests of the test samples that the champion was judged on, where they are not these; None where they
            are, and where there is no champion.

    Raises:
        GateError: Groups or a slice's values are not one per sample.
    """

    quality: Quality
    candidate: Predictions
    reference: Predictions
    champion: Predictions | NoneYet | Unavailable
    baseline: Predictions | NoneYet | Unavailable
    measured: Measured
    groups: tuple[str, ...] | None
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    corrupted: Mapping[str, Corrupted] = field(default_factory=dict)
    judged_on: frozenset[str] | None = None

    def __post_init__(self) -> None:
        """Refuse what does not line up with the samples."""
        samples = len(self.candidate)
        _check_one_each("groups", self.groups, samples)
        for by, values in self.slices.items():
            _check_one_each(f"slice by {by!r}", values, samples)


def _check_one_each(name: str, values: tuple[str, ...] | None, samples: int) -> None:
    if values is not None and len(values) != samples:
        raise GateError(f"{name}: {len(values)} values for {samples} samples; give one per sample, in their order")


def _check_limit(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not low < value < high:
        raise GateError(f"gate limit {name} is {value}; it must lie between {low} and {high} {unit}".rstrip())


def _check_positive(value: float, name: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise GateError(f"{name} is {value}, not a positive, finite number; measure again, or give None if unmeasured")
