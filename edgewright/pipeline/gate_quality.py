"""What the gate asks of the answers as a whole: against the reference, the champion and the baseline, and the floor."""

from __future__ import annotations

import dataclasses

import numpy as np

from edgewright.errors import GateError
from edgewright.pipeline.answers import Question, answer_paired
from edgewright.pipeline.evidence import Evidence, GateLimits, NoneYet, Unavailable
from edgewright.pipeline.paired_quality import drop_bounds, level_bounds
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.verdict import Check

ITSELF = "is the reference itself: nothing to compare with"


def quality_checks(evidence: Evidence, limits: GateLimits) -> tuple[Check, ...]:
    """Reference, champion, baseline and floor, in this order.

    Raises:
        GateError: Predictions do not pair, or a reference differs from itself.
    """
    return (
        _against_reference(evidence, limits),
        _against_release("champion", evidence.champion, evidence, limits),
        _against_release("baseline", evidence.baseline, evidence, limits),
        _floor(evidence, limits),
    )


def _against_reference(evidence: Evidence, limits: GateLimits) -> Check:
    if not evidence.measured.is_reference:
        remedy = "less sparsity, another calibration, or more fine-tuning"
        return _drop("reference", remedy, evidence.reference, evidence, limits)
    candidate, reference = evidence.candidate, evidence.reference
    if candidate != reference:
        alike = len(candidate) == len(reference) and candidate.sample_sha256 == reference.sample_sha256
        different = int(np.count_nonzero(candidate.predicted != reference.predicted)) if alike else None
        how = "are of different samples" if different is None else f"answer {different} of {len(candidate)} differently"
        raise GateError(
            f"the candidate is said to be the reference, but they {how} (samples, labels and scores count as well); "
            "use one evaluation for both"
        )
    name = f"{evidence.quality.word} against reference"
    return Check(name=name, outcome="pass", samples=len(candidate), reason=ITSELF)


def _against_release(
    name: str, other: Predictions | NoneYet | Unavailable, evidence: Evidence, limits: GateLimits
) -> Check:
    if isinstance(other, Predictions):
        remedy = f"keep the {name}, or train longer or on more data"
        return _drop(name, remedy, other, _where_answered(other, evidence), limits)
    check = f"{evidence.quality.word} against {name}"
    if isinstance(other, NoneYet):
        return Check(name=check, outcome="pass", reason=f"no {name} yet: nothing to compare with")
    return Check(
        name=check,
        outcome="not_measurable",
        limit=limits.margin_points,
        unit="points",
        reason=f"the {name} exists, but its predictions could not be had: {other.reason}",
        remedy=f"make the {name}'s bundle available and evaluate it on this test split",
    )


def _where_answered(other: Predictions, evidence: Evidence) -> Evidence:
    """The evidence on the samples that a release of earlier folds answered, where groups have joined since.

    On those both models' answers are of groups that neither had met. How many groups that leaves, and whether they are
    enough, is for the bounds to say.
    """
    candidate, groups = evidence.candidate, evidence.groups
    position = {digest: index for index, digest in enumerate(candidate.sample_sha256)}
    if groups is None or not len(other) < len(candidate) or not position.keys() >= set(other.sample_sha256):
        return evidence
    shared = np.array([position[digest] for digest in other.sample_sha256], dtype=np.int64)
    return dataclasses.replace(
        evidence,
        candidate=candidate.take(shared),
        reference=evidence.reference.take(shared),
        groups=tuple(groups[index] for index in shared),
        slices={},
        corrupted={},
    )


def _drop(name: str, remedy: str, other: Predictions, evidence: Evidence, limits: GateLimits) -> Check:
    margin, quality = limits.margin_points, evidence.quality
    question = Question(f"{quality.word} against {name}", "drop", "margin", "points", remedy)
    found = drop_bounds(
        quality, evidence.candidate, other, evidence.groups, margin, limits.confidence_of_each, name=name
    )
    return answer_paired(question, found, margin)


def _floor(evidence: Evidence, limits: GateLimits) -> Check:
    word, floor = evidence.quality.word, limits.floor_pct
    question = Question(f"{word} floor", word, "floor", "%", "train longer or on more data", at_most=False)
    found = level_bounds(evidence.quality, evidence.candidate, evidence.groups, floor, limits.confidence_of_each)
    return answer_paired(question, found, floor)
