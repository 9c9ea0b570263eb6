"""How a check of the gate is put into words: the question, its bounds, and one sentence that says what decided.

Every check that has bounds comes from ``answer``, so that outcome, bounds and sentence cannot contradict each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgewright.pipeline.paired_quality import Bounded, Undecidable
from edgewright.pipeline.verdict import Check, Outcome


@dataclass(frozen=True)
class Question:
    """What a check asks: ``word``, held against its ``limit_word``, in ``unit``.

    Attributes:
        name: The check's name.
        word: What is measured, e.g. ``drop``.
        limit_word: What the limit is called, e.g. ``margin``.
        unit: Unit of figure, bounds and limit.
        remedy_of_failure: What one could do where it fails.
        at_most: Whether the figure may be at most the limit; else at least.
        note: What a reader must know besides, at the end of the reason; empty where there is nothing.
    """

    name: str
    word: str
    limit_word: str
    unit: str
    remedy_of_failure: str
    at_most: bool = True
    note: str = ""

    def outcome(self, low: float, high: float, limit: float) -> Outcome:
        """Say on which side of the limit the bounds lie; on either, it is ``not_measurable``."""
        if self.at_most:
            return "pass" if high <= limit else "fail" if low > limit else "not_measurable"
        return "pass" if low >= limit else "fail" if high < limit else "not_measurable"


def answer(question: Question, bounds: Bounded, limit: float, outcome: Outcome, doubt: str, why: str = "") -> Check:
    """Put a decision into a check.

    Args:
        question: What was asked.
        bounds: What was found.
        limit: What it is held against.
        outcome: What was decided.
        doubt: The remedy where it is ``not_measurable``.
        why: What else speaks against a decision, for the reason.
    """
    low, high = shown(bounds.low, limit), shown(bounds.high, limit)
    if outcome == "not_measurable":
        said = f"between {low} and {high}, each bound"
    else:
        said = f"at most {high}" if (outcome == "pass") == question.at_most else f"at least {low}"
    reason = (
        f"{question.word} {shown(bounds.figure, limit)} {question.unit}, {said} with {100 * bounds.confidence:.4g} % "
        f"confidence{_over(bounds.groups)}; the {question.limit_word} is {plain(limit)}"
    )
    needed = bounds.needed if outcome == "not_measurable" else None
    return Check(
        name=question.name,
        outcome=outcome,
        figure=bounds.figure,
        limit=limit,
        unit=question.unit,
        low=bounds.low,
        high=bounds.high,
        confidence=bounds.confidence,
        samples=bounds.samples,
        groups=bounds.groups,
        samples_needed=needed if bounds.needed_word == "samples" else None,
        groups_needed=needed if bounds.needed_word == "groups" else None,
        method=bounds.method,
        reason="; ".join(part for part in (reason, why, question.note) if part),
        remedy={"pass": "", "fail": question.remedy_of_failure, "not_measurable": doubt}[outcome],
    )


def answer_paired(question: Question, found: Bounded | Undecidable, limit: float) -> Check:
    """Decide a comparison (or a level) of answers at its limit; where nothing can be decided, say why."""
    if isinstance(found, Undecidable):
        return undecidable(question, found, limit)
    outcome = question.outcome(found.low, found.high, limit)
    # A drop as large as its margin is none that is acceptable: non-inferiority is to lose less than the margin.
    if outcome == "not_measurable" and question.at_most and found.low >= limit:
        outcome = "fail"
    return answer(question, found, limit, outcome, _more(found.needed, found.needed_word))


def stated(question: Question, found: Bounded | Undecidable) -> Check:
    """A figure that no limit is set for: it passes and is stated, with its bounds where it has some."""
    if isinstance(found, Undecidable):
        reason = f"no limit is set; {found.reason}"
        return Check(
            name=question.name,
            outcome="pass",
            figure=found.figure,
            unit=question.unit,
            samples=found.samples,
            groups=found.groups,
            reason=reason,
        )
    reason = (
        f"no limit is set; {question.word} {plain(found.figure)} {question.unit}, between {plain(found.low)} and "
        f"{plain(found.high)}, each bound with {100 * found.confidence:.4g} % confidence{_over(found.groups)}"
    )
    return Check(
        name=question.name,
        outcome="pass",
        figure=found.figure,
        unit=question.unit,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        samples=found.samples,
        groups=found.groups,
        method=found.method,
        reason="; ".join(part for part in (reason, question.note) if part),
    )


def undecidable(question: Question, found: Undecidable, limit: float) -> Check:
    """What the samples cannot decide is ``not_measurable``, with the reason and how many would decide."""
    by_samples = found.needed_word == "samples"
    return Check(
        name=question.name,
        outcome="not_measurable",
        figure=found.figure,
        limit=limit,
        unit=question.unit,
        samples=found.samples,
        groups=found.groups,
        samples_needed=found.needed if by_samples else None,
        groups_needed=None if by_samples else found.needed,
        reason="; ".join(part for part in (found.reason, question.note) if part),
        remedy=found.remedy,
    )


def plain(value: float) -> str:
    """Two decimals."""
    return f"{value:.2f}"


def shown(value: float, limit: float) -> str:
    """Two decimals, or as many more as it takes to tell the value from its limit."""
    for decimals in range(2, 6):
        text = f"{value:.{decimals}f}"
        if value == limit or text != f"{limit:.{decimals}f}":
            return text
    return f"{value:.6f}"


def _over(groups: int | None) -> str:
    return "" if groups is None else f" over {groups} groups"


def _more(needed: int | None, word: Literal["samples", "groups"]) -> str:
    if needed is None:
        return f"the observed figure is at its limit, where more {word} hardly decide: change the variant or the limit"
    if word == "groups":
        return f"evaluate on about {needed:,} groups: that many would decide if they vary as these do"
    return f"evaluate on about {needed:,} samples: that many would decide at the same rates"
