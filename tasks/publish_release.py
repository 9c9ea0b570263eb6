"""The stages that release: bundles, runs, the model version and its aliases."""

from __future__ import annotations

from collections.abc import Mapping

from prefect import task

from edgewright.pipeline.artifact_store import Artifact
from edgewright.pipeline.judging import Decision
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.publishing import Published, TargetBuild, publish
from edgewright.pipeline.stages import pack
from edgewright.pipeline.stages.pack import Label, PackResult
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.targets import Target
from edgewright.pipeline.tracking import ModelVersion, Tracking
from edgewright.pipeline.workspace import Workspace
from tasks.progress import Reporter
from tasks.stage import STAGE_OPTIONS, run_stage


@task(name="pack", task_run_name="pack-{label.variant}-{label.target}", **STAGE_OPTIONS)
def pack_bundle(
    workspace: Workspace, data: SnapshotResult, model: Artifact, target: Target, label: Label
) -> PackResult:
    """Makes one variant's bundle."""
    work = f"{label.target} {label.variant}"
    return run_stage("pack", work, lambda listener: pack.run(workspace.store, data, model, target, label, listener))


@task(name="publish", task_run_name="publish-{built.target_name}", **STAGE_OPTIONS)
def publish_target(
    workspace: Workspace,
    tracking: Tracking,
    built: TargetBuild,
    decision: Decision,
    packed: Mapping[str, PackResult],
    champion: ModelVersion | None,
) -> Published:
    """Logs the runs, registers the version, moves the aliases; the champion's alias last."""
    reporter = Reporter("publish", built.target_name)
    reporter(Progress(built.target_name, 0, 1, "logging runs"))
    published = publish(workspace.store, tracking, built, decision, packed, champion)
    reporter(Progress(built.target_name, 1, 1, "done"))
    return published
