"""Stage 5: what a model answers, sample by sample, with the device's own engine and pre- and postprocessing."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pytest

from edgewright.engines.engine import open_engine
from edgewright.errors import EngineError
from edgewright.pipeline.model_engine import engine_of
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.stages import evaluate
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.evaluate import EvaluationResult, load_predictions
from edgewright.pipeline.targets import Target


@pytest.fixture(scope="module")
def heard() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def evaluation(build: Any, target: Target, heard: list[Progress]) -> EvaluationResult:
    outcome = evaluate.run(
        build.store,
        build.snapshot,
        build.int8.value.model,
        engine_of(target, "onnx"),
        build.recipe.task,
        "p50-i8",
        heard.append,
    )
    assert not outcome.unchanged
    return outcome.value


def test_predictions_are_kept_per_sample_for_both_splits(build: Any, evaluation: EvaluationResult) -> None:
    data = snapshot_stage.load(build.store, build.snapshot)
    for artifact, split in ((evaluation.validation, data.validation), (evaluation.test, data.test)):
        kept = load_predictions(build.store, artifact)
        assert kept.sample_sha256 == split.sample_sha256
        assert np.array_equal(kept.labels, split.labels)


def test_they_are_the_engines_own_answers(build: Any, evaluation: EvaluationResult, target: Target) -> None:
    data = snapshot_stage.load(build.store, build.snapshot)
    engine = open_engine("onnxruntime", build.store.read(build.int8.value.model), engine_of(target, "onnx").settings)
    expected = engine.run(build.snapshot.preprocessing.apply(data.validation.images)).argmax(1)
    assert np.array_equal(load_predictions(build.store, evaluation.validation).predicted, expected)


def test_figures_follow_from_the_predictions(build: Any, evaluation: EvaluationResult) -> None:
    validation = load_predictions(build.store, evaluation.validation)
    assert evaluation.validation_pct == pytest.approx(100 * (validation.predicted == validation.labels).mean())
    assert evaluation.validation_pct > 50  # by chance 10
    assert evaluation.threshold is None, "only anomalies have one"
    content = build.store.read(build.int8.value.model)
    assert evaluation.size_bytes == len(content)
    assert evaluation.compressed_size_bytes == len(gzip.compress(content, mtime=0))
    assert evaluation.providers_in_use == ("CPUExecutionProvider",)


def test_progress_counts_samples(heard: list[Progress], evaluation: EvaluationResult, build: Any) -> None:
    samples = build.snapshot.samples
    assert [progress.done for progress in heard] == sorted(progress.done for progress in heard)
    assert heard[-1].done == heard[-1].total == samples["validation"] + samples["test"]


def test_it_is_remembered_until_the_targets_engine_settings_change(
    build: Any, target: Target, evaluation: EvaluationResult
) -> None:
    data, model = build.snapshot, build.int8.value.model
    elsewhere = target.model_copy(update={"platform": "linux/arm64", "description": "another device, same settings"})
    again = evaluate.run(build.store, data, model, engine_of(elsewhere, "onnx"), build.recipe.task, "p50-i8")
    assert again.unchanged and again.value == evaluation
    busier = engine_of(target.model_copy(update={"threads": 2}), "onnx")
    assert busier.identity() != engine_of(target, "onnx").identity()


def test_a_model_that_the_engine_refuses_is_an_engine_error(build: Any, target: Target) -> None:
    broken = build.store.put_bytes(b"no model at all")
    with pytest.raises(EngineError):
        evaluate.run(build.store, build.snapshot, broken, engine_of(target, "onnx"), build.recipe.task, "broken")
