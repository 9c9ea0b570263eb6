"""Puts a judged target into the registry: one run per variant, one model version for the chosen one, aliases last.

Every step finds what an earlier, killed call left and goes on from there; nothing is written twice.
"""

from __future__ import annotations

import getpass
import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.bench_report import BenchReport, parse_report
from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.incumbents import BUNDLE, PREDICTIONS
from edgewright.pipeline.judging import BuiltVariant, Decision, metrics_of, settings_of
from edgewright.pipeline.recipe import Recipe
from edgewright.pipeline.stages.measure import MeasureResult
from edgewright.pipeline.stages.pack import PackResult, unpack
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.stages.train import TrainResult
from edgewright.pipeline.targets import Target
from edgewright.pipeline.tracking import (
    ChampionMovedError,
    ModelVersion,
    RunRecord,
    Tracking,
    download,
    log_run,
    promote,
    register,
    set_candidate,
    set_verdict,
    update_run,
    versions,
)
from edgewright.pipeline.verdict import Verdict

REFERENCE = "reference"
REFERENCE_PREDICTIONS = "reference_predictions.npz"
VERDICT = "verdict.json"
CONTEXT = "context.json"
REPORT = "bench_report.json"
# Whether a device's report lies beside the release: a build that judges it again must look at that, too.
JUDGED_BY = "edgewright.judged_by"
BY_BUILD, BY_REPORT = "build", "bench-report"


@dataclass(frozen=True)
class TargetBuild:
    """All that a build made for one target.

    Attributes:
        recipe: What was built.
        build: Identity of the build.
        snapshot: The data.
        base: The base model's training.
        target_name: Name of the target.
        target: The target.
        variants: Built variants by name.
        measured: Latency; None where the target is not this machine.
        reports: What devices measured of it since, by variant.
    """

    recipe: Recipe
    build: str
    snapshot: SnapshotResult
    base: TrainResult
    target_name: str
    target: Target
    variants: Mapping[str, BuiltVariant]
    measured: MeasureResult | None
    reports: Mapping[str, BenchReport] = field(default_factory=dict)

    def metrics(self, variant: str) -> dict[str, float]:
        """The figures of one variant."""
        reference = self.variants[self.recipe.reference.name]
        return metrics_of(self.variants[variant], reference, self.measured, self.reports.get(variant))


@dataclass(frozen=True)
class Published:
    """What stands in the registry for one target after a build.

    Attributes:
        version: The model version of this build.
        bundle_sha256: Digest of its bundle.
        run_ids: MLflow run by variant.
        champion: The version that devices run; None when there is none.
        note: What happened, for people: ``version 3 is champion``.
    """

    version: int
    bundle_sha256: str
    run_ids: dict[str, str]
    champion: int | None
    note: str


def device_reports(tracking: Tracking, model: str, target: str, build: str) -> dict[str, BenchReport]:
    """What devices have measured of a build's variants for one target, by variant.

    Raises:
        RegistryError: The registry cannot be reached, or a report that it promises is not there.
        BundleError: A report is damaged.
    """
    reports = {}
    for version in versions(tracking, model, target):
        if version.build == build and version.tags.get(JUDGED_BY) == BY_REPORT:
            with tempfile.TemporaryDirectory() as scratch:
                path = download(tracking, version, REPORT, Path(scratch))
                reports[version.variant] = parse_report(path.read_bytes(), f"{version.name}: {REPORT}")
    return reports


def publish(
    store: ArtifactStore,
    tracking: Tracking,
    built: TargetBuild,
    decision: Decision,
    packed: Mapping[str, PackResult],
    champion: ModelVersion | None,
) -> Published:
    """Logs, registers and, when the verdict is ``pass``, promotes.

    Args:
        store: Where artifacts lie.
        tracking: The registry.
        built: What was built.
        decision: What the gate said.
        packed: Bundles by variant: of all that were put to the gate, and of the reference.
        champion: The champion that the verdict compared with.

    Raises:
        ChampionMovedError: Another champion took office, or a device's report arrived, since the verdict: judge again,
            then publish again.
        RegistryError: The registry refused or cannot be reached.
    """
    run_ids = _log_runs(store, tracking, built, decision, packed)
    model, target, verdict = built.recipe.model, built.target_name, decision.verdict
    version = register(
        tracking,
        model,
        target,
        run_id=run_ids[decision.chosen],
        build=built.build,
        bundle_sha256=packed[decision.chosen].sha256,
        verdict=verdict.outcome,
        variant=decision.chosen,
        reference_bundle_sha256=packed[built.recipe.reference.name].sha256,
        description=_describe(built, decision),
        tags={JUDGED_BY: BY_BUILD, "edgewright.data_sha256": built.snapshot.sha256},
    )
    if version.tags.get(JUDGED_BY) == BY_REPORT and built.measured is None and decision.chosen not in built.reports:
        raise ChampionMovedError(
            f"{version.name} version {version.version}: a device's report arrived since the verdict: judge again"
        )
    if version.verdict != verdict.outcome and not version.is_champion:
        version = set_verdict(
            tracking, model, target, version.version, verdict.outcome, reason="judged again by a build"
        )
        for each in decision.tested:
            _log_verdict(tracking, run_ids[each.variant], each)
    in_office, note = settle(tracking, version, verdict.outcome, champion, f"build {built.build} passed the gate")
    return Published(version.version, version.bundle_sha256, run_ids, in_office, note)


def settle(
    tracking: Tracking, version: ModelVersion, outcome: str, champion: ModelVersion | None, reason: str
) -> tuple[int | None, str]:
    """Moves aliases as a verdict allows; returns the champion's number and what happened, in words.

    Raises:
        ChampionMovedError: Another champion took office since the verdict.
    """
    model, target, number = version.model, version.target, version.version
    name, current = f"{model}.{target}", champion.version if champion else None
    keeps = f"{name} keeps version {current}" if current else f"{name} has no champion yet"
    if version.is_champion:
        doubt = "" if outcome == "pass" else ", but judged again it does not pass: consider `edgewright rollback`"
        return number, f"{name} version {number} is champion already{doubt}"
    if outcome == "fail":
        return current, f"{keeps}; version {number} was refused"
    if version.withdrawn:
        return current, f"{keeps}; version {number} was rolled back before ({version.withdrawn}): promote it by hand"
    if outcome == "not_measurable":
        set_candidate(tracking, model, target, number)
        return (
            current,
            f"{name} version {number} is candidate; {keeps}" if current else f"{name} version {number} is candidate",
        )
    promotion = promote(
        tracking,
        model,
        target,
        number,
        reason=reason,
        who=getpass.getuser(),
        judged_against=current or 0,
    )
    replaced = f", in place of version {promotion.replaced}" if promotion.replaced else ""
    return promotion.champion, f"{name} version {number} is champion{replaced}"


def git_commit(folder: Path) -> str:
    """The commit of a checkout, with ``-dirty`` where files differ from it; ``unknown`` outside of one."""
    answer = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() if answer.returncode == 0 else "unknown"


def _log_runs(
    store: ArtifactStore,
    tracking: Tracking,
    built: TargetBuild,
    decision: Decision,
    packed: Mapping[str, PackResult],
) -> dict[str, str]:
    commit = git_commit(Path(__file__).parent)
    verdicts = {verdict.variant: verdict for verdict in decision.tested}
    run_ids = {}
    for name, variant in built.variants.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            artifacts = {
                PREDICTIONS: store.path(variant.evaluation.test),
                "validation_predictions.npz": store.path(variant.evaluation.validation),
                "model.onnx": store.path(variant.model),
                "data_card.json": store.path(built.snapshot.card),
                CONTEXT: _write(folder / CONTEXT, _context(built, name)),
            }
            if variant.quantize:
                artifacts["calibration.json"] = _write(folder / "calibration.json", _calibration(variant))
            if name in verdicts:
                artifacts[VERDICT] = _write(folder / VERDICT, verdicts[name].to_json())
                artifacts["verdict.md"] = _write(folder / "verdict.md", verdicts[name].to_markdown())
                # Whatever was put to the gate may be chosen, if not today then judged against the next champion.
                reference = built.recipe.reference.name
                artifacts[BUNDLE] = unpack(store, packed[name], folder / BUNDLE)
                artifacts[REFERENCE] = unpack(store, packed[reference], folder / REFERENCE)
                artifacts[REFERENCE_PREDICTIONS] = store.path(built.variants[reference].evaluation.test)
            verdict = verdicts[name].outcome if name in verdicts else "not put to the gate"
            record = RunRecord(
                model=built.recipe.model,
                build=built.build,
                variant=name,
                target=built.target_name,
                params=settings_of(built.recipe, variant, built.target),
                metrics=built.metrics(name),
                series=_series(built.base, variant),
                tags={
                    "edgewright.verdict": verdict,
                    "edgewright.git_commit": commit,
                    "edgewright.data_sha256": built.snapshot.sha256,
                },
                artifacts=artifacts,
            )
            run_ids[name] = log_run(tracking, record)
    return run_ids


def _log_verdict(tracking: Tracking, run_id: str, verdict: Verdict) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = _write(Path(scratch) / VERDICT, verdict.to_json())
        markdown = _write(Path(scratch) / "verdict.md", verdict.to_markdown())
        update_run(
            tracking,
            run_id,
            tags={"edgewright.verdict": verdict.outcome},
            artifacts={VERDICT: path, "verdict.md": markdown},
        )


def _series(base: TrainResult, variant: BuiltVariant) -> dict[str, list[tuple[int, float]]]:
    """Training curves: the base's epochs, then the fine-tuning's."""
    epochs = [*base.history, *(variant.compress.fine_tuning.history if variant.compress.fine_tuning else ())]
    return {
        "epoch_train_loss": [(step, epoch.train_loss) for step, epoch in enumerate(epochs, 1)],
        "epoch_validation_loss": [(step, epoch.validation_loss) for step, epoch in enumerate(epochs, 1)],
        "epoch_validation_accuracy_pct": [
            (step, epoch.validation_accuracy_pct) for step, epoch in enumerate(epochs, 1)
        ],
    }


def _context(built: TargetBuild, variant: str) -> str:
    """What a later judgement needs to know of this one: the recipe, the target, sizes and class names."""
    reference = built.variants[built.recipe.reference.name]
    chosen = built.variants[variant]
    return json.dumps(
        {
            "recipe": built.recipe.model_dump(mode="json"),
            "target_name": built.target_name,
            "target": built.target.model_dump(mode="json"),
            "size_bytes": chosen.evaluation.size_bytes,
            "reference_size_bytes": reference.evaluation.size_bytes,
            "is_reference": chosen.variant.is_reference,
            "class_names": list(built.snapshot.class_names),
            "operators": chosen.compress.operators,
        },
        indent=1,
    )


def _calibration(variant: BuiltVariant) -> str:
    quantized = variant.quantize
    assert quantized is not None, "only quantized variants were calibrated"
    return json.dumps(
        {
            "method": quantized.method,
            "trials": [
                {
                    "method": trial.method,
                    "validation_accuracy_pct": trial.validation_accuracy_pct,
                    "ranges": trial.ranges,
                }
                for trial in quantized.trials
            ],
            "samples_sha256": list(quantized.calibration_sha256),
            "samples_per_class": quantized.calibration_per_class,
            "quantized_operators": quantized.quantized_operators,
            "float_operators": quantized.float_operators,
        },
        indent=1,
    )


def _describe(built: TargetBuild, decision: Decision) -> str:
    name = f"{built.recipe.model}.{built.target_name}"
    return (
        f"**{decision.chosen}** of build `{built.build}` for **{built.target_name}** ({built.target.platform}, "
        f"{built.target.engine}). {built.recipe.description}\n\n{decision.verdict.to_markdown()}\n\n"
        f"Pull it: `edgewright-agent pull --registry URL --model {built.recipe.model} --target {built.target_name} "
        f"--into DIR` (registered as `{name}`)."
    )


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


__all__ = ["ChampionMovedError", "Published", "TargetBuild", "device_reports", "publish", "settle"]
