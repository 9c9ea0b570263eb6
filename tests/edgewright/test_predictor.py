from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.bundle import Bundle
from edgewright.engines.engine import EngineSettings, open_engine
from edgewright.errors import BundleError, DataError, EngineError, GoldenReplayError
from edgewright.predictor import open_predictor, replay_golden
from edgewright.preprocessing import Preprocessing

Make = Callable[..., Bundle]


def test_it_answers_unseen_digits(make_bundle: Make, tmp_path: Path, zoo: Any) -> None:
    with open_predictor(make_bundle(tmp_path / "b")) as predictor:
        found = predictor.predict(zoo.raw)
    assert np.mean(found.label_index == zoo.truth) > 0.85
    assert np.array_equal(found.outputs, zoo.outputs(zoo.int8("mlp")))


def test_answers_do_not_depend_on_how_many_are_asked_at_once(make_bundle: Make, tmp_path: Path, zoo: Any) -> None:
    with open_predictor(make_bundle(tmp_path / "b", model=zoo.int8("cnn"), golden=zoo.golden(zoo.int8("cnn")))) as p:
        together = p.predict(zoo.raw[:70])
        alone = [p.predict(zoo.raw[i : i + 1]) for i in range(70)]
    assert np.array_equal(together.label_index, np.concatenate([a.label_index for a in alone]))
    assert np.concatenate([a.outputs for a in alone]) == pytest.approx(together.outputs, abs=1e-4)


@pytest.mark.parametrize("kind", ["anomaly", "regression"])
def test_it_answers_about_sensors(make_bundle: Make, sensors: Any, tmp_path: Path, kind: str) -> None:
    with open_predictor(make_bundle(tmp_path / "b", **sensors.bundle_fields(kind))) as predictor:
        found = predictor.predict(sensors.rows if kind == "anomaly" else sensors.windows)
    if kind == "anomaly":
        assert np.mean(found.label_index == sensors.abnormal) > 0.95
        assert np.array_equal(found.label_index, found.score > np.float32(sensors.anomaly.threshold))
    else:
        assert np.abs(found.score - sensors.values).mean() < 0.5


@pytest.mark.parametrize("kind", ["anomaly", "regression"])
def test_a_sensors_bundle_replays_and_one_with_other_weights_does_not(
    make_bundle: Make, sensors: Any, zoo: Any, tmp_path: Path, kind: str
) -> None:
    bundle = make_bundle(tmp_path / "b", **sensors.bundle_fields(kind))
    with open_predictor(bundle) as predictor:
        assert replay_golden(bundle, predictor.engine).agreeing == 16
    damaged = zoo.damaged(bundle.model, 0, "shuffled")
    with pytest.raises(GoldenReplayError, match="does not reproduce its golden samples"):
        replay_golden(bundle, open_engine("onnxruntime", damaged, EngineSettings()))


def test_a_broken_sample_is_named_by_its_own_number(make_bundle: Make, sensors: Any, tmp_path: Path) -> None:
    rows = sensors.rows[:30].copy()
    rows[21, 3] = np.nan
    with open_predictor(make_bundle(tmp_path / "b", **sensors.bundle_fields("anomaly"))) as predictor:
        with pytest.raises(DataError, match="sample 21 holds NaN"):
            predictor.predict(rows)
        with pytest.raises(DataError, match="sample 121 holds NaN"):
            predictor.predict(rows, first_number=100)


def test_a_model_that_never_answers_is_broken_off_at_the_deadline(
    make_bundle: Make, zoo: Any, endless: bytes, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "b", model=endless, golden=zoo.golden(zoo.int8("mlp")))
    with open_predictor(bundle) as predictor:
        start = time.perf_counter()
        with pytest.raises(EngineError, match=r"within the deadline \(0\.2 s were left\): it hangs"):
            replay_golden(bundle, predictor.engine, deadline_s=0.2)
        assert time.perf_counter() - start < 10


def test_golden_samples_that_the_model_cannot_take_are_a_failed_replay(
    make_bundle: Make, sensors: Any, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "b", golden=sensors.golden("anomaly"))
    with (
        open_predictor(bundle) as predictor,
        pytest.raises(GoldenReplayError, match=r"cannot take: raw samples must be"),
    ):
        replay_golden(bundle, predictor.engine)


def test_samples_of_another_size_are_refused(make_bundle: Make, tmp_path: Path) -> None:
    with open_predictor(make_bundle(tmp_path / "b")) as predictor, pytest.raises(DataError, match="28, 28"):
        predictor.predict(np.zeros((1, 32, 32), np.uint8))


def test_a_model_that_is_not_the_manifests_is_refused(make_bundle: Make, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="input is 'image', the manifest says 'pixels'"):
        open_predictor(make_bundle(tmp_path / "a", input_name="pixels"))
    with pytest.raises(EngineError, match=r"\[1, 28, 28\], the preprocessing gives \[1, 14, 56\]"):
        open_predictor(make_bundle(tmp_path / "b", preprocessing=Preprocessing((1, 14, 56), 1.0, (0.0,), (1.0,))))


def test_a_sound_bundle_replays(make_bundle: Make, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    with open_predictor(bundle) as predictor:
        replay = replay_golden(bundle, predictor.engine)
    assert (replay.samples, replay.agreeing, replay.deviation) == (16, 16, pytest.approx(0, abs=1e-6))


def test_a_bundle_with_another_seeds_model_says_how_far_off_it_is(make_bundle: Make, tmp_path: Path, zoo: Any) -> None:
    """All digests agree: only the answers tell."""
    bundle = make_bundle(tmp_path / "b", model=zoo.int8("mlp", 1), golden=zoo.golden(zoo.int8("mlp")))
    engine = open_engine("onnxruntime", bundle.model, EngineSettings())
    with pytest.raises(GoldenReplayError, match=r"\d+/16 golden decisions, .* worst sample \d+") as caught:
        replay_golden(bundle, engine)
    assert isinstance(caught.value, BundleError)


def test_golden_samples_of_another_size_of_answer_are_refused(make_bundle: Make, tmp_path: Path, zoo: Any) -> None:
    golden = zoo.golden(zoo.int8("mlp"))
    fewer = type(golden)(golden.samples, golden.outputs[:, :9].copy(), golden.label_index)
    bundle = make_bundle(tmp_path / "b", golden=fewer)
    with open_predictor(bundle) as predictor, pytest.raises(GoldenReplayError, match=r"\[16, 10\].*\[16, 9\]"):
        replay_golden(bundle, predictor.engine)
