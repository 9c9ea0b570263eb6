"""Questions to people: a run suspends, gives its worker back, and goes on from Prefect's page with a filled-in form.

The process ends meanwhile. When nobody answers in time the server fails the run: no answer means no.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from tasks.last_word import promise_last_word

PROMOTE, KEEP = "promote", "keep the champion"
RETRAIN, WAIT, SET_ASIDE = "retrain all the same", "wait for more samples", "set these samples aside"

_REASON = Field(min_length=3, max_length=500, description="why; stored with the release")
_WHO = Field(min_length=1, max_length=100, description="who decides; stored with the release")
AnswerT = TypeVar("AnswerT", bound=RunInput)


class Approval(RunInput):
    """May the candidate become what devices run?"""

    decision: Literal["promote", "keep the champion"] = Field(description="what devices run from now on")
    reason: str = _REASON
    who: str = _WHO
    targets: list[str] = Field([], description="which targets to promote; all that passed where none is named")
    waiver: str = Field(
        "",
        max_length=500,
        description="only for a target whose verdict is not `pass`: why it may go out all the same; stored and shown",
    )


class Course(RunInput):
    """What to do with new samples that are too few, or too different from those before?"""

    decision: Literal["retrain all the same", "wait for more samples", "set these samples aside"] = Field(
        description="setting aside keeps the samples, but never trains on them"
    )
    reason: str = Field(min_length=3, max_length=500, description="why; stored with the samples")
    who: str = Field(min_length=1, max_length=100, description="who decides; stored with the samples")


def ask(form: type[AnswerT], question: str, key: str, timeout_s: float, **filled: object) -> AnswerT:
    """Suspends the run until somebody answers; returns the answer when the run goes on.

    Args:
        form: What to fill in.
        question: Markdown above the form.
        key: Tells this question from the run's others; the same in every attempt of the run.
        timeout_s: No answer within these seconds means no: the server fails the run.
        filled: Fields that are filled in already.
    """
    promise_last_word()
    shown = form.with_initial_data(description=question, **filled)
    answer: AnswerT = suspend_flow_run(wait_for_input=shown, timeout=round(timeout_s), key=key)
    return answer
