"""How much worse than another model, and how good by itself: figures with bounds that each hold as often as they say.

One question for every figure and for samples that come in groups or not; ``docs/decisions/0012`` says which method
answers it and how often it is wrong. A comparison that cannot be had is ``Undecidable``, with the reason and a remedy,
and never a figure without bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgewright.errors import GateError
from edgewright.pipeline import group_bounds
from edgewright.pipeline.estimate import Estimate
from edgewright.pipeline.folds import LEAST_GROUPS
from edgewright.pipeline.predictions import Predictions, check_pair, pair
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.quality_estimates import drop_estimate, method_of_drop, method_of_level
from edgewright.pipeline.statistics import samples_to_decide, samples_to_decide_accuracy

NeededWord = Literal["samples", "groups"]

# Of fewer errors nobody knows the tail: at 100 the bound is wrong up to 20 times of 100, at 200 up to 7 (decision 0012).
LEAST_SAMPLES_OF_SKILL = 200

_ELSEWHERE = "judge it on samples for which the figure is defined"
_MORE_SAMPLES = "evaluate on more samples"
_MORE_GROUPS = "evaluate on samples of more groups"


@dataclass(frozen=True)
class Bounded:
    """A figure with bounds.

    Attributes:
        figure: What was observed, in the figure's unit.
        low: Lower bound.
        high: Upper bound.
        confidence: Of each bound by itself.
        samples: How many samples are behind it; None where it is not about samples.
        groups: How many groups they come in; None where every sample stands by itself.
        needed: About how many samples or groups would decide at the same rates; as many as there are where they do;
            None where no number would.
        needed_word: What ``needed`` counts.
        method: How the bounds were found, in a few words.
    """

    figure: float
    low: float
    high: float
    confidence: float
    samples: int | None = None
    groups: int | None = None
    needed: int | None = None
    needed_word: NeededWord = "samples"
    method: str = ""


class Drop(Bounded):
    """How many points the candidate is worse than another model; negative where it is better.

    ``high <= margin`` shows the drop within the margin, ``low >= margin`` outside of it; else it is not decided.
    """


class Level(Bounded):
    """How good the model is by itself, in percent.

    ``low >= floor`` shows that the floor is held, ``high < floor`` that it is not.
    """


@dataclass(frozen=True)
class Undecidable:
    """A comparison that has no bounds.

    Attributes:
        reason: Why, for people.
        remedy: What would help.
        figure: What was observed, in points or percent; None where not even that is defined.
        samples: How many samples there are.
        groups: How many groups; None where every sample stands by itself.
        needed: The least number of samples or groups that could decide; None where their number is not the obstacle.
        needed_word: What ``needed`` counts.
    """

    reason: str
    remedy: str
    figure: float | None
    samples: int
    groups: int | None
    needed: int | None
    needed_word: NeededWord


def drop_bounds(
    quality: Quality,
    candidate: Predictions,
    other: Predictions,
    groups: tuple[str, ...] | None,
    margin_points: float,
    confidence: float,
    name: str = "reference",
) -> Drop | Undecidable:
    """Bound how many points the candidate is worse than another model on the same samples.

    Args:
        quality: The figure.
        candidate: Answers of the model under judgement.
        other: Answers of the model it is compared with.
        groups: Name of every sample's group; None where samples stand by themselves.
        margin_points: Drop at which the decision will be taken, in points.
        confidence: Of each bound, between 0.5 and 1.
        name: Word for the other model in messages.

    Raises:
        GateError: The answers do not pair, groups do not fit the samples, or a limit is out of range.
    """
    check_pair(candidate, other, name)
    _check_limits(margin_points, confidence)
    if not -100 < margin_points < 100 and quality.metric != "skill":
        raise GateError(f"margin {margin_points} is in points and must lie between -100 and 100")
    sampled = _Sampled.of(groups, len(candidate))
    obstacle = quality.obstacle(candidate) or quality.obstacle(other)
    if obstacle is not None:
        return sampled.undecidable(f"{quality.word}: {obstacle}", _ELSEWHERE, None)
    few = sampled.too_few(quality, candidate)
    if few is not None:
        figure = quality.of(other, groups) - quality.of(candidate, groups)
        return sampled.undecidable(*few[:2], figure, few[2])
    margin = margin_points / 100
    estimate = drop_estimate(quality, candidate, other, sampled.group, margin, confidence)
    needed = estimate.needed(margin, sampled.units)
    if quality.metric == "accuracy" and groups is None:
        needed = samples_to_decide(pair(candidate, other, name), margin, confidence)
    low, high = _in_points(quality, estimate, -100.0)
    # Turning shares into points must not move a bound across the margin.
    if estimate.high <= margin:
        high = min(high, margin_points)
    elif estimate.low >= margin:
        low = max(low, margin_points)
    return Drop(
        100 * estimate.figure,
        low,
        high,
        confidence,
        len(candidate),
        sampled.groups,
        needed,
        sampled.word,
        method_of_drop(quality, sampled.group),
    )


def level_bounds(
    quality: Quality,
    predictions: Predictions,
    groups: tuple[str, ...] | None,
    floor_pct: float,
    confidence: float,
) -> Level | Undecidable:
    """Bound how good a model is by itself.

    Args:
        quality: The figure.
        predictions: The model's answers.
        groups: Name of every sample's group; None where samples stand by themselves.
        floor_pct: Level at which the decision will be taken, in percent.
        confidence: Of each bound, between 0.5 and 1.

    Raises:
        GateError: Groups do not fit the samples, or a limit is out of range.
    """
    _check_limits(floor_pct, confidence)
    sampled = _Sampled.of(groups, len(predictions))
    obstacle = quality.obstacle(predictions)
    if obstacle is not None:
        return sampled.undecidable(f"{quality.word}: {obstacle}", _ELSEWHERE, None)
    few = sampled.too_few(quality, predictions)
    if few is not None:
        return sampled.undecidable(*few[:2], quality.of(predictions, groups), few[2])
    floor = floor_pct / 100
    estimate = drop_estimate(quality, predictions, None, sampled.group, 1 - floor, confidence).short_of_one
    needed = estimate.needed(floor, sampled.units)
    if quality.metric == "accuracy" and groups is None:
        correct = int(np.count_nonzero(predictions.correct))
        needed = samples_to_decide_accuracy(correct, len(predictions), floor, confidence)
    low, high = _in_points(quality, estimate, 0.0)
    if estimate.low >= floor:
        low = max(low, floor_pct)
    return Level(
        100 * estimate.figure,
        low,
        high,
        confidence,
        len(predictions),
        sampled.groups,
        needed,
        sampled.word,
        method_of_level(quality, sampled.group),
    )


@dataclass(frozen=True, eq=False)
class _Sampled:
    """How the samples came about: each by itself, or in groups."""

    samples: int
    group: NDArray[np.int64] | None

    @classmethod
    def of(cls, groups: tuple[str, ...] | None, samples: int) -> _Sampled:
        if groups is None:
            return cls(samples, None)
        if len(groups) != samples:
            raise GateError(f"{len(groups)} names of groups for {samples} samples; give every sample its group's name")
        return cls(samples, group_bounds.group_positions(groups))

    @property
    def groups(self) -> int | None:
        if self.group is None:
            return None
        return int(self.group.max()) + 1 if len(self.group) else 0

    @property
    def units(self) -> int:
        return self.samples if self.groups is None else self.groups

    @property
    def word(self) -> NeededWord:
        return "samples" if self.group is None else "groups"

    def undecidable(self, reason: str, remedy: str, figure: float | None, needed: int | None = None) -> Undecidable:
        return Undecidable(reason, remedy, figure, self.samples, self.groups, needed, self.word)

    def too_few(self, quality: Quality, predictions: Predictions) -> tuple[str, str, int] | None:
        """Reason, remedy and the number needed, where there are too few samples or groups for any bound."""
        if self.group is None or self.groups is None:
            if quality.metric != "skill" or self.samples >= LEAST_SAMPLES_OF_SKILL:
                return None
            least = LEAST_SAMPLES_OF_SKILL
            return f"{self.samples} samples: below {least} errors say nothing of their spread", _MORE_SAMPLES, least
        if self.groups < LEAST_GROUPS:
            return f"{self.groups} groups: fewer than {LEAST_GROUPS} decide nothing", _MORE_GROUPS, LEAST_GROUPS
        if quality.metric not in ("balanced_accuracy", "auroc"):
            return None
        label, held = group_bounds.fewest_groups_of_a_class(predictions.labels.astype(np.int64), self.group)
        if held >= LEAST_GROUPS:
            return None
        reason = f"class {label} comes from {held} groups: fewer than {LEAST_GROUPS} decide nothing"
        return reason, _MORE_GROUPS, -(-self.groups * LEAST_GROUPS // held)


def _in_points(quality: Quality, estimate: Estimate, least: float) -> tuple[float, float]:
    """Both bounds in points or percent, no farther out than is possible."""
    low, high = 100 * estimate.low, 100 * estimate.high
    return (low, high) if quality.metric == "skill" else (max(low, least), min(high, 100.0))


def _check_limits(limit: float, confidence: float) -> None:
    if not math.isfinite(limit):
        raise GateError(f"limit {limit} is not finite; give one in points or percent")
    if not 0.5 < confidence < 1:
        raise GateError(f"confidence {confidence} is not between 0.5 and 1")
