"""The gate: (candidate, reference, champion, baseline, measurements, limits) -> Verdict.

A pure function: no files, no clock, no registry. Verdicts under the same limits have the same checks in the same order,
so that two of them can be read side by side; a check with nothing to ask passes and says why. What was needed and was
not measured is ``not_measurable``, never fine.

Risk: a release passes only if all of its checks do, so several checks need no correction. Where any of k variants may
ship for a target, each is tested at 1/k of the risk, or the release would pass falsely up to k times as often as asked.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import get_args

from edgewright.errors import GateError
from edgewright.pipeline.evidence import Budgets, Evidence, GateLimits, Pays
from edgewright.pipeline.gate_agreement import agreement_check
from edgewright.pipeline.gate_costs import budget_checks, pays_checks, provider_check
from edgewright.pipeline.gate_probabilities import probability_check
from edgewright.pipeline.gate_quality import quality_checks
from edgewright.pipeline.gate_robustness import robustness_checks
from edgewright.pipeline.gate_slices import slice_checks
from edgewright.pipeline.verdict import Check, Verdict, outcome_of
from edgewright.pipeline.waiver import Waiver


def judge(
    evidence: Evidence,
    limits: GateLimits,
    budgets: Budgets,
    pays: frozenset[Pays],
    *,
    model: str,
    target: str,
    variant: str,
    waivers: Sequence[Waiver] = (),
) -> Verdict:
    """Judge one variant on one target.

    Args:
        evidence: Answers and measurements.
        limits: What the recipe asks of the answers.
        budgets: The target's budgets.
        pays: What compression must gain on this target: ``latency``, ``size`` or both.
        model: Name of the model, for the verdict.
        target: Name of the target, for the verdict.
        variant: Name of the variant, for the verdict.
        waivers: Checks that a person lets not stand in the way; each must be one that does.

    Returns:
        The verdict. Its checks, in this order: reference, champion (on all test samples, then on those that it was judged
        on), baseline, floor, slices, agreement, probability calibration, robustness, budgets, pays, provider. It depends
        on nothing but the arguments.

    Raises:
        GateError: Predictions do not pair, a reference differs from itself, ``pays`` is empty or unknown, a limit asks
            for what the evidence lacks, two checks have one name, or a waiver is for no check that stands in the way.
    """
    if not pays or not pays <= set(get_args(Pays)):
        raise GateError(f"{target}: pays is {sorted(pays)}; name latency, size or both in the targets file")
    measured, confidence = evidence.measured, limits.confidence_of_each
    checks = (
        *quality_checks(evidence, limits),
        *slice_checks(evidence, limits),
        agreement_check(evidence, limits),
        probability_check(evidence, limits),
        *robustness_checks(evidence, limits),
        *budget_checks(measured, budgets, confidence),
        *pays_checks(measured, pays, confidence),
        provider_check(measured),
    )
    _check_names(checks)
    checks = _waived(checks, waivers)
    return Verdict(model, target, variant, outcome_of(checks), checks)


def _check_names(checks: tuple[Check, ...]) -> None:
    """A waiver names its check: of two with one name it would be for either."""
    twice = [name for name, count in Counter(check.name for check in checks).items() if count > 1]
    if twice:
        raise GateError(f"two checks are named {twice[0]!r}; rename the column or the corruption behind one of them")


def _waived(checks: tuple[Check, ...], waivers: Sequence[Waiver]) -> tuple[Check, ...]:
    waiver_of: dict[str, Waiver] = {}
    in_the_way = [check.name for check in checks if check.outcome != "pass"]
    for waiver in waivers:
        if waiver.check in waiver_of:
            raise GateError(f"check {waiver.check!r} is waived twice; one person and one reason answer for it")
        if waiver.check not in in_the_way:
            known = any(check.name == waiver.check for check in checks)
            what = "passed: there is nothing to waive" if known else "does not exist"
            raise GateError(
                f"waiver by {waiver.person}: check {waiver.check!r} {what}. Checks that did not pass: "
                f"{', '.join(in_the_way) or 'none'}"
            )
        waiver_of[waiver.check] = waiver
    return tuple(
        dataclasses.replace(check, waiver=waiver_of[check.name]) if check.name in waiver_of else check
        for check in checks
    )
