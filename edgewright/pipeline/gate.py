"""The gate: (candidate, reference, champion, baseline, measurements, limits) -> Verdict.

A pure function: no files, no clock, no registry. Every verdict has the same ten checks in the same order, so that two
of them can be read side by side; a check with nothing to ask passes and says why. What was needed and was not measured
is ``not_measurable``, never fine.

Risk: a release passes only if all of its checks do, so several checks need no correction. Where any of k variants may
ship for a target, each is tested at 1/k of the risk, or the release would pass falsely up to k times as often as asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from edgewright.errors import GateError
from edgewright.pipeline.evidence import Budgets, Evidence, GateLimits, Measured, NoneYet, Pays, Unavailable
from edgewright.pipeline.predictions import Predictions, pair
from edgewright.pipeline.statistics import (
    Interval,
    PairedCounts,
    accuracy_lower_bound,
    accuracy_upper_bound,
    drop_interval,
    samples_to_decide,
    samples_to_decide_accuracy,
)
from edgewright.pipeline.verdict import Check, Outcome, Verdict, outcome_of

__all__ = ["Budgets", "Evidence", "GateLimits", "Interval", "Measured", "NoneYet", "Pays", "Unavailable", "judge"]

_BENCH = "run `edgewright-agent bench BUNDLE --report out.json` on the device, then `edgewright record-bench out.json`"
_MORE_PROCESSES = "measure over more fresh processes, on an otherwise idle device"


def judge(
    evidence: Evidence,
    limits: GateLimits,
    budgets: Budgets,
    pays: frozenset[Pays],
    *,
    model: str,
    target: str,
    variant: str,
) -> Verdict:
    """Judge one variant on one target.

    Args:
        evidence: Predictions and measurements.
        limits: The recipe's margin, confidence and floor.
        budgets: The target's budgets.
        pays: What compression must gain on this target: ``latency``, ``size`` or both.
        model: Name of the model, for the verdict.
        target: Name of the target, for the verdict.
        variant: Name of the variant, for the verdict.

    Returns:
        The verdict with its ten checks; it depends on nothing but the arguments.

    Raises:
        GateError: Predictions do not pair, ``pays`` is empty or unknown, or a reference differs from itself.
    """
    if not pays or not pays <= set(get_args(Pays)):
        raise GateError(f"{target}: pays is {sorted(pays)}; name latency, size or both in the targets file")
    measured, confidence = evidence.measured, limits.confidence_of_each
    latency = _Question(
        "latency budget", "p95 latency", "budget", "ms", "a smaller variant, or a larger latency budget"
    )
    memory = _Question("memory budget", "peak memory", "budget", "MiB", "a smaller variant, or a larger memory budget")
    checks = (
        _against_reference(evidence, limits),
        _against_release("champion", evidence.candidate, evidence.champion, limits),
        _against_release("baseline", evidence.candidate, evidence.baseline, limits),
        _accuracy_floor(evidence.candidate, limits),
        _budget(latency, measured.latency_p95_ms, budgets.latency_p95_ms, confidence),
        _size_budget(measured.size_kib, budgets.size_kib),
        _budget(memory, measured.peak_memory_mib, budgets.peak_memory_mib, confidence),
        _pays_latency(measured, pays, confidence),
        _pays_size(measured, pays),
        _provider(measured),
    )
    return Verdict(model, target, variant, outcome_of(checks), checks)


@dataclass(frozen=True)
class _Question:
    """What a check asks: ``word`` of ``name``, held against its ``limit_word``, in ``unit``."""

    name: str
    word: str
    limit_word: str
    unit: str
    remedy_of_failure: str
    at_most: bool = True


@dataclass(frozen=True)
class _Bounds:
    """A figure with bounds that each hold with ``confidence``, in the question's unit."""

    figure: float
    low: float
    high: float
    confidence: float
    samples: int | None = None


def _against_reference(evidence: Evidence, limits: GateLimits) -> Check:
    counts = pair(evidence.candidate, evidence.reference, "reference")
    if not evidence.measured.is_reference:
        return _drop("reference", "less sparsity, another calibration, or more fine-tuning", counts, limits)
    if evidence.candidate != evidence.reference:
        different = int((evidence.candidate.predicted != evidence.reference.predicted).sum())
        raise GateError(
            f"the candidate is said to be the reference, but they answer {different} of {counts.samples} samples "
            "differently; use one evaluation for both"
        )
    reason = "is the reference itself: nothing to compare with"
    return Check(name="accuracy against reference", outcome="pass", samples=counts.samples, reason=reason)


def _against_release(
    name: str, candidate: Predictions, other: Predictions | NoneYet | Unavailable, limits: GateLimits
) -> Check:
    if isinstance(other, Predictions):
        return _drop(name, f"keep the {name}, or train longer or on more data", pair(candidate, other, name), limits)
    if isinstance(other, NoneYet):
        reason = f"no {name} yet: nothing to compare with"
        return Check(name=f"accuracy against {name}", outcome="pass", reason=reason)
    return Check(
        name=f"accuracy against {name}",
        outcome="not_measurable",
        limit=limits.margin_points,
        unit="points",
        reason=f"the {name} exists, but its predictions could not be had: {other.reason}",
        remedy=f"make the {name}'s bundle available and evaluate it on this test split",
    )


def _drop(name: str, remedy: str, counts: PairedCounts, limits: GateLimits) -> Check:
    margin, confidence = limits.margin_points / 100, limits.confidence_of_each
    interval = drop_interval(counts, confidence, margin)
    low, high = 100 * interval.low, 100 * interval.high
    outcome: Outcome = "not_measurable"
    # Turning shares into points must not move a bound across the margin.
    if interval.high <= margin:
        outcome, high = "pass", min(high, limits.margin_points)
    elif interval.low >= margin:
        outcome, low = "fail", max(low, limits.margin_points)
    needed = samples_to_decide(counts, margin, confidence) if outcome == "not_measurable" else None
    question = _Question(f"accuracy against {name}", "drop", "margin", "points", remedy)
    bounds = _Bounds(100 * counts.drop, low, high, confidence, counts.samples)
    return _answer(question, bounds, limits.margin_points, outcome, _more_samples(needed), needed)


def _accuracy_floor(candidate: Predictions, limits: GateLimits) -> Check:
    samples, correct = len(candidate), int(candidate.correct.sum())
    floor, confidence = limits.accuracy_floor_pct, limits.confidence_of_each
    low = 100 * accuracy_lower_bound(correct, samples, confidence)
    high = 100 * accuracy_upper_bound(correct, samples, confidence)
    question = _Question("accuracy floor", "accuracy", "floor", "%", "train longer or on more data", at_most=False)
    outcome = _outcome(question, low, high, floor)
    open_question = outcome == "not_measurable"
    needed = samples_to_decide_accuracy(correct, samples, floor / 100, confidence) if open_question else None
    bounds = _Bounds(candidate.accuracy_pct, low, high, confidence, samples)
    return _answer(question, bounds, floor, outcome, _more_samples(needed), needed)


def _budget(question: _Question, interval: Interval | None, budget: float | None, confidence: float) -> Check:
    if budget is None:
        return _not_asked(question, "the target sets no budget", interval)
    return _from_interval(question, interval, budget, confidence)


def _size_budget(size_kib: float, budget_kib: float | None) -> Check:
    name = "size budget"
    if budget_kib is None:
        return Check(name=name, outcome="pass", figure=size_kib, unit="KiB", reason="the target sets no budget")
    fits = size_kib <= budget_kib
    return Check(
        name=name,
        outcome="pass" if fits else "fail",
        figure=size_kib,
        limit=budget_kib,
        unit="KiB",
        reason=f"size {_shown(size_kib, budget_kib)} KiB; the budget is {_plain(budget_kib)}",
        remedy="" if fits else "a smaller variant, or a larger size budget",
    )


def _pays_latency(measured: Measured, pays: frozenset[Pays], confidence: float) -> Check:
    remedy = "structured pruning, integer types that this target runs fast, or ship the reference"
    question = _Question("pays latency", "speed-up", "limit", "x", remedy, at_most=False)
    if measured.is_reference:
        return _not_asked(question, "is the reference itself: nothing has to pay", None)
    if "latency" not in pays:
        return _not_asked(question, "only size must pay on this target", measured.speedup)
    return _from_interval(question, measured.speedup, 1.0, confidence)


def _pays_size(measured: Measured, pays: frozenset[Pays]) -> Check:
    name, size, reference = "pays size", measured.size_kib, measured.reference_size_kib
    if measured.is_reference:
        return Check(name=name, outcome="pass", reason="is the reference itself: nothing has to pay")
    smaller = f"size {_shown(size, reference)} KiB; the reference has {_plain(reference)}"
    if "size" not in pays:
        reason = f"only latency must pay on this target ({smaller})"
        return Check(name=name, outcome="pass", figure=size, unit="KiB", reason=reason)
    return Check(
        name=name,
        outcome="pass" if size < reference else "fail",
        figure=size,
        limit=reference,
        unit="KiB",
        reason=smaller,
        remedy="" if size < reference else "a variant that is smaller than the reference, or ship the reference",
    )


def _provider(measured: Measured) -> Check:
    ran, required = ", ".join(measured.providers_in_use) or "nothing", measured.required_provider
    if required is not None and measured.providers_in_use and required not in measured.providers_in_use:
        reason = f"ran on {ran}; the target demands {required}"
        remedy = f"install an engine that has {required}, or drop the demand from the targets file"
        return Check(name="provider", outcome="fail", reason=reason, remedy=remedy)
    if not measured.providers_in_use:
        reason = "no execution provider was recorded for the model"
        return Check(name="provider", outcome="not_measurable", reason=reason, remedy=_BENCH)
    demand = "" if required is None else ", as the target demands"
    return Check(name="provider", outcome="pass", reason=f"ran on {ran}{demand}")


def _not_asked(question: _Question, reason: str, interval: Interval | None) -> Check:
    if interval is None:
        return Check(name=question.name, outcome="pass", unit=question.unit, reason=reason)
    return Check(
        name=question.name,
        outcome="pass",
        figure=interval.point,
        unit=question.unit,
        low=interval.low,
        high=interval.high,
        confidence=interval.confidence_of_each_bound,
        reason=f"{reason} ({question.word} {_plain(interval.point)} {question.unit})",
    )


def _from_interval(question: _Question, interval: Interval | None, limit: float, confidence: float) -> Check:
    """Hold a measured interval against its limit; an interval less sure than was asked for decides nothing."""
    if interval is None:
        reason = f"{question.word} was not measured on this target; the {question.limit_word} is {_plain(limit)}"
        return Check(
            name=question.name,
            outcome="not_measurable",
            limit=limit,
            unit=question.unit,
            reason=f"{reason} {question.unit}",
            remedy=_BENCH,
        )
    each = interval.confidence_of_each_bound
    bounds = _Bounds(interval.point, interval.low, interval.high, each)
    if each < confidence - 1e-9:
        # All of m independent measurements lie above (or below) their median with probability 2^-m.
        least = math.ceil(-math.log2(1 - confidence))
        remedy = f"measure over at least {least} fresh processes"
        return _answer(
            question, bounds, limit, "not_measurable", remedy, least, f"{100 * confidence:.4g} % is asked for"
        )
    return _answer(question, bounds, limit, _outcome(question, bounds.low, bounds.high, limit), _MORE_PROCESSES)


def _outcome(question: _Question, low: float, high: float, limit: float) -> Outcome:
    if question.at_most:
        return "pass" if high <= limit else "fail" if low > limit else "not_measurable"
    return "pass" if low >= limit else "fail" if high < limit else "not_measurable"


def _answer(
    question: _Question,
    bounds: _Bounds,
    limit: float,
    outcome: Outcome,
    remedy_of_doubt: str,
    needed: int | None = None,
    doubt: str = "",
) -> Check:
    low, high = _shown(bounds.low, limit), _shown(bounds.high, limit)
    if outcome == "not_measurable":
        said = f"between {low} and {high}, each bound"
    else:
        said = f"at most {high}" if (outcome == "pass") == question.at_most else f"at least {low}"
    reason = (
        f"{question.word} {_shown(bounds.figure, limit)} {question.unit}, {said} with {100 * bounds.confidence:.4g} % "
        f"confidence; the {question.limit_word} is {_plain(limit)}"
    )
    return Check(
        name=question.name,
        outcome=outcome,
        figure=bounds.figure,
        limit=limit,
        unit=question.unit,
        low=bounds.low,
        high=bounds.high,
        confidence=bounds.confidence,
        samples=bounds.samples,
        samples_needed=needed,
        reason=f"{reason}; {doubt}" if doubt else reason,
        remedy={"pass": "", "fail": question.remedy_of_failure, "not_measurable": remedy_of_doubt}[outcome],
    )


def _more_samples(needed: int | None) -> str:
    if needed is None:
        return "the observed figure is at its limit, where more samples hardly decide: change the variant or the limit"
    return f"evaluate on about {needed:,} samples: that many would decide at the same rates"


def _plain(value: float) -> str:
    return f"{value:.2f}"


def _shown(value: float, limit: float) -> str:
    """Two decimals, or as many more as it takes to tell the value from its limit."""
    for decimals in range(2, 6):
        text = f"{value:.{decimals}f}"
        if value == limit or text != f"{limit:.{decimals}f}":
            return text
    return f"{value:.6f}"
