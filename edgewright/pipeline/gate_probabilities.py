"""Whether a compressed classifier is still as sure as it is right: the calibration error of its probabilities."""

from __future__ import annotations

from edgewright.errors import GateError
from edgewright.pipeline.answers import Question, answer_paired, stated
from edgewright.pipeline.evidence import Evidence, GateLimits
from edgewright.pipeline.gate_quality import ITSELF
from edgewright.pipeline.probability_calibration import rise_bounds
from edgewright.pipeline.verdict import Check

NAME = "probability calibration"
_QUESTION = Question(
    NAME, "rise of calibration error", "limit", "points", "distillation, another calibration, or less sparsity"
)


def probability_check(evidence: Evidence, limits: GateLimits) -> Check:
    """Hold the rise of the calibration error over the reference's against its limit; without one, state it.

    Raises:
        GateError: A limit is set where answers are no probabilities.
    """
    limit, candidate, reference = limits.calibration_error_points, evidence.candidate, evidence.reference
    if evidence.quality.metric not in ("accuracy", "balanced_accuracy"):
        if limit is not None:
            raise GateError(
                f"gate limit calibration_error_points: answers that are judged by {evidence.quality.word} are no "
                "probabilities; leave it out"
            )
        return Check(name=NAME, outcome="pass", reason="answers are no probabilities: nothing to calibrate")
    if evidence.measured.is_reference:
        return Check(name=NAME, outcome="pass", samples=len(candidate), reason=ITSELF)
    if candidate.score is None or reference.score is None:
        return _without_scores(limit)
    found = rise_bounds(candidate, reference, evidence.groups, limits.confidence_of_each, limit)
    return stated(_QUESTION, found) if limit is None else answer_paired(_QUESTION, found, limit)


def _without_scores(limit: float | None) -> Check:
    """Releases from before probabilities were kept have none, and no limit either."""
    reason = "no probabilities were kept with the answers"
    if limit is None:
        return Check(name=NAME, outcome="pass", reason=f"{reason}: not asked")
    return Check(
        name=NAME,
        outcome="not_measurable",
        limit=limit,
        unit="points",
        reason=reason,
        remedy="evaluate candidate and reference again with this version",
    )
