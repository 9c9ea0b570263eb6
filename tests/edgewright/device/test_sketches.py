"""Figures of fixed size: how far they may be from the exact ones, and what they do with nonsense."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.device.sketches import (
    HIGHEST_MS,
    LOWEST_MS,
    RELATIVE_ERROR,
    ConfidenceHistogram,
    DriftSketch,
    LabelCounts,
    LatencyHistogram,
    ValueRange,
    is_drift,
)

latencies = st.lists(st.floats(LOWEST_MS, HIGHEST_MS), min_size=1, max_size=300)


def exact(values: list[float], share: float) -> float:
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


@given(latencies, st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_percentile_is_within_the_stated_error_of_the_exact_one(values: list[float], share: float) -> None:
    histogram = LatencyHistogram()
    for value in values:
        histogram.add(value)
    found, wanted = histogram.percentile(share), exact(values, share)
    assert found is not None
    assert abs(found - wanted) <= RELATIVE_ERROR * wanted * (1 + 1e-9)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=50))
def test_any_numbers_at_all_leave_it_sound(values: list[float]) -> None:
    histogram, drift, confidences, ranges = LatencyHistogram(), DriftSketch(20), ConfidenceHistogram(), ValueRange()
    for value in values:
        for sketch in (histogram, drift, confidences, ranges):
            sketch.add(value)
    drift.close_window()
    assert histogram.count == sum(0 <= value < math.inf for value in values)
    assert sum(confidences.bins) == sum(0 <= value <= 1 for value in values)
    for sketch in (histogram, drift, ranges):
        json.dumps(sketch.to_json(), allow_nan=False)


def test_what_is_below_or_above_its_range_is_counted_at_the_bound() -> None:
    histogram = LatencyHistogram()
    histogram.add(0.0)
    histogram.add(1e9)
    assert histogram.percentile(0.1) == pytest.approx(LOWEST_MS, rel=RELATIVE_ERROR * 1.001)
    assert histogram.percentile(1.0) == pytest.approx(HIGHEST_MS, rel=2 * RELATIVE_ERROR)
    assert histogram.maximum_ms == 1e9


def test_a_million_latencies_take_as_much_room_as_ten() -> None:
    histogram, dice = LatencyHistogram(), random.Random(1)
    for _ in range(100_000):
        histogram.add(dice.lognormvariate(1, 3))
    assert len(json.dumps(histogram.to_json())) < 8000
    assert histogram.to_json()["count"] == 100_000


def test_without_latencies_there_is_no_percentile() -> None:
    assert LatencyHistogram().percentile(0.5) is None
    assert LatencyHistogram().to_json()["p95"] is None


def test_labels_are_counted_up_to_a_number() -> None:
    labels = LabelCounts()
    for index in range(1000):
        labels.add(str(index % 100))
    labels.add("7")
    counts = labels.to_json()
    assert len(counts) == 65
    assert counts["7"] == 11
    assert counts["(other)"] == 360
    labels = LabelCounts()
    labels.add("x" * 10_000)
    assert len(json.dumps(labels.to_json())) < 200


def test_confidences_at_both_ends_have_a_bin() -> None:
    confidences = ConfidenceHistogram()
    for value in (0.0, 0.049, 0.5, 0.999, 1.0):
        confidences.add(value)
    assert confidences.bins[0] == 2
    assert confidences.bins[10] == 1
    assert confidences.bins[19] == 2


def test_values_are_summed_up() -> None:
    ranges = ValueRange()
    for value in (1.0, 2.0, 6.0, math.nan):
        ranges.add(value)
    assert ranges.to_json() == {"count": 3, "mean": 3.0, "minimum": 1.0, "maximum": 6.0}


def window(sketch: DriftSketch, dice: random.Random, mean: float, samples: int = 500) -> float:
    for _ in range(samples):
        sketch.add(dice.gauss(mean, 1))
    assert sketch.close_window()
    assert sketch.psi is not None
    return sketch.psi


def settled(seed: int) -> tuple[DriftSketch, random.Random]:
    sketch, dice = DriftSketch(500), random.Random(seed)
    for _ in range(500):
        sketch.add(dice.gauss(0, 1))
    assert sketch.is_settled
    return sketch, dice


def test_inputs_that_do_not_drift_stay_near_what_chance_gives() -> None:
    found = []
    for seed in range(40):
        sketch, dice = settled(seed)
        found.append(window(sketch, dice, 0.0))
    assert sketch.noise is not None
    assert sum(found) / len(found) == pytest.approx(sketch.noise, rel=0.5)
    assert max(found) < 3 * sketch.noise


@pytest.mark.parametrize(("shift", "least"), [(0.5, 0.15), (1.0, 0.6), (5.0, 3.0), (-5.0, 3.0)])
def test_inputs_that_drift_are_seen(shift: float, least: float) -> None:
    sketch, dice = settled(1)
    assert window(sketch, dice, shift) > least
    assert window(sketch, dice, 0.0) < 0.1, "the next window is judged by itself"


def test_a_window_is_compared_once_it_has_enough_samples() -> None:
    sketch, dice = settled(1)
    for _ in range(499):
        sketch.add(dice.gauss(0, 1))
    assert not sketch.close_window()
    assert sketch.psi is None
    sketch.add(0.0)
    assert sketch.close_window()


@pytest.mark.parametrize("moved", [3.0, 5.0])
def test_inputs_that_never_varied_are_watched_too(moved: float) -> None:
    sketch = DriftSketch(500)
    for _ in range(500):
        sketch.add(4.0)
    for _ in range(500):
        sketch.add(4.0)
    sketch.close_window()
    assert sketch.psi == pytest.approx(0.0)
    for _ in range(500):
        sketch.add(moved)
    sketch.close_window()
    assert sketch.psi is not None and sketch.psi > 1


def test_a_reference_can_be_taken_up_again() -> None:
    sketch, dice = settled(1)
    other = DriftSketch(500)
    assert other.restore(**sketch.reference())
    assert window(other, dice, 1.0) > 0.6
    for edges, counts in (([], []), ([2.0, 1.0], [1, 1, 1]), ([1.0], [1]), ([1.0], [-1, 3]), ([math.inf], [1, 1])):
        assert not DriftSketch().restore(edges, counts)


@pytest.mark.parametrize(
    ("psi", "noise", "drifts"),
    [
        (None, None, False),
        (0.24, 0.0, False),
        (0.25, None, True),
        (0.25, 0.08, True),
        (0.3, 0.1, False),
        (0.31, 0.1, True),
    ],
)
def test_a_drift_is_large_and_far_above_what_chance_gives(psi: float | None, noise: float | None, drifts: bool) -> None:
    assert is_drift(psi, noise) is drifts
