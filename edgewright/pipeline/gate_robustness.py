"""What corrupted samples (noise, blur, drift) cost the candidate more than they cost its reference."""

from __future__ import annotations

from edgewright.errors import GateError
from edgewright.pipeline.answers import Question, answer_paired, stated
from edgewright.pipeline.evidence import Corrupted, Evidence, GateLimits
from edgewright.pipeline.gate_quality import ITSELF
from edgewright.pipeline.paired_quality import drop_bounds
from edgewright.pipeline.verdict import Check

_REMEDY = "train with this corruption among the augmentations, less sparsity, or another calibration"


def robustness_checks(evidence: Evidence, limits: GateLimits) -> tuple[Check, ...]:
    """One check per corruption, in their order: the drop against the reference on the same corrupted samples.

    Raises:
        GateError: A margin is set and nothing was corrupted, or predictions do not pair.
    """
    if limits.robustness_margin_points is not None and not evidence.corrupted:
        raise GateError(
            "gate limit robustness_margin_points is set, but no corrupted samples were evaluated; name corruptions, or "
            "leave the limit out"
        )
    return tuple(_check(name, corrupted, evidence, limits) for name, corrupted in evidence.corrupted.items())


def _check(corruption: str, corrupted: Corrupted, evidence: Evidence, limits: GateLimits) -> Check:
    name, margin = f"robust to {corruption}", limits.robustness_margin_points
    if evidence.measured.is_reference:
        return Check(name=name, outcome="pass", samples=len(corrupted.candidate), reason=ITSELF)
    found = drop_bounds(
        evidence.quality,
        corrupted.candidate,
        corrupted.reference,
        corrupted.groups,
        # Without a limit nothing is decided; bounds are then searched from the margin on clean samples.
        limits.margin_points if margin is None else margin,
        limits.confidence_of_each,
        name=f"reference under {corruption}",
    )
    question = Question(name, "drop", "margin", "points", _REMEDY)
    return stated(question, found) if margin is None else answer_paired(question, found, margin)
