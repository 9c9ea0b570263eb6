"""Which method bounds which figure: one for samples that stand by themselves, one for samples that come in groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import GateError
from edgewright.pipeline import auroc_bounds, class_bounds, group_bounds
from edgewright.pipeline.bootstrap import Ranking, seeded
from edgewright.pipeline.estimate import Estimate
from edgewright.pipeline.mean_bounds import mean_estimate
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Metric, Quality, absolute_errors, class_members

# The drop's and the level's method where samples stand by themselves, and both where they come in groups.
_METHODS: dict[Metric, tuple[str, str, str]] = {
    "accuracy": ("exact test", "Clopper-Pearson", "t over groups"),
    "balanced_accuracy": (
        "MOVER over classes, exact",
        "MOVER over classes, Clopper-Pearson",
        "t over a jackknife of groups",
    ),
    "auroc": ("paired bootstrap", "bootstrap", "t over a bootstrap of groups"),
    "skill": ("t corrected for skewness", "t corrected for skewness", "t over groups"),
}


def method_of_drop(quality: Quality, group: NDArray[np.int64] | None) -> str:
    """How a drop's bounds are found, in a few words."""
    return _METHODS[quality.metric][0 if group is None else 2]


def method_of_level(quality: Quality, group: NDArray[np.int64] | None) -> str:
    """How a level's bounds are found, in a few words."""
    return _METHODS[quality.metric][1 if group is None else 2]


def drop_estimate(
    quality: Quality,
    candidate: Predictions,
    other: Predictions | None,
    group: NDArray[np.int64] | None,
    margin: float,
    confidence: float,
) -> Estimate:
    """Bound how far a model lies below another one, or below a perfect one.

    Bounds over groups are never narrower than if every sample stood by itself: a few groups that happen to agree show
    no spread at all.

    Args:
        quality: The figure; defined for these answers.
        candidate: Answers of the model under judgement.
        other: Answers of the model it is compared with, on the same samples; None for a perfect one.
        group: int64 [N], position of each sample's group; None where samples stand by themselves.
        margin: Share at which the decision will be taken.
        confidence: Of each bound.

    Returns:
        Shares.
    """
    if quality.metric == "auroc":
        return _auroc_drop(candidate, other, group, confidence)
    if quality.naive_error is not None:
        loss = absolute_errors(candidate) / quality.naive_error
        if other is not None:
            loss -= absolute_errors(other) / quality.naive_error
        alone = mean_estimate(loss, confidence)
        if group is None:
            return alone
        return group_bounds.mean_over_groups(loss, group, confidence).no_narrower_than(alone)
    balanced = quality.metric == "balanced_accuracy"
    labels = candidate.labels.astype(np.int64)
    members = class_members(labels) if balanced else [np.arange(len(candidate))]
    right = candidate.correct
    if other is None:
        hits = [int(np.count_nonzero(right[each])) for each in members]
        alone = class_bounds.recall_estimate(hits, [len(each) for each in members], confidence).short_of_one
    else:
        alone = class_bounds.drop_estimate(class_bounds.class_counts(right, other.correct, members), confidence, margin)
    if group is None:
        return alone
    best = np.ones(len(right)) if other is None else other.correct.astype(np.float64)
    loss = best - right
    if balanced:
        over = group_bounds.mean_over_classes(loss, labels, group, confidence)
    else:
        over = group_bounds.mean_over_groups(loss, group, confidence)
    return over.no_narrower_than(alone)


def _auroc_drop(
    candidate: Predictions, other: Predictions | None, group: NDArray[np.int64] | None, confidence: float
) -> Estimate:
    anomalous = candidate.labels == 1
    mine = Ranking.of(anomalous, _scores(candidate))
    theirs = None if other is None else Ranking.of(anomalous, _scores(other))
    rng = seeded(candidate.sample_sha256)
    alone = auroc_bounds.over_samples(mine, theirs, confidence, rng)
    if group is None:
        return alone
    held = group_bounds.fewest_groups_of_a_class(candidate.labels.astype(np.int64), group)[1]
    return auroc_bounds.over_groups(mine, theirs, group, held, confidence, rng).no_narrower_than(alone)


def _scores(predictions: Predictions) -> NDArray[np.float32]:
    if predictions.score is None:
        raise GateError("these answers were kept without scores; evaluate the model again")
    return predictions.score
