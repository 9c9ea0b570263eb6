"""What the gate asks of cost: budgets, whether compression pays, and what really ran the model."""

from __future__ import annotations

import math

from edgewright.pipeline.answers import Question, answer, plain, shown
from edgewright.pipeline.evidence import Budgets, Measured, Pays
from edgewright.pipeline.paired_quality import Bounded
from edgewright.pipeline.statistics import Interval
from edgewright.pipeline.verdict import Check

_BENCH = "run `edgewright-agent bench BUNDLE --report out.json` on the device, then `edgewright record-bench out.json`"
_MORE_PROCESSES = "measure over more fresh processes (gate.latency_processes), on an otherwise idle device"
_LATENCY = Question("latency budget", "p95 latency", "budget", "ms", "a smaller variant, or a larger latency budget")
_MEMORY = Question("memory budget", "peak memory", "budget", "MiB", "a smaller variant, or a larger memory budget")
_SPEED = Question(
    "pays latency",
    "speed-up",
    "limit",
    "x",
    "structured pruning, integer types that this target runs fast, or ship the reference",
    at_most=False,
)


def budget_checks(measured: Measured, budgets: Budgets, confidence: float) -> tuple[Check, ...]:
    """Latency, size and memory against what the target can afford."""
    return (
        _budget(_LATENCY, measured.latency_p95_ms, budgets.latency_p95_ms, confidence),
        _size_budget(measured.size_kib, budgets.size_kib),
        _budget(_MEMORY, measured.peak_memory_mib, budgets.peak_memory_mib, confidence),
    )


def pays_checks(measured: Measured, pays: frozenset[Pays], confidence: float) -> tuple[Check, ...]:
    """Whether compression gains what it must gain on this target: latency, size."""
    return _pays_latency(measured, pays, confidence), _pays_size(measured, pays)


def provider_check(measured: Measured) -> Check:
    """What really ran the model, against what the target demands."""
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


def _budget(question: Question, interval: Interval | None, budget: float | None, confidence: float) -> Check:
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
        reason=f"size {shown(size_kib, budget_kib)} KiB; the budget is {plain(budget_kib)}",
        remedy="" if fits else "a smaller variant, or a larger size budget",
    )


def _pays_latency(measured: Measured, pays: frozenset[Pays], confidence: float) -> Check:
    if measured.is_reference:
        return _not_asked(_SPEED, "is the reference itself: nothing has to pay", None)
    if "latency" not in pays:
        return _not_asked(_SPEED, "only size must pay on this target", measured.speedup)
    return _from_interval(_SPEED, measured.speedup, 1.0, confidence)


def _pays_size(measured: Measured, pays: frozenset[Pays]) -> Check:
    name, size, reference = "pays size", measured.size_kib, measured.reference_size_kib
    if measured.is_reference:
        return Check(name=name, outcome="pass", reason="is the reference itself: nothing has to pay")
    smaller = f"size {shown(size, reference)} KiB; the reference has {plain(reference)}"
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


def _not_asked(question: Question, reason: str, interval: Interval | None) -> Check:
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
        reason=f"{reason} ({question.word} {plain(interval.point)} {question.unit})",
    )


def _from_interval(question: Question, interval: Interval | None, limit: float, confidence: float) -> Check:
    """Hold a measured interval against its limit; an interval less sure than was asked for decides nothing."""
    if interval is None:
        reason = f"{question.word} was not measured on this target; the {question.limit_word} is {plain(limit)}"
        return Check(
            name=question.name,
            outcome="not_measurable",
            limit=limit,
            unit=question.unit,
            reason=f"{reason} {question.unit}",
            remedy=_BENCH,
        )
    each = interval.confidence_of_each_bound
    if each < confidence - 1e-9:
        # All of m independent measurements lie above (or below) their median with probability 2^-m.
        least = math.ceil(-math.log2(1 - confidence))
        bounds = Bounded(interval.point, interval.low, interval.high, each, needed=least)
        remedy = f"measure over at least {least} fresh processes (gate.latency_processes)"
        return answer(question, bounds, limit, "not_measurable", remedy, f"{100 * confidence:.4g} % is asked for")
    bounds = Bounded(interval.point, interval.low, interval.high, each)
    return answer(question, bounds, limit, question.outcome(bounds.low, bounds.high, limit), _MORE_PROCESSES)
