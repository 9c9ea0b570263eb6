"""The stages that judge variants: evaluation, latency, the choice and the gate."""

from __future__ import annotations

from collections.abc import Mapping

from prefect import task

from edgewright.bench_report import BenchReport
from edgewright.pipeline.artifact_store import Artifact
from edgewright.pipeline.incumbents import incumbent_predictions
from edgewright.pipeline.judging import BuiltVariant, Decision, decide
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import evaluate, measure
from edgewright.pipeline.stages.compress import CompressResult
from edgewright.pipeline.stages.evaluate import EvaluationResult
from edgewright.pipeline.stages.measure import MeasureResult
from edgewright.pipeline.stages.quantize import QuantizeResult
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.targets import Target
from edgewright.pipeline.tracking import ModelVersion, Tracking
from edgewright.pipeline.workspace import Workspace
from tasks.stage import STAGE_OPTIONS, run_stage


@task(name="evaluate", task_run_name="evaluate-{work}", **STAGE_OPTIONS)
def evaluate_variant(
    workspace: Workspace, data: SnapshotResult, made: CompressResult | QuantizeResult, target: Target, work: str
) -> EvaluationResult:
    """Lets one variant answer the validation and test split on the target's engine."""
    return run_stage(
        "evaluate", work, lambda listener: evaluate.run(workspace.store, data, made.model, target, work, listener)
    )


@task(name="measure-latency", task_run_name="measure-latency-{work}", **STAGE_OPTIONS)
def measure_latency(
    workspace: Workspace,
    recipe: Recipe,
    data: SnapshotResult,
    models: Mapping[str, Artifact],
    target: Target,
    work: str,
) -> MeasureResult:
    """Measures all variants of one target in interleaved fresh processes."""
    return run_stage(
        "measure",
        work,
        lambda listener: measure.run(
            workspace.store, data, models, target, recipe.gate.latency_processes, work, listener
        ),
    )


@task(name="judge", task_run_name="judge-{target_name}", **STAGE_OPTIONS)
def judge_target(
    workspace: Workspace,
    tracking: Tracking,
    recipe: Recipe,
    data: SnapshotResult,
    target_name: str,
    target: Target,
    variants: Mapping[str, BuiltVariant],
    measured: MeasureResult | None,
    reports: Mapping[str, BenchReport],
    champion: ModelVersion | None,
    baseline: ModelVersion | None,
) -> Decision:
    """Chooses on validation figures and lets the gate judge the choice."""
    store = workspace.store
    return decide(
        store,
        recipe,
        target_name,
        target,
        variants,
        measured,
        reports,
        champion=incumbent_predictions(store, tracking, champion, data, target),
        baseline=incumbent_predictions(store, tracking, baseline, data, target),
    )
