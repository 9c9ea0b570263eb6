"""Statistics of the gate against brute force, textbook values and their own promises."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgewright.errors import GateError
from edgewright.pipeline.paired_test import largest_passing, largest_tail, tango_score
from edgewright.pipeline.statistics import (
    Interval,
    PairedCounts,
    accuracy_interval,
    accuracy_lower_bound,
    accuracy_upper_bound,
    drop_interval,
    largest_passing_lost,
    median_interval,
    p_drop_above,
    p_drop_below,
    samples_to_decide,
    samples_to_decide_accuracy,
    tango_interval,
)


@st.composite
def paired_counts(draw: st.DrawFn, most: int = 250) -> PairedCounts:
    samples = draw(st.integers(1, most))
    lost = draw(st.integers(0, samples))
    return PairedCounts(samples, lost, draw(st.integers(0, samples - lost)))


MARGINS = st.sampled_from([0.002, 0.01, 0.03, 0.1, 0.4])


def test_the_module_costs_nothing_to_import() -> None:
    code = "import sys, edgewright.pipeline.statistics; print(sorted(m for m in sys.modules if m.startswith('scipy')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("counts", [(0, 0, 0), (10, -1, 0), (10, 6, 5)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(GateError, match="at least 1 sample"):
        PairedCounts(*counts)


class TestTangoScore:
    """The order of the tables."""

    @pytest.mark.parametrize(("lost", "gained", "drop"), [(8, 3, 0.05), (0, 4, 0.05), (9, 9, -0.1), (0, 0, 0.02)])
    def test_uses_the_rate_of_greatest_likelihood_under_the_hypothesis(
        self, lost: int, gained: int, drop: float
    ) -> None:
        samples = 50
        rates = np.linspace(max(0.0, -drop) + 1e-9, (1 - drop) / 2 - 1e-9, 200_001)
        likelihood = lost * np.log(rates + drop) + gained * np.log(rates)
        likelihood += (samples - lost - gained) * np.log(1 - 2 * rates - drop)
        rate = rates[likelihood.argmax()]
        expected = (lost - gained - samples * drop) / np.sqrt(samples * (2 * rate + drop * (1 - drop)))
        assert float(tango_score(lost, gained, samples, drop)) == pytest.approx(expected, abs=1e-3)

    @given(paired_counts(10_000), st.sampled_from([-0.4, -0.01, 0.0, 0.001, 0.01, 0.3]))
    @settings(deadline=None)
    def test_rises_with_lost_and_falls_with_gained(self, counts: PairedCounts, drop: float) -> None:
        samples, lost, gained = counts.samples, counts.lost, counts.gained
        score = float(tango_score(lost, gained, samples, drop))
        if lost + gained < samples:
            assert float(tango_score(lost + 1, gained, samples, drop)) > score - 1e-9
            assert float(tango_score(lost, gained + 1, samples, drop)) < score + 1e-9
        assert float(tango_score(gained, lost, samples, -drop)) == pytest.approx(-score, abs=1e-6)

    def test_published_example(self) -> None:
        # Airway hyper-responsiveness of 21 children, 1 and 7 discordant (Fagerland, Lydersen and Laake, Statistics in
        # Medicine 33, 2014): Tango's 95 % interval is -0.517 to -0.026.
        interval = tango_interval(PairedCounts(21, 1, 7), 0.975)
        assert (round(interval.low, 3), round(interval.high, 3)) == (-0.517, -0.026)


class TestExactTest:
    """The p-value that decides."""

    @pytest.mark.parametrize(
        ("counts", "margin"),
        [(PairedCounts(40, 1, 2), 0.1), (PairedCounts(60, 0, 0), 0.05), (PairedCounts(35, 3, 9), -0.02)],
    )
    def test_equals_enumeration_of_every_table(self, counts: PairedCounts, margin: float) -> None:
        n = counts.samples
        b, c = np.meshgrid(np.arange(n + 1.0), np.arange(n + 1.0), indexing="ij")
        possible = b + c <= n
        observed = float(tango_score(counts.lost, counts.gained, n, margin))
        favourable = possible & (tango_score(b, np.minimum(c, n - b), n, margin) <= observed + 1e-9)
        largest = 0.0
        for p_gained in np.linspace(max(0.0, -margin), (1 - margin) / 2, 400):
            p_lost = p_gained + margin
            table = stats.binom.pmf(b, n, p_lost) * stats.binom.pmf(c, n - b, min(1.0, p_gained / (1 - p_lost)))
            largest = max(largest, float(table[favourable].sum()))
        assert p_drop_below(counts, margin) == pytest.approx(largest, abs=2e-4)
        assert p_drop_below(counts, margin) >= largest - 1e-9

    def test_without_a_disagreement_it_is_the_power_of_the_margin(self) -> None:
        assert p_drop_below(PairedCounts(299, 0, 0), 0.01) == pytest.approx(0.99**299, rel=1e-9)

    def test_the_largest_number_that_may_be_lost_at_1000_samples(self) -> None:
        assert largest_passing_lost(1000, 0.95, 0.01)[:6].tolist() == [4, 5, 6, 6, 7, 8]

    def test_the_table_is_the_decision(self) -> None:
        table = largest_passing_lost(200, 0.95, 0.03)
        for gained in range(0, 40):
            lost = int(table[gained])
            if lost >= 0:
                assert p_drop_below(PairedCounts(200, lost, gained), 0.03) <= 0.05
            assert p_drop_below(PairedCounts(200, lost + 1, gained), 0.03) > 0.05

    @given(paired_counts(), MARGINS)
    @settings(deadline=None, max_examples=40)
    def test_one_more_lost_sample_never_looks_better(self, counts: PairedCounts, margin: float) -> None:
        if counts.lost + counts.gained < counts.samples:
            worse = PairedCounts(counts.samples, counts.lost + 1, counts.gained)
            assert p_drop_below(worse, margin) >= p_drop_below(counts, margin) - 1e-9
            assert p_drop_above(worse, margin) <= p_drop_above(counts, margin) + 1e-9
        if counts.gained:
            worse = PairedCounts(counts.samples, counts.lost, counts.gained - 1)
            assert p_drop_below(worse, margin) >= p_drop_below(counts, margin) - 1e-9

    @given(paired_counts(), MARGINS)
    @settings(deadline=None, max_examples=40)
    def test_swapping_the_models_mirrors_the_answer(self, counts: PairedCounts, margin: float) -> None:
        assert p_drop_below(counts, margin) == p_drop_above(counts.swapped, -margin)
        here, there = drop_interval(counts, 0.95, margin), drop_interval(counts.swapped, 0.95, -margin)
        assert (here.low, here.high) == pytest.approx((-there.high, -there.low), abs=1e-15)

    @pytest.mark.parametrize(("samples", "lost", "gained"), [(300, 0, 0), (500, 2, 1), (1000, 4, 0), (2000, 15, 4)])
    def test_the_grid_misses_no_peak(self, samples: int, lost: int, gained: int) -> None:
        score = float(tango_score(lost, gained, samples, 0.01))
        most, other = largest_passing(samples, 0.01, score), np.arange(samples + 1)
        found = largest_tail(samples, 0.01, score)
        for root in np.linspace(0, np.sqrt(0.99 / 2), 1200):
            rate = root**2
            within = np.where(
                most < 0, 0.0, stats.binom.cdf(most, samples - other, min(1.0, (rate + 0.01) / (1 - rate)))
            )
            assert float(stats.binom.pmf(other, samples, rate) @ within) <= found + 1e-6

    @pytest.mark.parametrize("margin", [-1.0, 1.0, float("nan")])
    def test_a_margin_that_is_no_share_is_refused(self, margin: float) -> None:
        with pytest.raises(GateError, match="margin"):
            p_drop_below(PairedCounts(100, 1, 1), margin)


class TestDropInterval:
    """Bounds that say the same as the decision."""

    @given(paired_counts(), MARGINS, st.sampled_from([0.9, 0.95, 0.99]))
    @settings(deadline=None, max_examples=40)
    def test_is_coherent_with_the_decision(self, counts: PairedCounts, margin: float, confidence: float) -> None:
        interval = drop_interval(counts, confidence, margin)
        assert interval.low <= counts.drop <= interval.high
        assert (interval.high <= margin) == (p_drop_below(counts, margin) <= 1 - confidence)
        assert (interval.low >= margin) == (p_drop_above(counts, margin) <= 1 - confidence)

    @pytest.mark.parametrize(("lost", "gained"), [(4, 0), (8, 4), (20, 17), (60, 10)])
    def test_lies_close_to_tangos_interval(self, lost: int, gained: int) -> None:
        exact = drop_interval(PairedCounts(1000, lost, gained), 0.95, 0.01)
        quick = tango_interval(PairedCounts(1000, lost, gained), 0.95)
        assert exact.high == pytest.approx(quick.high, abs=0.0006)
        assert exact.low == pytest.approx(quick.low, abs=0.0015)

    def test_covers_the_true_drop_as_often_as_it_says(self) -> None:
        n = 14
        tables = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
        highs = np.array([drop_interval(PairedCounts(n, b, c), 0.95, 0.1).high for b, c in tables])
        for p_lost, p_gained in [(0.15, 0.05), (0.1, 0.0), (0.3, 0.3), (0.05, 0.2), (0.5, 0.1), (0.02, 0.02)]:
            weights = [
                stats.multinomial.pmf([b, c, n - b - c], n, [p_lost, p_gained, 1 - p_lost - p_gained])
                for b, c in tables
            ]
            assert float(np.array(weights)[highs >= p_lost - p_gained - 1e-5].sum()) >= 0.95

    def test_reaches_the_end_when_everything_is_lost(self) -> None:
        assert drop_interval(PairedCounts(50, 50, 0), 0.95, 0.01).high == 1.0
        assert drop_interval(PairedCounts(50, 0, 50), 0.95, 0.01).low == -1.0

    def test_takes_less_than_seconds_at_10000_samples(self) -> None:
        started = time.process_time()
        drop_interval(PairedCounts(10_000, 149, 71), 0.95, 0.01)
        assert time.process_time() - started < 6  # measured: 1.2 s; the rest is for slow machines

    @pytest.mark.parametrize("confidence", [0.5, 1.0, float("nan")])
    def test_refuses_a_confidence_out_of_range(self, confidence: float) -> None:
        with pytest.raises(GateError, match="confidence"):
            drop_interval(PairedCounts(10, 1, 1), confidence, 0.01)


class TestSamplesToDecide:
    """What one could do about a verdict that is not measurable."""

    @pytest.mark.parametrize("counts", [(100, 0, 0), (1000, 8, 4), (1000, 20, 6), (10_000, 150, 70), (290, 1, 1)])
    def test_so_many_samples_at_the_same_rates_do_decide(self, counts: tuple[int, int, int]) -> None:
        observed = PairedCounts(*counts)
        needed = samples_to_decide(observed, 0.01, 0.95)
        assert needed is not None and needed > observed.samples
        scaled = observed.scaled_to(needed)
        assert min(p_drop_below(scaled, 0.01), p_drop_above(scaled, 0.01)) <= 0.05

    def test_is_about_300_without_a_disagreement(self) -> None:
        assert samples_to_decide(PairedCounts(100, 0, 0), 0.01, 0.95) in range(299, 310)

    def test_a_decided_comparison_needs_no_more(self) -> None:
        assert samples_to_decide(PairedCounts(1000, 4, 0), 0.01, 0.95) == 1000

    def test_no_number_decides_at_the_margin_itself(self) -> None:
        assert samples_to_decide(PairedCounts(1000, 15, 5), 0.01, 0.95) is None
        assert samples_to_decide(PairedCounts(100_000, 1501, 500), 0.01, 0.95) is None


class TestAccuracy:
    """Clopper-Pearson bounds."""

    @given(st.integers(1, 20_000), st.data())
    @settings(deadline=None, max_examples=60)
    def test_equals_the_textbook(self, samples: int, data: st.DataObject) -> None:
        correct = data.draw(st.integers(0, samples))
        expected = stats.binomtest(correct, samples).proportion_ci(0.9, method="exact")
        assert accuracy_lower_bound(correct, samples, 0.95) == pytest.approx(expected.low, abs=1e-9)
        assert accuracy_upper_bound(correct, samples, 0.95) == pytest.approx(expected.high, abs=1e-9)

    def test_two_sided_for_display(self) -> None:
        interval = accuracy_interval(9850, 10_000)
        assert interval.point == 0.985
        assert (interval.low, interval.high) == pytest.approx(
            stats.binomtest(9850, 10_000).proportion_ci(0.95), abs=1e-9
        )

    @pytest.mark.parametrize(("correct", "samples"), [(-1, 10), (11, 10), (0, 0)])
    def test_impossible_counts_are_refused(self, correct: int, samples: int) -> None:
        with pytest.raises(GateError, match="right of"):
            accuracy_interval(correct, samples) if samples else accuracy_lower_bound(correct, samples, 0.95)

    def test_samples_to_decide(self) -> None:
        needed = samples_to_decide_accuracy(98, 100, 0.97, 0.95)
        assert needed is not None and needed > 100
        assert accuracy_lower_bound(0.98 * needed, needed, 0.95) >= 0.97
        assert accuracy_lower_bound(0.98 * (needed - 1), needed - 1, 0.95) < 0.97
        assert samples_to_decide_accuracy(97, 100, 0.97, 0.95) is None
        assert samples_to_decide_accuracy(990, 1000, 0.5, 0.95) == 1000


class TestMedianInterval:
    """Order statistics with the coverage that they really have."""

    def test_seven_processes_give_smallest_to_largest_at_98_per_cent(self) -> None:
        interval = median_interval([3.0, 1.0, 7.0, 4.0, 2.0, 6.0, 5.0])
        assert interval == Interval(4.0, 1.0, 7.0, 1 - 2 / 2**7)

    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_too_few_values_give_none(self, count: int) -> None:
        assert median_interval([1.0] * count) is None

    @pytest.mark.parametrize("count", [6, 9, 15, 20, 101])
    def test_coverage_is_exact_and_narrowest(self, count: int) -> None:
        interval = median_interval([float(value) for value in range(count)])
        assert interval is not None
        rank = int(interval.low)
        assert interval.high == count - 1 - rank
        assert interval.confidence == pytest.approx(1 - 2 * stats.binom.cdf(rank, count, 0.5))
        assert interval.confidence >= 0.95 > 1 - 2 * stats.binom.cdf(rank + 1, count, 0.5)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_a_value_that_is_not_finite_is_refused(self, bad: float) -> None:
        with pytest.raises(GateError, match="not finite"):
            median_interval([1.0] * 8 + [bad])


@pytest.mark.parametrize(
    "numbers", [(float("nan"), 0, 1, 0.95), (0, 0, float("inf"), 0.95), (2, 0, 1, 0.95), (0, 0, 0, 1.0)]
)
def test_an_interval_that_says_nothing_is_refused(numbers: tuple[float, float, float, float]) -> None:
    with pytest.raises(GateError, match="interval"):
        Interval(*numbers)
