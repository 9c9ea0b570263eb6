"""Logs a target's variants as flat runs: figures, settings, training curves, and the files that later judgements need."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgewright.measurement import Measurement
from edgewright.pipeline.artifact_store import ArtifactStore
from edgewright.pipeline.built import BuiltVariant, TargetBuild, pooled_answers
from edgewright.pipeline.incumbents import BUNDLE, PREDICTIONS
from edgewright.pipeline.judging import Decision
from edgewright.pipeline.kept_evidence import FOLDER as EVIDENCE
from edgewright.pipeline.kept_evidence import save_evidence
from edgewright.pipeline.run_metrics import metrics_of, settings_of
from edgewright.pipeline.stages.pack import PackResult, unpack
from edgewright.pipeline.stages.train import TrainResult
from edgewright.pipeline.tracking import RunRecord, Tracking, log_run, update_run
from edgewright.pipeline.training.plan import Epoch
from edgewright.pipeline.verdict import Verdict

REFERENCE = "reference"
VERDICT = "verdict.json"
CONTEXT = "context.json"
SPARSITY = "layer_sparsity.json"
MEASUREMENT = "measurement.json"


def git_commit(folder: Path) -> str:
    """The commit of a checkout, with ``-dirty`` where files differ from it; ``unknown`` outside of one.

    An image holds no checkout and no git: there ``$EDGEWRIGHT_GIT_COMMIT`` says which commit it was made from.
    """
    told = os.environ.get("EDGEWRIGHT_GIT_COMMIT", "").strip()
    if told or shutil.which("git") is None:
        return told or "unknown"
    answer = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() if answer.returncode == 0 else "unknown"


def log_runs(
    store: ArtifactStore,
    tracking: Tracking,
    built: TargetBuild,
    decision: Decision,
    packed: Mapping[str, PackResult],
) -> dict[str, str]:
    """Logs one run per variant, unless it is there already; returns the runs' ids by variant."""
    commit = git_commit(Path(__file__).parent)
    tested = {each.choice.released: each for each in decision.tested}
    reference = pooled_answers(store, built.folds, built.of_every_fold(built.reference))
    run_ids = {}
    for name, variant in built.variants.items():
        judged = tested.get(name)
        answers = pooled_answers(store, built.folds, judged.choice.of_fold if judged else built.of_every_fold(name))
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            answers.save(folder / PREDICTIONS)
            artifacts = {
                PREDICTIONS: folder / PREDICTIONS,
                "validation_predictions.npz": store.path(variant.evaluation.validation),
                f"model.{variant.variant.format}": store.path(variant.model),
                "data_card.json": store.path(built.snapshot.card),
                CONTEXT: _write(folder / CONTEXT, _context(built, name)),
            }
            for name_of_training, training in trainings_of(variant).items():
                for place, log in training.logs.items():
                    artifacts[f"tensorboard/{name_of_training}/{place}"] = store.path(log)
            if shares := _layer_sparsity(variant):
                artifacts[SPARSITY] = _write(folder / SPARSITY, json.dumps(shares, indent=1))
            if variant.quantize and variant.quantize.audit:
                artifacts["calibration.json"] = _write(folder / "calibration.json", _calibration(variant))
            measured = _measurement(built, name)
            if measured is not None:
                artifacts[MEASUREMENT] = _write(folder / MEASUREMENT, json.dumps(measured.to_json(), indent=1))
            if judged:
                artifacts[VERDICT] = _write(folder / VERDICT, judged.verdict.to_json())
                artifacts["verdict.md"] = _write(folder / "verdict.md", judged.verdict.to_markdown())
                artifacts[EVIDENCE] = save_evidence(judged.evidence, folder / EVIDENCE, decision.answered)
                # Whatever was put to the gate may be chosen, if not today then judged against the next champion.
                artifacts[BUNDLE] = unpack(store, packed[name], folder / BUNDLE)
                artifacts[REFERENCE] = unpack(store, packed[built.reference], folder / REFERENCE)
            record = RunRecord(
                model=built.recipe.model,
                build=built.build,
                variant=name,
                target=built.target_name,
                params=settings_of(built, name),
                metrics=metrics_of(built, name, answers, reference),
                series=_series(variant),
                tags={
                    **(verdict_tags(judged.verdict) if judged else {"edgewright.verdict": "not put to the gate"}),
                    "edgewright.git_commit": commit,
                    "edgewright.data_sha256": built.data_sha256,
                },
                artifacts=artifacts,
            )
            run_ids[name] = log_run(tracking, record)
    return run_ids


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """What a run's and a version's tags say of a verdict."""
    waivers = "; ".join(f"{each.check}: {each.reason} ({each.person})" for each in verdict.waivers)
    return {"edgewright.verdict": verdict.outcome, **({"edgewright.waiver": waivers} if waivers else {})}


def log_verdict(tracking: Tracking, run_id: str, verdict: Verdict) -> None:
    """Replaces a run's verdict by a later one."""
    with tempfile.TemporaryDirectory() as scratch:
        path = _write(Path(scratch) / VERDICT, verdict.to_json())
        markdown = _write(Path(scratch) / "verdict.md", verdict.to_markdown())
        update_run(tracking, run_id, tags=verdict_tags(verdict), artifacts={VERDICT: path, "verdict.md": markdown})


def trainings_of(variant: BuiltVariant) -> dict[str, TrainResult]:
    """The trainings behind a variant, in their order: the base's, the fine-tuning, that with rounding in place."""
    aware = variant.quantize.aware_training if variant.quantize else None
    found = {"base": variant.base, "fine_tuning": variant.compress.fine_tuning, "aware": aware}
    return {name: training for name, training in found.items() if training is not None}


def epochs_of(variant: BuiltVariant) -> list[Epoch]:
    """The epochs of all trainings behind a variant, one after the other."""
    return [epoch for training in trainings_of(variant).values() for epoch in training.history]


def _series(variant: BuiltVariant) -> dict[str, list[tuple[int, float]]]:
    """Training curves."""
    epochs = list(enumerate(epochs_of(variant), 1))
    accuracies = [
        (step, epoch.validation_accuracy_pct) for step, epoch in epochs if epoch.validation_accuracy_pct is not None
    ]
    return {
        "epoch_train_loss": [(step, epoch.train_loss) for step, epoch in epochs],
        "epoch_validation_loss": [(step, epoch.validation_loss) for step, epoch in epochs],
        **({"epoch_validation_accuracy_pct": accuracies} if accuracies else {}),
    }


def _context(built: TargetBuild, variant: str) -> str:
    """What a later judgement needs to know of this one: the recipe, the target, sizes and class names."""
    chosen = built.variants[variant]
    return json.dumps(
        {
            "recipe": built.recipe.model_dump(mode="json"),
            "target_name": built.target_name,
            "target": built.target.model_dump(mode="json"),
            "size_bytes": chosen.evaluation.size_bytes,
            "reference_size_bytes": built.variants[built.reference].evaluation.size_bytes,
            "is_reference": variant == built.reference,
            "class_names": list(built.snapshot.class_names),
            "operators": chosen.compress.operators,
        },
        indent=1,
    )


def _measurement(built: TargetBuild, name: str) -> Measurement | None:
    """What each fresh process measured: medians alone do not say how far they can be trusted."""
    if built.measured is not None:
        return built.measured.measurements[name]
    report = built.reports.get(name)
    return None if report is None else report.measurement


def _layer_sparsity(variant: BuiltVariant) -> dict[str, float]:
    """Zeros of what is shipped: of the file with fewer bits where they were counted there, else of the float network."""
    in_file = variant.quantize.layer_sparsity if variant.quantize else {}
    return in_file or variant.compress.layer_sparsity


def _calibration(variant: BuiltVariant) -> str:
    quantized = variant.quantize
    assert quantized is not None and quantized.audit is not None, "only calibrated variants have an audit"
    return json.dumps(
        {
            "method": quantized.method,
            "trials": [dataclasses.asdict(trial) for trial in quantized.trials],
            "audit": dataclasses.asdict(quantized.audit),
            "quantized_operators": quantized.quantized_operators,
            "float_operators": quantized.float_operators,
        },
        indent=1,
    )


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
