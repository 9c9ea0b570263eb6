"""How sure against how right: the error of the probabilities, and bounds of its rise."""

from __future__ import annotations

import numpy as np
import pytest

from edgewright.errors import DataError, GateError
from edgewright.pipeline.paired_quality import Drop, Undecidable
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.probability_calibration import expected_calibration_error, rise_bounds


def sure(probability: np.ndarray, right: np.ndarray) -> Predictions:
    digests = tuple(f"{index:064x}" for index in range(len(probability)))
    labels = np.zeros(len(probability), np.int64)
    return Predictions(digests, labels, (~right).astype(np.int64), probability.astype(np.float32))


def test_the_error_is_the_mean_distance_over_bins_of_equally_many() -> None:
    probability = np.repeat([0.6, 0.9], 50)
    right = np.concatenate([np.arange(50) < 20, np.arange(50) < 50])
    assert expected_calibration_error(sure(probability, right), 2) == pytest.approx((20 + 10) / 2, abs=1e-4)


def test_one_bin_compares_mean_probability_and_accuracy() -> None:
    rng = np.random.default_rng(1)
    probability, right = rng.random(101), rng.random(101) < 0.5
    expected = 100 * abs(probability.mean() - right.mean())
    assert expected_calibration_error(sure(probability, right), 1) == pytest.approx(expected, abs=1e-4)


def test_equal_probabilities_share_a_bin_so_that_the_order_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    probability, right = np.round(rng.random(200), 1), rng.random(200) < 0.7
    shuffled = rng.permutation(200)
    first, second = (expected_calibration_error(sure(probability[i], right[i])) for i in (np.arange(200), shuffled))
    assert first == pytest.approx(second, abs=1e-9)


@pytest.mark.parametrize("probability", [[], [1.5], [-0.1]])
def test_what_is_no_probability_is_refused(probability: list[float]) -> None:
    with pytest.raises(DataError, match="calibration error"):
        expected_calibration_error(sure(np.array(probability), np.full(len(probability), True)))


def test_answers_without_scores_have_no_calibration_error() -> None:
    answers = Predictions(("0" * 64,), np.zeros(1, np.int64), np.zeros(1, np.int64))
    with pytest.raises(DataError, match="with scores"):
        expected_calibration_error(answers)


class TestRise:
    @staticmethod
    def models(samples: int, slope: float) -> tuple[Predictions, Predictions]:
        rng = np.random.default_rng(3)
        logit = rng.normal(2.0, 1.5, samples)
        right = rng.random(samples) < 1 / (1 + np.exp(-logit))
        return sure(1 / (1 + np.exp(-slope * logit)), right), sure(1 / (1 + np.exp(-logit)), right)

    @pytest.mark.parametrize("groups", [None, 8])
    def test_a_model_that_became_far_too_sure_shows(self, groups: int | None) -> None:
        names = None if groups is None else tuple(str(index % groups) for index in range(4000))
        found = rise_bounds(*self.models(4000, 3.0), names, 0.95)
        assert isinstance(found, Drop)
        assert 2.0 < found.low <= found.figure <= found.high < 15.0
        assert (found.samples, found.groups) == (4000, groups)

    def test_the_same_answers_have_not_risen(self) -> None:
        candidate, _ = self.models(500, 1.0)
        found = rise_bounds(candidate, candidate, None, 0.95)
        assert isinstance(found, Drop)
        assert (found.low, found.figure, found.high) == (0.0, 0.0, 0.0)

    def test_a_rise_is_the_fall_seen_from_the_other_model(self) -> None:
        candidate, reference = self.models(800, 1.4)
        rise, fall = rise_bounds(candidate, reference, None, 0.95), rise_bounds(reference, candidate, None, 0.95)
        assert isinstance(rise, Drop) and isinstance(fall, Drop)
        assert (rise.low, rise.figure, rise.high) == pytest.approx((-fall.high, -fall.figure, -fall.low))

    def test_says_how_many_would_decide_where_there_is_a_limit(self) -> None:
        candidate, reference = self.models(800, 1.1)
        assert rise_bounds(candidate, reference, None, 0.95).needed is None
        open_question = rise_bounds(candidate, reference, None, 0.95, margin_points=1.0)
        assert isinstance(open_question, Drop)
        assert open_question.needed is not None and open_question.needed > 800

    def test_too_few_groups_or_samples_decide_nothing(self) -> None:
        candidate, reference = self.models(400, 1.1)
        found = rise_bounds(candidate, reference, tuple("abcd"[index % 4] for index in range(400)), 0.95)
        assert isinstance(found, Undecidable) and (found.needed, found.needed_word) == (5, "groups")
        few = np.arange(29)
        found = rise_bounds(candidate.take(few), reference.take(few), None, 0.95)
        assert isinstance(found, Undecidable) and (found.needed, found.needed_word) == (30, "samples")

    def test_what_does_not_pair_is_refused(self) -> None:
        candidate, reference = self.models(100, 1.1)
        with pytest.raises(GateError, match="do not pair"):
            rise_bounds(candidate, reference.take(np.arange(99)), None, 0.95)
        with pytest.raises(GateError, match="names of groups"):
            rise_bounds(candidate, reference, ("a",), 0.95)
        with pytest.raises(GateError, match="confidence"):
            rise_bounds(candidate, reference, None, 1.0)
