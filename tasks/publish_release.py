"""The stages that release: bundles, runs, the model version and its aliases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect import task

from edgewright.pipeline.build_report import draw_up
from edgewright.pipeline.built import BuiltVariant, TargetBuild
from edgewright.pipeline.experiment_note import describe_experiment
from edgewright.pipeline.judging import Decision
from edgewright.pipeline.model_engine import engine_of
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.publishing import Published, publish
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.report_logging import keep_report, log_missing, log_report
from edgewright.pipeline.stages import pack, report
from edgewright.pipeline.stages.pack import Label, PackResult
from edgewright.pipeline.stages.report import ReportResult
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.summarizing import Release
from edgewright.pipeline.summary import BuildSummary
from edgewright.pipeline.targets import Target
from edgewright.pipeline.task_settings import TaskSettings
from edgewright.pipeline.tracking import ModelVersion, Tracking
from edgewright.pipeline.workspace import Workspace
from tasks.progress import Reporter
from tasks.stage import STAGE_OPTIONS, run_stage


@task(name="pack", task_run_name="pack-{label.variant}-{label.target}", **STAGE_OPTIONS)
def pack_bundle(
    workspace: Workspace,
    question: TaskSettings,
    data: SnapshotResult,
    built: BuiltVariant,
    target: Target,
    label: Label,
) -> PackResult:
    """Makes one variant's bundle."""
    model, threshold = built.model, built.evaluation.threshold
    platform, engine = target.platform, engine_of(target, built.variant.format)
    return run_stage(
        "pack",
        f"{label.target} {label.variant}",
        lambda listener: pack.run(workspace.store, data, model, platform, engine, question, threshold, label, listener),
    )


@task(name="publish", task_run_name="publish-{built.target_name}", **STAGE_OPTIONS)
def publish_target(
    workspace: Workspace,
    tracking: Tracking,
    built: TargetBuild,
    decision: Decision,
    packed: Mapping[str, PackResult],
    champion: ModelVersion | None,
    promotes: bool,
) -> Published:
    """Logs the runs, registers the version, moves the aliases; the champion's alias last."""
    reporter = Reporter("publish", built.target_name)
    reporter(Progress(built.target_name, 0, 1, "logging runs"))
    published = publish(workspace.store, tracking, built, decision, packed, champion, promotes=promotes)
    reporter(Progress(built.target_name, 1, 1, "done"))
    return published


@task(name="draw-report", **STAGE_OPTIONS)
def draw_report(workspace: Workspace, summary: BuildSummary, releases: Sequence[Release]) -> ReportResult:
    """Draws the build's figures and its page."""
    store, content = workspace.store, draw_up(workspace.store, summary, releases)
    return run_stage("report", "page", lambda listener: report.run(store, content, summary.judged, listener))


@task(name="keep-report", **STAGE_OPTIONS)
def log_build_report(workspace: Workspace, tracking: Tracking, summary: BuildSummary, drawn: ReportResult) -> Path:
    """Puts figures and page beside the build's runs, and the page into the workspace; returns where."""
    for target in summary.targets:
        log_report(workspace.store, tracking, drawn, target)
        log_missing(tracking, summary, target)
    return keep_report(workspace.store, drawn, summary, workspace.home / "reports")


@task(name="describe-experiment", **STAGE_OPTIONS)
def describe_model(tracking: Tracking, recipe: Recipe, summary: BuildSummary) -> str | None:
    """Brings MLflow's page of the model up to date; returns where it is."""
    return describe_experiment(tracking, recipe, summary)
