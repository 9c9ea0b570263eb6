"""The stages that judge variants: evaluation, latency, the choice and the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect import task

from edgewright.pipeline.artifact_store import Artifact
from edgewright.pipeline.built import BuiltVariant, TargetBuild
from edgewright.pipeline.incumbents import incumbent_predictions
from edgewright.pipeline.judging import Choice, Decision, Robustness, decide
from edgewright.pipeline.model_engine import ModelEngine, engine_of
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages import evaluate, measure, robustness
from edgewright.pipeline.stages.compress import CompressResult
from edgewright.pipeline.stages.evaluate import EvaluationResult
from edgewright.pipeline.stages.keras_variant import KerasVariant
from edgewright.pipeline.stages.measure import MeasureResult
from edgewright.pipeline.stages.quantize import QuantizeResult
from edgewright.pipeline.stages.robustness import RobustnessResult
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.targets import Target
from edgewright.pipeline.task_settings import TaskSettings
from edgewright.pipeline.tracking import ModelVersion, Tracking
from edgewright.pipeline.waiver import Waiver
from edgewright.pipeline.workspace import Workspace
from tasks.stage import STAGE_OPTIONS, run_stage


@task(name="evaluate", task_run_name="evaluate-{work}", **STAGE_OPTIONS)
def evaluate_variant(
    workspace: Workspace,
    question: TaskSettings,
    data: SnapshotResult,
    made: CompressResult | QuantizeResult | KerasVariant,
    engine: ModelEngine,
    work: str,
) -> EvaluationResult:
    """Lets one variant answer the validation and test split on the target's engine."""
    return run_stage(
        "evaluate",
        work,
        lambda listener: evaluate.run(workspace.store, data, made.model, engine, question, work, listener),
    )


@task(name="stress", task_run_name="stress-{work}", **STAGE_OPTIONS)
def stress_variant(
    workspace: Workspace, recipe: Recipe, data: SnapshotResult, built: BuiltVariant, target: Target, work: str
) -> RobustnessResult:
    """Lets one variant answer corrupted test samples on the target's engine."""
    settings = recipe.gate.robustness
    assert settings is not None, "only recipes that name corruptions are stressed"
    threshold, engine = built.evaluation.threshold, engine_of(target, built.variant.format)
    return run_stage(
        "stress",
        work,
        lambda listener: robustness.run(
            workspace.store, data, built.model, engine, settings, recipe.task, threshold, work, listener
        ),
    )


@task(name="measure-latency", task_run_name="measure-latency-{work}", **STAGE_OPTIONS)
def measure_latency(
    workspace: Workspace,
    recipe: Recipe,
    data: SnapshotResult,
    models: Mapping[str, tuple[Artifact, ModelEngine]],
    work: str,
) -> MeasureResult:
    """Measures all variants of one target in interleaved fresh processes."""
    return run_stage(
        "measure",
        work,
        lambda listener: measure.run(workspace.store, data, models, recipe.gate.latency_processes, work, listener),
    )


@task(name="judge", task_run_name="judge-{built.target_name}", **STAGE_OPTIONS)
def judge_target(
    workspace: Workspace,
    tracking: Tracking,
    built: TargetBuild,
    choices: Sequence[Choice],
    stressed: Robustness,
    champion: ModelVersion | None,
    baseline: ModelVersion | None,
    waivers: Sequence[Waiver],
) -> Decision:
    """Lets the gate judge what was chosen."""
    store, question = workspace.store, built.recipe.task
    snapshots = [fold.snapshot for fold in built.folds]
    return decide(
        store,
        built,
        choices,
        stressed,
        champion=incumbent_predictions(store, tracking, champion, snapshots, question),
        baseline=incumbent_predictions(store, tracking, baseline, snapshots, question),
        waivers=waivers,
    )
