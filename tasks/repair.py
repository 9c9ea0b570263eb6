"""The tasks of repairing: each finds one kind of thing that a kill leaves behind, mends it, and says so."""

from __future__ import annotations

from prefect import task

from edgewright.pipeline.images.sweep import sweep_images as sweep_layout_of
from edgewright.pipeline.retention import remove_orphans
from edgewright.pipeline.tracking import (
    APPROVAL,
    ASKED,
    NO_ANSWER,
    ModelVersion,
    Tracking,
    record_decision,
    registered_names,
    repair,
    versions,
)
from edgewright.pipeline.workspace import Workspace
from tasks.stage import STAGE_OPTIONS
from tasks.stale_runs import crash_stale_runs, expired_runs


@task(name="end-stale-runs", **STAGE_OPTIONS)
def crash_stale() -> list[str]:
    """Ends flow runs whose process is gone."""
    return crash_stale_runs()


@task(name="mend-registry", task_run_name="mend-registry-{model}", **STAGE_OPTIONS)
def mend_model(tracking: Tracking, model: str) -> list[str]:
    """Finishes or removes half-registered versions of a model, and mends its aliases; the champion is never moved."""
    return repair(tracking, model)


@task(name="note-unanswered", task_run_name="note-unanswered-{model}", **STAGE_OPTIONS)
def note_unanswered(tracking: Tracking, model: str) -> list[str]:
    """Keeps with each version that nobody answered the question about it in time, which means no."""
    expired = {str(run_id) for run_id in expired_runs("nightly-retrain")}
    said = []
    for version in _versions(tracking, model):
        if version.tags.get(ASKED) in expired and APPROVAL not in version.tags:
            record_decision(
                tracking,
                model,
                version.target,
                version.version,
                decision=NO_ANSWER,
                reason="the candidate was not promoted",
                who="nobody",
            )
            said.append(f"{version.name} version {version.version}: nobody answered in time; noted, not promoted")
    return said


@task(name="find-contradictions", task_run_name="find-contradictions-{model}", **STAGE_OPTIONS)
def find_contradictions(tracking: Tracking, model: str) -> list[str]:
    """Says where aliases and verdicts contradict each other in a way that only a person can settle."""
    said = []
    for version in _versions(tracking, model):
        if version.is_champion and version.verdict != "pass" and not version.waiver:
            said.append(
                f"{version.name}: version {version.version} is champion with the verdict {version.verdict!r} and no waiver; "
                "roll back, or promote it with a waiver"
            )
        if version.is_champion and not version.is_complete:
            said.append(f"{version.name}: version {version.version} is champion and half registered; roll back")
    return said


@task(name="sweep-store", **STAGE_OPTIONS)
def sweep_store(workspace: Workspace) -> list[str]:
    """Removes files of the store that nothing names and that are older than a day."""
    files, size_bytes = remove_orphans(workspace)
    if not files:
        return []
    return [f"{files} files of the store that nothing named, {size_bytes / 1024**2:,.1f} MiB: removed"]


@task(name="sweep-images", **STAGE_OPTIONS)
def sweep_images(workspace: Workspace, tracking: Tracking) -> list[str]:
    """Removes container images that no model version names and that are older than a day."""
    swept = sweep_layout_of(workspace, tracking)
    if not swept.blobs:
        return []
    return [f"{swept.blobs} files of images that no release names, {swept.size_bytes / 1024**2:,.1f} MiB: removed"]


def _versions(tracking: Tracking, model: str) -> list[ModelVersion]:
    names = registered_names(tracking, model)
    return [version for name in names for version in versions(tracking, model, name.partition(".")[2])]
