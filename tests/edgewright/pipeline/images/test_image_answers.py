"""What an image answers is held against its bundle from outside of it, whatever kind of answer its model gives."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edgewright.bundle import Bundle
from edgewright.golden import Golden
from edgewright.pipeline.images.image_answers import RefutedError, judge, why_no_worker
from edgewright.postprocessing import Regression
from small_bundles import make_small_bundle

MEAN, STD = 40_000.0, 2.5


@pytest.fixture(scope="module")
def valued(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose model answers with values far from zero, in a unit of their own."""
    random = np.random.default_rng(3)
    samples = random.integers(0, 256, (16, 8, 8), dtype=np.uint8)
    golden = Golden(samples, random.standard_normal((16, 1)).astype(np.float32), np.zeros(16, np.int64))
    answers = Regression(MEAN, STD, "pressure", "Pa")
    return make_small_bundle(tmp_path_factory.mktemp("valued") / "b", golden=golden, postprocessing=answers)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_small_bundle(tmp_path_factory.mktemp("labelled") / "b")


def values_of(bundle: Bundle, deviation: float = 0.0) -> list[float]:
    """The values of a model whose outputs deviate so much (RMS, relative to their spread)."""
    outputs = bundle.golden.outputs[:, 0] + deviation * bundle.golden.outputs.std() * np.tile([1, -1], 8)
    return [float(np.float32(each * STD + MEAN)) for each in outputs.astype(np.float64)]


def judged(bundle: Bundle, **said: Any) -> dict[str, float]:
    answers = {"answers": [None] * 16, "values": [None] * 16, **said}
    rights = {"user": 65532, "capabilities": 0, "new_privileges": False, "writable_root": False}
    serves = {"release": {"bundle_sha256": bundle.sha256}}
    return judge({**answers, **rights, "serves": serves}, {"golden_agreeing": 16}, bundle, None)


@pytest.mark.parametrize("deviation", [0.0, 0.06, 0.11])
def test_values_within_the_devices_tolerance_are_right(deviation: float, valued: Bundle) -> None:
    assert judged(valued, values=values_of(valued, deviation))["answers_deviation"] == pytest.approx(
        deviation, abs=2e-3
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (lambda bundle: values_of(bundle, 0.13), r"other values: 16/16 golden decisions, outputs deviate by 0\.130"),
        (lambda bundle: [0.0] * 16, "with other values"),
        (lambda bundle: values_of(bundle)[::-1], "with other values"),
        (lambda bundle: [*values_of(bundle)[:-1], float("nan")], "with other values"),
        (lambda bundle: values_of(bundle)[:-1], "15 answers to 16 golden samples"),
        (lambda bundle: [None] * 16, "16 of 16 golden samples are not answered with a value, number 0 first"),
    ],
)
def test_other_values_refute_it(said: Any, reason: str, valued: Bundle) -> None:
    with pytest.raises(RefutedError, match=reason):
        judged(valued, answers=[0] * 16, values=said(valued))


def test_labels_are_compared_one_by_one_and_none_is_no_label(labelled: Bundle) -> None:
    right = [int(each) for each in labelled.golden.label_index]
    assert judged(labelled, answers=right) == {}
    with pytest.raises(RefutedError, match="1 of 16 golden samples are answered otherwise, number 5 first"):
        judged(labelled, answers=[*right[:5], (right[5] + 1) % 3, *right[6:]])
    with pytest.raises(RefutedError, match="not answered with a label, number 0 first"):
        judged(labelled, values=[0.0] * 16)


def test_a_model_that_ends_again_and_again_is_given_up_with_its_last_reason() -> None:
    ended = json.dumps({"event": "worker_ended", "reason": "cannot load the model: no such operator"})
    for log in ("", "no JSON", f"{ended}\n{ended}", f'[1]\n{ended}\n{{"event": "serving"}}\n{ended}'):
        assert why_no_worker(log) is None
    assert why_no_worker(f"{ended}\nsomething\n{ended}\n{ended}") == "cannot load the model: no such operator"
