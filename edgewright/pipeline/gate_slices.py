"""What the gate asks of parts of the samples: a candidate may not buy its good mean with one class or one person.

Each slice is decided as the whole is, paired against the reference, with its own samples and its own margin. A release
passes only if every slice does, so no correction is made: that one bad slice of many slips through is no more likely
than that it slips through alone (an intersection-union test). What many slices cost is power, and each check says how
many samples would decide it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import GateError
from edgewright.pipeline.answers import Question, answer_paired
from edgewright.pipeline.evidence import Evidence, GateLimits, SliceLimit
from edgewright.pipeline.gate_quality import ITSELF
from edgewright.pipeline.paired_quality import drop_bounds
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.verdict import Check

# A verdict is read by people. A column with more values is a measurement, not a name.
MOST_SLICES = 1000
_REMEDY = "train on more samples like these, compress less, or give these slices a wider margin"


def slice_checks(evidence: Evidence, limits: GateLimits) -> tuple[Check, ...]:
    """One check per value of every slice limit: limits in their order, values sorted.

    Raises:
        GateError: The evidence lacks a slice that a limit names, a class slice of a regression, or too many values.
    """
    checks: list[Check] = []
    for limit in limits.slices:
        values = np.array(_values(evidence, limit.by), dtype=object)
        names = sorted(set(values))
        if len(names) > MOST_SLICES:
            raise GateError(
                f"gate limit slices: {limit.by} has {len(names)} values, at most {MOST_SLICES} can be slices; "
                "name a column with few values"
            )
        checks += [_slice_check(evidence, limit, name, np.flatnonzero(values == name), limits) for name in names]
    return tuple(checks)


def _values(evidence: Evidence, by: str) -> tuple[str, ...]:
    if by == "class" and evidence.quality.metric == "skill":
        raise GateError("gate limit slices: a regression has no classes; slice by group or by a column")
    carried: Mapping[str, tuple[str, ...]] = evidence.slices
    if evidence.groups is not None:
        carried = {"group": evidence.groups, **carried}
    if by not in carried:
        there = ", ".join(sorted(carried)) or "nothing to slice by"
        raise GateError(f"gate limit slices: the data carry no {by!r}; they carry: {there}. Name one of these.")
    if by == "class":
        _check_classes(carried[by], evidence.candidate)
    return carried[by]


def _check_classes(values: tuple[str, ...], candidate: Predictions) -> None:
    """One label per class, or the accuracy in the slice would not be the recall of that class."""
    label_of: dict[str, int] = {}
    for index, (value, label) in enumerate(zip(values, candidate.labels.tolist(), strict=True)):
        if label_of.setdefault(value, label) != label:
            raise GateError(
                f"slice by 'class': class {value!r} has labels {label_of[value]} and {label} (sample {index}); "
                "give each sample the name of its label"
            )


def _slice_check(
    evidence: Evidence, limit: SliceLimit, value: str, indices: NDArray[np.int64], limits: GateLimits
) -> Check:
    name = f"{limit.by} {value}"
    if evidence.measured.is_reference:
        return Check(name=name, outcome="pass", samples=len(indices), reason=ITSELF)
    candidate, reference = evidence.candidate.take(indices), evidence.reference.take(indices)
    quality, word, note = _quality_in(evidence, limit.by, candidate, reference)
    groups: tuple[str, ...] | None = None
    # The question about one group is about that group, not about those who are like it: its samples are the sample.
    if evidence.groups is not None and limit.by != "group":
        groups = tuple(evidence.groups[index] for index in indices)
    found = drop_bounds(quality, candidate, reference, groups, limit.margin_points, limits.confidence_of_each)
    size = f"{len(indices):,} samples"
    question = Question(name, word, "margin", "points", _REMEDY, note=f"{size}; {note}" if note else size)
    return answer_paired(question, found, limit.margin_points)


def _quality_in(
    evidence: Evidence, by: str, candidate: Predictions, reference: Predictions
) -> tuple[Quality, str, str]:
    """By which figure a slice is judged, what its drop is called, and what a reader must know about that."""
    if by == "class":
        return Quality("accuracy"), "drop of recall", ""
    quality = evidence.quality
    for whole, part in ((evidence.candidate, candidate), (evidence.reference, reference)):
        # What is undefined for the whole as well is no matter of this slice, and is reported as what it is.
        if quality.obstacle(whole) is None and quality.obstacle(part) is not None:
            return Quality("accuracy"), "drop", f"judged by accuracy, because {quality.word} is undefined in this slice"
    return quality, "drop", ""
