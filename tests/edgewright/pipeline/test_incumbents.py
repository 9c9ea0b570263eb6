"""What a released version answers on today's test split: its kept answers, or its bundle run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.engines.engine import EngineSettings
from edgewright.errors import StageError
from edgewright.pipeline import model_engine
from edgewright.pipeline.built import pool
from edgewright.pipeline.data_settings import DigitsSettings, MotionSettings
from edgewright.pipeline.datasets import digits
from edgewright.pipeline.datasets.dataset import take_subset
from edgewright.pipeline.evidence import NoneYet, Unavailable
from edgewright.pipeline.incumbents import incumbent_predictions
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.task_settings import ClassificationSettings
from edgewright.pipeline.tracking import ModelVersion, RunRecord, log_run, register
from edgewright.predictor import open_predictor

QUESTION = ClassificationSettings(kind="classification")


@pytest.fixture
def take(hand_made: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], SnapshotResult]:
    """A snapshot of real digits with so many test images of each."""
    whole = digits.load()

    def snapshot(per_class: int) -> SnapshotResult:
        monkeypatch.setattr(digits, "load", lambda *_: take_subset(whole, None, per_class))
        # Another number of training images, so that it is no remembered snapshot.
        settings = {"dataset": "digits", "limit_per_class": 60 + per_class, "calibration_samples": 64}
        shares = {"validation_share": 0.2, "calibration_share": 0.3}
        taken: SnapshotResult = snapshot_stage.run(
            hand_made.store, DigitsSettings.model_validate({**settings, **shares}), QUESTION
        ).value.folds[0]
        return taken

    return snapshot


@pytest.fixture
def release(hand_made: Any, make_bundle: Callable[..., Any]) -> Callable[..., tuple[ModelVersion, Any]]:
    """Release a real bundle with kept predictions; returns the version and the bundle."""

    def publish(kept: Predictions, **fields: Any) -> tuple[ModelVersion, Any]:
        bundle = make_bundle(hand_made.folder / "released", **fields)
        path = hand_made.folder / "kept.npz"
        kept.save(path)
        artifacts = {"bundle": bundle.folder, "predictions.npz": path}
        record = RunRecord(model="digits", build="b1", variant="i8", target="t", artifacts=artifacts)
        run_id = log_run(hand_made.tracking, record)
        words = {"run_id": run_id, "build": "b1", "bundle_sha256": bundle.sha256, "verdict": "pass", "variant": "i8"}
        return register(hand_made.tracking, "digits", "t", **words), bundle

    return publish


def ask(hand_made: Any, version: ModelVersion | None, snapshot: SnapshotResult) -> Any:
    return incumbent_predictions(
        hand_made.store, hand_made.tracking, version, [snapshot], hand_made.build().recipe.task
    )


def records(hand_made: Any) -> int:
    return len(list((hand_made.store.root / "stages" / "incumbent").glob("*.json")))


def test_nobody_in_office_yet(hand_made: Any, take: Callable[[int], SnapshotResult]) -> None:
    assert ask(hand_made, None, take(30)) == NoneYet()


def test_the_kept_answers_serve_as_long_as_the_test_split_is_the_same(
    hand_made: Any, take: Callable[[int], SnapshotResult], release: Callable[..., Any]
) -> None:
    snapshot = take(30)
    test = snapshot_stage.load(hand_made.store, snapshot).test
    kept = Predictions(test.sample_sha256, test.labels, np.zeros_like(test.labels))
    version, _ = release(kept)
    assert ask(hand_made, version, snapshot) == kept
    assert records(hand_made) == 0


def test_on_another_test_split_the_released_bundle_answers_again_once(
    hand_made: Any, take: Callable[[int], SnapshotResult], release: Callable[..., Any]
) -> None:
    version, bundle = release(hand_made.predictions(0))
    snapshot = take(40)
    test = snapshot_stage.load(hand_made.store, snapshot).test
    answered = ask(hand_made, version, snapshot)
    with open_predictor(bundle) as predictor:
        expected = predictor.predict(test.images)
    assert answered.answers == Predictions(test.sample_sha256, test.labels, expected.label_index, expected.score)
    assert answered.answers.accuracy_pct > 85, "a real model on real digits"
    assert answered.judged_on == set(hand_made.predictions(0).sample_sha256), "what it was judged on then"
    assert ask(hand_made, version, snapshot) == answered
    assert records(hand_made) == 1, "remembered"


def test_another_version_of_the_bundles_own_engine_answers_anew(
    hand_made: Any,
    take: Callable[[int], SnapshotResult],
    release: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version, _ = release(hand_made.predictions(0))
    snapshot = take(30)
    ask(hand_made, version, snapshot)
    asked: list[str] = []

    def another(distributions: Sequence[str]) -> dict[str, str]:
        asked.extend(distributions)
        return dict.fromkeys(distributions, "0.0.1")

    monkeypatch.setattr(model_engine, "tool_versions", another)
    ask(hand_made, version, snapshot)
    assert (asked, records(hand_made)) == (["onnxruntime"], 2)


def test_a_tflite_bundle_depends_on_litert_alone(
    hand_made: Any,
    take: Callable[[int], SnapshotResult],
    release: Callable[..., Any],
    zoo: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = {"model": b"of TFLite", "golden": zoo.golden(zoo.int8("mlp"))}
    version, _ = release(
        hand_made.predictions(0), engine="litert", settings=EngineSettings(providers=("XNNPACK",)), **bundle
    )

    def missing(distributions: Sequence[str]) -> dict[str, str]:
        raise StageError(f"{', '.join(distributions)} is not installed")

    monkeypatch.setattr(model_engine, "tool_versions", missing)
    assert ask(hand_made, version, take(30)) == Unavailable("ai-edge-litert is not installed")


def test_a_label_that_was_corrected_is_another_test_split(
    hand_made: Any, take: Callable[[int], SnapshotResult], release: Callable[..., Any]
) -> None:
    snapshot = take(30)
    test = snapshot_stage.load(hand_made.store, snapshot).test
    labels = test.labels.copy()
    labels[0] = (labels[0] + 1) % 10
    version, _ = release(Predictions(test.sample_sha256, labels, labels))
    answers = ask(hand_made, version, snapshot)
    assert np.array_equal(answers.labels, test.labels)


def test_answers_that_cannot_be_had_are_said_to_be_missing_and_why(
    hand_made: Any, take: Callable[[int], SnapshotResult], release: Callable[..., Any], zoo: Any, tmp_path: Path
) -> None:
    from edgewright.postprocessing import Classification

    version, _ = release(hand_made.predictions(0), postprocessing=Classification(tuple("abcdefghij")))
    answer = ask(hand_made, version, take(30))
    assert isinstance(answer, Unavailable)
    assert "'a'" in answer.reason and "'0'" in answer.reason
    for model in (hand_made.tracking.home / "mlflow" / "artifacts").rglob("model.onnx"):
        model.write_bytes(b"damaged")
    answer = ask(hand_made, version, take(31))
    assert isinstance(answer, Unavailable)
    assert "model.onnx" in answer.reason


def test_of_people_in_folds_only_those_count_whom_both_releases_answered_as_strangers(
    hand_made: Any, release: Callable[..., Any]
) -> None:
    """Its bundle has trained on people whom other folds test: running it on them again would flatter it."""
    data = MotionSettings(dataset="motion")
    folds = snapshot_stage.run(hand_made.store, data, QUESTION).value.folds
    splits = [snapshot_stage.load(hand_made.store, fold).test for fold in folds]
    today = pool([Predictions(split.sample_sha256, split.labels, split.labels) for split in splits])

    def ask_folds() -> Any:
        return incumbent_predictions(hand_made.store, hand_made.tracking, version, folds, QUESTION)

    earlier = np.arange(len(splits[0].labels), len(today))  # before the first fold's people joined
    version, _ = release(today.take(earlier[::-1]))
    assert ask_folds() == today.take(earlier), "in today's order"
    assert records(hand_made) == 0, "the bundle is not run"


def test_a_release_that_answered_none_of_todays_people_cannot_be_compared(
    hand_made: Any, release: Callable[..., Any]
) -> None:
    folds = snapshot_stage.run(hand_made.store, MotionSettings(dataset="motion"), QUESTION).value.folds
    version, _ = release(hand_made.predictions(0))
    answer = incumbent_predictions(hand_made.store, hand_made.tracking, version, folds, QUESTION)
    assert isinstance(answer, Unavailable)
    assert "answered none of today's test samples" in answer.reason
