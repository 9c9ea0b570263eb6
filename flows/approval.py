"""A promotion that a person approves: the run waits for the answer without a worker, keeps it, and acts on it."""

from __future__ import annotations

from itertools import count
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.signing.publisher import Signing
from edgewright.pipeline.tracking import ChampionMovedError, Promotion, Tracking
from edgewright.pipeline.workspace import Workspace
from flows.asking import PROMOTE, Approval, ask
from flows.holding import PROMOTION_WAIT_S, holding
from flows.outcome import RELEASED, Built, Candidacy
from tasks.decide_release import keep_decision, keep_question, move_forward
from tasks.page import show_promotion
from tasks.sign_release import sign_release

KEPT, OUTDATED = "Kept", "Outdated"


def approve(workspace: Workspace, tracking: Tracking, recipe: Recipe, built: Built, run_id: str) -> State[Any]:
    """Asks whether the candidates may become champions, and does what the answer says; call it inside of a flow.

    The answer is kept with every version that it is about. An answer that cannot be carried out is asked for again, with the
    reason. No answer in time means no.

    Raises:
        RegistryError: The registry refuses or cannot be reached.
    """
    model, candidates = recipe.model, built.promotable
    for each in candidates:
        keep_question(tracking, model, each.target, each.version, run_id)
    answer, chosen = _ask(recipe, built)
    for each in candidates:
        said = PROMOTE if each in chosen else "keep the champion"
        keep_decision(tracking, model, each.target, each.version, said, answer.reason, answer.who)
    if not chosen:
        return _ended(Completed(name=KEPT, message=f"{answer.decision}: {answer.reason} ({answer.who})"))
    done: list[str] = []
    with holding(workspace, f"promotion.{model}", PROMOTION_WAIT_S):
        for each in chosen:
            waiver = None if each.outcome == "pass" else answer.waiver.strip()
            try:
                promotion: Promotion = move_forward(
                    tracking, model, each.target, each.version, answer.reason, answer.who, waiver, each.champion
                )
            except ChampionMovedError as error:
                return _ended(Failed(name=OUTDATED, message=f"{error}. Promoted before that: {done or 'nothing'}"))
            signing: Signing = sign_release(workspace, tracking, model, each.target)
            done.append(show_promotion(promotion, signing, f"{answer.reason} ({answer.who})", tracking.uri))
    return _ended(Completed(name=RELEASED, message=" ".join(done)))


def _ask(recipe: Recipe, built: Built) -> tuple[Approval, tuple[Candidacy, ...]]:
    """An answer that can be carried out, and the candidates that it promotes."""
    passed = [each.target for each in built.promotable if each.outcome == "pass"]
    problem = ""
    for attempt in count(1):
        answer = ask(
            Approval,
            _question(built, problem),
            f"approval-{attempt}",
            3600 * recipe.nightly.approval_timeout_h,
            targets=passed,
        )
        if answer.decision != PROMOTE:
            return answer, ()
        names = answer.targets or passed
        problem = _objection(built, names, answer.waiver)
        if not problem:
            return answer, tuple(each for each in built.promotable if each.target in names)
    raise AssertionError("unreachable: counting never ends")


def _objection(built: Built, names: list[str], waiver: str) -> str:
    """Why an answer cannot be carried out; empty where it can."""
    known = {each.target: each for each in built.promotable}
    unknown = [name for name in names if name not in known]
    if unknown:
        return f"{', '.join(unknown)} cannot be promoted here; these can: {', '.join(known)}."
    unproven = [name for name in names if known[name].outcome != "pass"]
    if unproven and not waiver.strip():
        return (
            f"the verdict on {', '.join(unproven)} is not `pass`: say under *waiver* why it may go out all the same, or "
            "leave that target out."
        )
    return ""


def _question(built: Built, problem: str) -> str:
    """A few lines: the form leaves little room above it, and the tables stand on the run's page."""
    parts = [f"### May build {built.build} of {built.model} become what devices run?"]
    if problem:
        parts.append(f"**The last answer could not be carried out:** {problem}")
    for each in built.promotable:
        left = f"{each.checks - len(each.open_checks)} of {each.checks} checks passed"
        parts.append(f"**{each.target}** · {each.note} · {left}")
        parts += [f"- {said}" for said in each.open_checks]
    parts.append("Variants, verdicts and plots: the run's page, under Artifacts.")
    return "\n\n".join(parts)


def _ended(state: Any) -> State[Any]:
    ended: State[Any] = state
    return ended
