"""The tasks of people's decisions: moving a champion forward or back, and keeping what was decided."""

from __future__ import annotations

from prefect import task

from edgewright.pipeline.signing.deciding import promote_by_person, roll_back
from edgewright.pipeline.tracking import (
    ChampionMovedError,
    Promotion,
    Tracking,
    champion,
    record_decision,
    record_question,
)
from tasks.stage import STAGE_OPTIONS


@task(name="promote", task_run_name="promote-{model}.{target}-{version}", **STAGE_OPTIONS)
def move_forward(
    tracking: Tracking,
    model: str,
    target: str,
    version: int,
    reason: str,
    who: str,
    waiver: str | None,
    judged_against: int | None,
) -> Promotion:
    """Makes a version the champion by a person's wish; also one that was rolled back."""
    return promote_by_person(
        tracking,
        model,
        target,
        version,
        reason=reason,
        who=who,
        waiver=waiver,
        judged_against=judged_against,
    )


@task(name="rollback", task_run_name="rollback-{model}.{target}", **STAGE_OPTIONS)
def move_back(
    tracking: Tracking, model: str, target: str, reason: str, who: str, champion_seen: int | None
) -> Promotion:
    """Gives the office back to the release that the champion replaced.

    Raises:
        ChampionMovedError: ``champion_seen`` is not in office any more; going back would go back once too often.
    """
    current = champion(tracking, model, target)
    in_office = current.version if current else 0
    if champion_seen is not None and champion_seen != in_office:
        raise ChampionMovedError(
            f"{model}.{target}: version {champion_seen} was to leave, but "
            f"{f'version {in_office}' if in_office else 'none'} is in office by now. Look again, then decide."
        )
    return roll_back(tracking, model, target, reason=reason, who=who)


@task(name="keep-question", task_run_name="ask-about-{model}.{target}-{version}", **STAGE_OPTIONS)
def keep_question(tracking: Tracking, model: str, target: str, version: int, run_id: str) -> None:
    """Keeps with a version which flow run asks people about it."""
    record_question(tracking, model, target, version, run_id)


@task(name="keep-decision", task_run_name="keep-decision-{model}.{target}-{version}", **STAGE_OPTIONS)
def keep_decision(
    tracking: Tracking, model: str, target: str, version: int, decision: str, reason: str, who: str
) -> None:
    """Keeps a person's answer with the version that it is about."""
    record_decision(tracking, model, target, version, decision=decision, reason=reason, who=who)
