"""What a model answers when its samples are corrupted: pairable with any other model's answers on the same samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import DataError, EngineError
from edgewright.pipeline.artifact_store import Artifact, ArtifactStore, Outcome
from edgewright.pipeline.corruptions import corrupt
from edgewright.pipeline.data_settings import DigitsSettings, ShuttleSettings
from edgewright.pipeline.model_engine import ModelEngine
from edgewright.pipeline.progress import Progress
from edgewright.pipeline.robustness_settings import RobustnessSettings
from edgewright.pipeline.stages import robustness
from edgewright.pipeline.stages import snapshot as snapshot_stage
from edgewright.pipeline.stages.robustness import RobustnessResult, smallest_digests
from edgewright.pipeline.stages.snapshot import SnapshotResult
from edgewright.pipeline.task_settings import AnomalySettings, ClassificationSettings, TaskSettings

_ENGINE = ModelEngine("onnxruntime", EngineSettings())
_ASKED = RobustnessSettings(corruptions=["noise", "contrast"], samples=100)


@dataclass(frozen=True)
class Solved:
    """A data set in a store and a network of one layer that answers it: found by algebra, no training."""

    store: ArtifactStore
    data: SnapshotResult
    task: TaskSettings
    model: Artifact

    def run(
        self,
        asked: RobustnessSettings = _ASKED,
        model: Artifact | None = None,
        threshold: float | None = None,
        heard: list[Progress] | None = None,
    ) -> Outcome[RobustnessResult]:
        listener = [] if heard is None else heard
        return robustness.run(
            self.store, self.data, model or self.model, _ENGINE, asked, self.task, threshold, "f", listener.append
        )


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Solved:
    """Least squares on 1,000 digits: right on three of four."""
    store = ArtifactStore(tmp_path_factory.mktemp("digits"))
    settings = DigitsSettings(dataset="digits", limit_per_class=150, calibration_share=0.1, calibration_samples=64)
    task = ClassificationSettings(kind="classification")
    data = snapshot_stage.run(store, settings, task).value.folds[0]
    train = snapshot_stage.load(store, data).train
    inputs = data.preprocessing.apply(train.images).reshape(len(train.labels), -1)
    wanted = np.eye(10)[train.labels] - 0.1
    weights = np.linalg.solve(inputs.T @ inputs + 300 * np.eye(inputs.shape[1]), inputs.T @ wanted)
    return Solved(store, data, task, store.put_bytes(_one_layer(weights, data.input_shape)))


@pytest.fixture(scope="module")
def shuttle(tmp_path_factory: pytest.TempPathFactory) -> Solved:
    """Rows squeezed onto the four directions in which normal ones spread most."""
    store = ArtifactStore(tmp_path_factory.mktemp("shuttle"))
    task = AnomalySettings(kind="anomaly", normal="normal")
    data = snapshot_stage.run(store, ShuttleSettings(dataset="shuttle", test_share=0.05), task).value.folds[0]
    train = snapshot_stage.load(store, data).train
    inputs = data.preprocessing.apply(train.images[train.labels == 0]).reshape(-1, 9).astype(np.float64)
    directions = np.linalg.eigh(inputs.T @ inputs)[1][:, -4:]
    return Solved(store, data, task, store.put_bytes(_one_layer(directions @ directions.T, data.input_shape)))


def _one_layer(weights: npt.NDArray[Any], input_shape: tuple[int, int, int]) -> bytes:
    """One matrix as an ONNX file: ``[batch, C, H, W]`` to ``[batch, outputs]``."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["output"])]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *input_shape])]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", weights.shape[1]])]
    graph = helper.make_graph(
        nodes, "one layer", inputs, outputs, [numpy_helper.from_array(weights.astype(np.float32), "w")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture(scope="module")
def heard() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def result(digits: Solved, heard: list[Progress]) -> RobustnessResult:
    return digits.run(heard=heard).value


def test_answers_are_the_engines_own_on_the_corrupted_samples(digits: Solved, result: RobustnessResult) -> None:
    test = snapshot_stage.load(digits.store, digits.data).test
    chosen = np.argsort(test.sample_sha256)[:100]
    digests = tuple(test.sample_sha256[index] for index in chosen)
    engine = open_engine("onnxruntime", digits.store.read(digits.model), _ENGINE.settings)
    mean, std = ([255 * value for value in values] for values in (digits.data.mean, digits.data.std))
    for name, predictions in robustness.load(digits.store, result).items():
        raw = corrupt(name, test.images[chosen], digests, "image", mean, std)
        expected = engine.run(digits.data.preprocessing.apply(raw)).argmax(axis=1)
        assert np.array_equal(predictions.predicted, expected)
        assert predictions.sample_sha256 == digests
        assert np.array_equal(predictions.labels, test.labels[chosen])


def test_figures_follow_from_the_predictions(digits: Solved, result: RobustnessResult) -> None:
    loaded = robustness.load(digits.store, result)
    assert list(loaded) == list(result.figure_pct) == _ASKED.corruptions
    for name, predictions in loaded.items():
        assert result.figure_pct[name] == pytest.approx(100 * predictions.correct.mean())
    assert 50 < min(result.figure_pct.values()) < result.clean_pct
    assert result.samples == 100


def test_two_models_answer_the_same_samples(digits: Solved, result: RobustnessResult) -> None:
    worse = digits.store.put_bytes(_one_layer(np.random.default_rng(0).normal(size=(784, 10)), digits.data.input_shape))
    other = robustness.load(digits.store, digits.run(model=worse).value)
    for name, predictions in robustness.load(digits.store, result).items():
        assert predictions.sample_sha256 == other[name].sample_sha256
        assert not np.array_equal(predictions.predicted, other[name].predicted)


def test_anomalies_are_judged_by_their_scores(shuttle: Solved) -> None:
    asked = RobustnessSettings(corruptions=["drift", "missing_channel"], samples=1500)
    outcome = shuttle.run(asked, threshold=2.0)
    assert 50 < min(outcome.value.figure_pct.values()) < outcome.value.clean_pct
    for predictions in robustness.load(shuttle.store, outcome.value).values():
        assert predictions.score is not None
        assert np.array_equal(predictions.predicted, predictions.score > 2.0)
        assert set(predictions.labels) == {0, 1}
    assert not shuttle.run(asked, threshold=3.0).unchanged


def test_progress_counts_samples_of_every_round(heard: list[Progress], result: RobustnessResult) -> None:
    assert [(progress.done, progress.note) for progress in heard] == [(100, "clean"), (200, "noise"), (300, "contrast")]
    assert {progress.total for progress in heard} == {300}


def test_it_is_remembered_whatever_the_margin_is(digits: Solved, result: RobustnessResult) -> None:
    again = digits.run(_ASKED.model_copy(update={"margin_points": 9.0}))
    assert again.unchanged and again.value == result


def test_a_model_that_the_engine_refuses_is_an_engine_error(digits: Solved) -> None:
    with pytest.raises(EngineError):
        digits.run(model=digits.store.put_bytes(b"no model at all"))


def test_a_corruption_that_does_not_apply_is_a_data_error(digits: Solved) -> None:
    with pytest.raises(DataError, match="drift does not apply to samples of the kind image"):
        digits.run(RobustnessSettings(corruptions=["drift"], samples=100))


def test_the_chosen_samples_do_not_depend_on_order_and_hardly_on_new_data() -> None:
    digests = tuple(f"{index * 7919 % 1000:064x}" for index in range(1000))
    assert [digests[index] for index in smallest_digests(digests, 3)] == [f"{index:064x}" for index in range(3)]
    assert smallest_digests(digests, 5000) == smallest_digests(digests, 1000)
    newer = (*digests, f"{2000:064x}")
    assert smallest_digests(newer, 50) == smallest_digests(digests, 50)
