"""How often candidate and reference decide alike: two models of one accuracy may still be two different models.

Whoever built rules or habits around the reference's answers meets every decision that changed, also those that were
wrong before.
"""

from __future__ import annotations

from edgewright.errors import GateError
from edgewright.pipeline.answers import Question, answer_paired, stated
from edgewright.pipeline.evidence import Evidence, GateLimits
from edgewright.pipeline.gate_quality import ITSELF
from edgewright.pipeline.paired_quality import level_bounds
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.verdict import Check

NAME = "agreement with reference"
_QUESTION = Question(
    NAME, "agreement", "limit", "%", "less sparsity, another calibration, or distillation", at_most=False
)


def agreement_check(evidence: Evidence, limits: GateLimits) -> Check:
    """Hold the share of equal decisions against its limit; without one, state it.

    Raises:
        GateError: A limit is set for a regression.
    """
    limit, candidate, reference = limits.agreement_pct, evidence.candidate, evidence.reference
    if evidence.quality.metric == "skill":
        if limit is not None:
            raise GateError(
                "gate limit agreement_pct: a regression decides nothing that could agree; leave it out, or set "
                "margin_points"
            )
        return Check(name=NAME, outcome="pass", reason="a regression has no decisions that could agree")
    if evidence.measured.is_reference:
        return Check(name=NAME, outcome="pass", samples=len(candidate), reason=ITSELF)
    # Agreement is the accuracy of the candidate where the reference's answers are taken for the truth.
    alike = Predictions(candidate.sample_sha256, reference.predicted, candidate.predicted)
    found = level_bounds(
        Quality("accuracy"), alike, evidence.groups, 0.0 if limit is None else limit, limits.confidence_of_each
    )
    return stated(_QUESTION, found) if limit is None else answer_paired(_QUESTION, found, limit)
