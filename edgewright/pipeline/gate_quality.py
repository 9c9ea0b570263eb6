"""What the gate asks of the answers as a whole: against the reference, the champion and the baseline, and the floor."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgewright.errors import GateError
from edgewright.pipeline.answers import Question, answer_paired
from edgewright.pipeline.evidence import Evidence, GateLimits, NoneYet, Unavailable
from edgewright.pipeline.paired_quality import drop_bounds, level_bounds
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.verdict import Check

ITSELF = "is the reference itself: nothing to compare with"


def quality_checks(evidence: Evidence, limits: GateLimits) -> tuple[Check, ...]:
    """Reference, champion, champion on earlier test samples, baseline and floor, in this order.

    Raises:
        GateError: Predictions do not pair, or a reference differs from itself.
    """
    return (
        _against_reference(evidence, limits),
        _against_release("champion", evidence.champion, evidence, limits),
        _on_earlier_samples(evidence, limits),
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


def _on_earlier_samples(evidence: Evidence, limits: GateLimits) -> Check:
    """Whether the candidate forgot: on new samples and old ones together, new ones may hide what is lost on the old.

    The samples are those that the champion was judged on; the question, margin and confidence are those of the check on all.
    """
    name, champion = f"{evidence.quality.word} against champion, earlier test samples", evidence.champion
    if isinstance(champion, NoneYet):
        return Check(name=name, outcome="pass", reason="no champion yet: nothing to compare with")
    if isinstance(champion, Unavailable):
        return Check(
            name=name, outcome="pass", reason="asked together with the check before it, which says what is missing"
        )
    if evidence.judged_on is None:
        reason = "the champion was judged on the samples of the check before it: nothing more to compare"
        return Check(name=name, outcome="pass", reason=reason)
    shared = [index for index, digest in enumerate(champion.sample_sha256) if digest in evidence.judged_on]
    if not shared:
        return Check(
            name=name,
            outcome="not_measurable",
            limit=limits.margin_points,
            unit="points",
            samples=0,
            reason=f"none of the {len(evidence.judged_on):,} samples that the champion was judged on is a test sample today",
            remedy="bring its test samples back into the data, or answer for what cannot be compared with a waiver",
        )
    earlier = champion.take(np.array(shared, dtype=np.int64))
    note = f"on {_how_many(len(earlier), len(evidence.judged_on))} that the champion was judged on"
    remedy = "train on more of the earlier samples, or longer; keep the champion until then"
    return _drop("champion", remedy, earlier, _taken(evidence, earlier.sample_sha256), limits, name=name, note=note)


def _how_many(found: int, all_of_them: int) -> str:
    return f"{found:,} of the {all_of_them:,} samples" if found < all_of_them else f"the {found:,} samples"


def _where_answered(other: Predictions, evidence: Evidence) -> Evidence:
    """The evidence on the samples that a release of earlier folds answered, where groups have joined since.

    On those both models' answers are of groups that neither had met. How many groups that leaves, and whether they are
    enough, is for the bounds to say.
    """
    candidate = evidence.candidate
    known = set(candidate.sample_sha256)
    if evidence.groups is None or not len(other) < len(candidate) or not known >= set(other.sample_sha256):
        return evidence
    return _taken(evidence, other.sample_sha256)


def _taken(evidence: Evidence, digests: Sequence[str]) -> Evidence:
    """The evidence on some of the samples, in the order given."""
    position = {digest: index for index, digest in enumerate(evidence.candidate.sample_sha256)}
    missing = [digest for digest in digests if digest not in position]
    if missing:
        raise GateError(
            f"the champion answered sample {missing[0][:12]}…, the candidate did not; evaluate both on one split"
        )
    shared = np.array([position[digest] for digest in digests], dtype=np.int64)
    return dataclasses.replace(
        evidence,
        candidate=evidence.candidate.take(shared),
        reference=evidence.reference.take(shared),
        groups=None if evidence.groups is None else tuple(evidence.groups[index] for index in shared),
        slices={},
        corrupted={},
    )


def _drop(
    other_name: str,
    remedy: str,
    other: Predictions,
    evidence: Evidence,
    limits: GateLimits,
    *,
    name: str = "",
    note: str = "",
) -> Check:
    margin, quality = limits.margin_points, evidence.quality
    check = name or f"{quality.word} against {other_name}"
    question = Question(check, "drop", "margin", "points", remedy, note=note)
    found = drop_bounds(
        quality, evidence.candidate, other, evidence.groups, margin, limits.confidence_of_each, name=other_name
    )
    return answer_paired(question, found, margin)


def _floor(evidence: Evidence, limits: GateLimits) -> Check:
    word, floor = evidence.quality.word, limits.floor_pct
    question = Question(f"{word} floor", word, "floor", "%", "train longer or on more data", at_most=False)
    found = level_bounds(evidence.quality, evidence.candidate, evidence.groups, floor, limits.confidence_of_each)
    return answer_paired(question, found, floor)
