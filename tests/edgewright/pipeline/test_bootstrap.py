"""AUROC under random weights against brute force, and bounds that are exact where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from edgewright.errors import GateError
from edgewright.pipeline import auroc_bounds
from edgewright.pipeline.bootstrap import MOST_RESAMPLES, RESAMPLES, Ranking, resamples_for, seeded, weights
from edgewright.pipeline.quality import auroc
from edgewright.pipeline.statistics import accuracy_lower_bound


def test_a_weight_is_as_many_copies_of_a_sample() -> None:
    rng = np.random.default_rng(1)
    anomalous, score = rng.random(40) < 0.4, rng.integers(0, 6, 40).astype(np.float32)
    copies = rng.integers(1, 4, (3, 40))
    found = Ranking.of(anomalous, score).auroc(copies.astype(float))
    for row, value in zip(copies, found, strict=True):
        assert value == pytest.approx(auroc(np.repeat(anomalous, row), np.repeat(score, row)))


def test_the_samples_alone_are_the_seed() -> None:
    first, again, other = (seeded([text]).random() for text in ("a" * 64, "a" * 64, "b" * 64))
    assert first == again != other


def test_enough_resamples_lie_beyond_a_bound() -> None:
    assert resamples_for(0.95) == RESAMPLES
    assert resamples_for(0.99) == pytest.approx(4000, abs=1)
    assert resamples_for(0.9999) == MOST_RESAMPLES
    with pytest.raises(GateError, match="at most"):
        resamples_for(0.999_999)


def test_weights_come_in_portions_that_add_up() -> None:
    portions = list(weights(np.random.default_rng(1), 1_500_000, 3))
    assert [portion.shape for portion in portions] == [(1, 1_500_000)] * 3


@pytest.mark.parametrize(("anomalies", "missed"), [(59, 0), (200, 6)])
def test_missed_anomalies_are_bounded_as_exactly_as_a_share_of_right_answers(anomalies: int, missed: int) -> None:
    normal = 5000
    anomalous = np.arange(normal + anomalies) >= normal
    score = anomalous + np.linspace(0, 0.5, len(anomalous))
    candidate = score.copy()
    candidate[normal : normal + missed] = -1.0
    found = auroc_bounds.over_samples(
        Ranking.of(anomalous, candidate), Ranking.of(anomalous, score), 0.95, np.random.default_rng(1)
    )
    assert found.figure == pytest.approx(missed / anomalies)
    # A little above: the normal samples that were not seen count as well.
    exact = 1 - accuracy_lower_bound(anomalies - missed, anomalies, 0.95)
    assert exact - 0.003 <= found.high <= exact + 0.006


def test_groups_are_weighed_as_a_whole() -> None:
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(12), 50)
    anomalous = np.arange(600) % 10 == 0
    shift = rng.normal(size=12)[group]
    other = rng.normal(size=600) + 2 * anomalous
    candidate = other + 0.8 * shift * anomalous
    rankings = Ranking.of(anomalous, candidate), Ranking.of(anomalous, other)
    whole = auroc_bounds.over_groups(*rankings, group, 12, 0.95, np.random.default_rng(1))
    single = auroc_bounds.over_groups(*rankings, np.arange(600), 600, 0.95, np.random.default_rng(1))
    assert whole.figure == single.figure
    assert whole.high - whole.figure > 1.2 * (single.high - single.figure)
