from __future__ import annotations

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
