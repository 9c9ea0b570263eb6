"""How often does the gate let a release pass that is worse by the whole margin? At most as often as it was told to.

The rate is per release: exact, by enumeration of every table, and by simulated releases that go through ``judge``. The
decision depends on the counts alone, so equal counts are judged once. What is drawn changes with the environment variable
EDGEWRIGHT_TEST_SEED; what is asserted holds for every seed, but for one in a thousand or fewer.
"""

from __future__ import annotations

import os
from functools import cache

import numpy as np
import pytest
from scipy import stats

from edgewright.pipeline.evidence import Budgets, Evidence, GateLimits, Measured, NoneYet, Pays, SliceLimit
from edgewright.pipeline.gate import judge
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality
from edgewright.pipeline.statistics import Interval, accuracy_interval, largest_passing_lost
from edgewright.pipeline.verdict import Verdict

SEED = int(os.environ.get("EDGEWRIGHT_TEST_SEED", "0"))
PAYS: frozenset[Pays] = frozenset({"latency", "size"})
MARGIN = 0.01
RISK = 0.05
GAINED_RATES = [0.0, 0.0003, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.1]
MEASURED = Measured(
    size_kib=90.0,
    reference_size_kib=300.0,
    latency_p95_ms=None,
    speedup=Interval(4.0, 3.5, 4.5, 0.984),
    peak_memory_mib=None,
    providers_in_use=("CPUExecutionProvider",),
    required_provider=None,
    is_reference=False,
)


@cache
def digests(samples: int) -> tuple[str, ...]:
    return tuple(f"{index:064x}" for index in range(samples))


@cache
def judged(samples: int, lost: int, gained: int, candidates: int) -> bool:
    """Whether the gate lets a candidate with these counts pass; a first release, which has the fewest checks."""
    labels = np.zeros(samples, np.int64)
    reference, candidate = labels.copy(), labels.copy()
    candidate[:lost] = 1
    reference[lost : lost + gained] = 1
    evidence = Evidence(
        quality=Quality("accuracy"),
        candidate=Predictions(digests(samples), labels, candidate),
        reference=Predictions(digests(samples), labels, reference),
        champion=NoneYet(),
        baseline=NoneYet(),
        measured=MEASURED,
        groups=None,
    )
    limits = GateLimits(floor_pct=50.0, margin_points=100 * MARGIN, candidates=candidates)
    return judge(evidence, limits, Budgets(), PAYS, model="m", target="t", variant="v").outcome == "pass"


def rate_of_passes(samples: int, drop: float, gained_rate: float, candidates: int = 1) -> float:
    """Exact probability that one candidate of that true drop passes."""
    table = largest_passing_lost(samples, 1 - RISK / candidates, MARGIN)
    gained = np.arange(samples + 1)
    lost_of_rest = (gained_rate + drop) / (1 - gained_rate)
    within = np.where(table < 0, 0.0, stats.binom.cdf(table, samples - gained, lost_of_rest))
    return float(stats.binom.pmf(gained, samples, gained_rate) @ within)


def drawing(stream: int) -> np.random.Generator:
    """Random numbers of this run's seed, of a stream of their own."""
    return np.random.default_rng([SEED, stream])


def drawn(rng: np.random.Generator, samples: int, drop: float, gained_rate: float, size: tuple[int, ...]) -> np.ndarray:
    """int64 [*size, 2]: lost and gained samples of that many independent evaluations."""
    rates = [gained_rate + drop, gained_rate, 1 - drop - 2 * gained_rate]
    return rng.multinomial(samples, rates, size=size)[..., :2]


@pytest.mark.parametrize("samples", [1000, 10_000])
class TestExactly:
    """By enumeration, at n = 1,000 and 10,000."""

    @pytest.mark.parametrize("gained_rate", GAINED_RATES)
    def test_a_single_candidate_at_the_margin_passes_in_at_most_one_release_of_twenty(
        self, samples: int, gained_rate: float
    ) -> None:
        assert rate_of_passes(samples, MARGIN, gained_rate) <= RISK

    @pytest.mark.parametrize("gained_rate", GAINED_RATES)
    def test_so_does_any_of_three_when_the_risk_is_divided(self, samples: int, gained_rate: float) -> None:
        any_of_three = 1 - (1 - rate_of_passes(samples, MARGIN, gained_rate, candidates=3)) ** 3
        assert any_of_three <= RISK

    def test_any_of_three_at_the_full_risk_would_pass_far_more_often(self, samples: int) -> None:
        any_of_three = 1 - (1 - rate_of_passes(samples, MARGIN, 0.004)) ** 3
        assert any_of_three > 2 * RISK

    def test_a_larger_drop_passes_less_often(self, samples: int) -> None:
        rates = [rate_of_passes(samples, drop, 0.002) for drop in (0.0, 0.005, 0.01, 0.011, 0.015)]
        assert rates == sorted(rates, reverse=True)

    def test_the_risk_is_used_not_wasted(self, samples: int) -> None:
        assert max(rate_of_passes(samples, MARGIN, rate) for rate in GAINED_RATES) > 0.8 * RISK


@pytest.mark.parametrize(
    ("samples", "gained_rate", "least"),
    [(1000, 0.0, 0.99), (1000, 0.004, 0.9), (1000, 0.008, 0.74), (1000, 0.015, 0.53), (10_000, 0.03, 0.98)],
)
def test_a_candidate_that_lost_nothing_can_pass(samples: int, gained_rate: float, least: float) -> None:
    assert rate_of_passes(samples, 0.0, gained_rate) >= least


def test_the_enumerated_table_is_what_judge_decides_at_1000_samples() -> None:
    for candidates in (1, 3):
        table = largest_passing_lost(1000, 1 - RISK / candidates, MARGIN)
        for gained in (0, 1, 4, 9, 20, 60):
            assert judged(1000, int(table[gained]), gained, candidates)
            assert not judged(1000, int(table[gained]) + 1, gained, candidates)


def test_the_enumerated_table_is_what_judge_decides_at_10000_samples() -> None:
    table = largest_passing_lost(10_000, 1 - RISK, MARGIN)
    for gained in (0, 40):
        assert judged(10_000, int(table[gained]), gained, 1)
        assert not judged(10_000, int(table[gained]) + 1, gained, 1)


class TestSimulatedReleases:
    """Three variants a release, each worse than its reference by the margin, judged by the gate itself."""

    RELEASES = 2000
    GAINED_RATE = 0.0005

    def test_chosen_on_validation_and_gated_once(self) -> None:
        rng = drawing(1)
        validation = drawn(rng, 1000, MARGIN, self.GAINED_RATE, (self.RELEASES, 3))
        test = drawn(rng, 1000, MARGIN, self.GAINED_RATE, (self.RELEASES, 3))
        chosen = (validation[..., 0] - validation[..., 1]).argmin(axis=1)
        passes = sum(judged(1000, *map(int, counts[pick]), 1) for counts, pick in zip(test, chosen, strict=True))
        rate = accuracy_interval(passes, self.RELEASES, 0.999)
        assert rate.low <= RISK
        assert rate.low <= rate_of_passes(1000, MARGIN, self.GAINED_RATE) <= rate.high

    def test_any_of_three_may_ship_with_the_risk_divided(self) -> None:
        test = drawn(drawing(2), 1000, MARGIN, self.GAINED_RATE, (self.RELEASES, 3))
        passes = sum(any(judged(1000, *map(int, counts), 3) for counts in release) for release in test)
        assert accuracy_interval(passes, self.RELEASES, 0.999).low <= RISK

    def test_the_best_of_three_on_test_at_full_risk_is_why_it_is_divided(self) -> None:
        test = drawn(drawing(2), 1000, MARGIN, self.GAINED_RATE, (self.RELEASES, 3))
        best = test[np.arange(self.RELEASES), (test[..., 0] - test[..., 1]).argmin(axis=1)]
        passes = sum(judged(1000, *map(int, counts), 1) for counts in best)
        assert accuracy_interval(passes, self.RELEASES, 0.999).low > RISK


CLASSES, PER_CLASS, CLASS_MARGIN = 10, 200, 0.05
LABELS = np.repeat(np.arange(CLASSES), PER_CLASS)
NAMES = tuple(f"class{label}" for label in LABELS)


def judged_by_class(rng: np.random.Generator, drop_of_class3: float, gained_rate: float, *, sliced: bool) -> Verdict:
    """One release of ten classes of which one alone loses, judged with a margin of 3 points and 5 points per class."""
    candidate, reference = LABELS.copy(), LABELS.copy()
    for label in range(CLASSES):
        lost, gained = drawn(rng, PER_CLASS, drop_of_class3 if label == 3 else 0.0, gained_rate, ())
        first = label * PER_CLASS
        candidate[first : first + lost] = (label + 1) % CLASSES
        reference[first + lost : first + lost + gained] = (label + 1) % CLASSES
    evidence = Evidence(
        quality=Quality("accuracy"),
        candidate=Predictions(digests(len(LABELS)), LABELS, candidate),
        reference=Predictions(digests(len(LABELS)), LABELS, reference),
        champion=NoneYet(),
        baseline=NoneYet(),
        measured=MEASURED,
        groups=None,
        slices={"class": NAMES},
    )
    slices = (SliceLimit("class", 100 * CLASS_MARGIN),) if sliced else ()
    limits = GateLimits(floor_pct=50.0, margin_points=3.0, slices=slices)
    return judge(evidence, limits, Budgets(), PAYS, model="m", target="t", variant="v")


class TestACandidateThatLosesOneClassOnly:
    """Of ten classes it loses 15 points of one: 1.5 points overall, well within a margin of 3."""

    def test_passes_where_nobody_looks_at_classes(self) -> None:
        rng = drawing(4)
        verdicts = [judged_by_class(rng, 0.15, 0.001, sliced=False) for _ in range(15)]
        passes = sum(verdict.outcome == "pass" for verdict in verdicts)
        assert passes >= 13

    def test_never_passes_where_every_class_has_a_margin_and_the_class_is_named(self) -> None:
        rng = drawing(5)
        verdicts = [judged_by_class(rng, 0.15, 0.001, sliced=True) for _ in range(15)]
        passes = sum(verdict.outcome == "pass" for verdict in verdicts)
        assert passes == 0
        assert all(verdict.check("class class3").outcome != "pass" for verdict in verdicts)
        assert sum(verdict.check("class class3").outcome == "fail" for verdict in verdicts) >= 13

    @pytest.mark.slow
    def test_at_the_classs_margin_passes_in_at_most_one_release_of_twenty(self) -> None:
        rng = drawing(6)
        verdicts = [judged_by_class(rng, CLASS_MARGIN, 0.001, sliced=True) for _ in range(300)]
        passes = sum(verdict.outcome == "pass" for verdict in verdicts)
        assert accuracy_interval(passes, len(verdicts), 0.999).low <= RISK

    def test_ten_slices_need_no_correction_and_let_a_harmless_candidate_pass(self) -> None:
        rng = drawing(7)
        verdicts = [judged_by_class(rng, 0.0, 0.001, sliced=True) for _ in range(20)]
        passes = sum(verdict.outcome == "pass" for verdict in verdicts)
        assert passes >= 17


@pytest.mark.slow
def test_simulated_releases_of_10000_samples() -> None:
    rng = drawing(3)
    releases = drawn(rng, 10_000, MARGIN, 0.004, (20_000,))
    table = largest_passing_lost(10_000, 1 - RISK, MARGIN)
    distance = releases[:, 0] - table[releases[:, 1]]
    rate = accuracy_interval(int((distance <= 0).sum()), len(releases), 0.999)
    assert rate.low <= RISK
    # The gate itself judges the releases that are nearest to its boundary, on either side, and some at random.
    nearest = np.argsort(np.abs(distance - 0.5), kind="stable")[:20]
    for index in [*nearest, *rng.integers(0, len(releases), 10)]:
        assert judged(10_000, *map(int, releases[index]), 1) == (distance[index] <= 0)


@pytest.mark.slow
@pytest.mark.parametrize("samples", [300, 500, 2000, 3000, 5000])
@pytest.mark.parametrize("candidates", [1, 2, 5])
def test_the_rate_holds_for_other_sizes_and_numbers_of_candidates(samples: int, candidates: int) -> None:
    for gained_rate in np.concatenate([[0.0], np.geomspace(1e-5, 0.45, 60)]):
        any_of_them = 1 - (1 - rate_of_passes(samples, MARGIN, float(gained_rate), candidates)) ** candidates
        assert any_of_them <= RISK
