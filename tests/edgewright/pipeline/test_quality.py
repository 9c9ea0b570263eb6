"""Figures in percent, higher is better, against brute force; what is not defined is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.errors import DataError
from edgewright.pipeline.paired_quality import level_bounds
from edgewright.pipeline.predictions import Predictions
from edgewright.pipeline.quality import Quality, auroc, class_members


def answered(labels: list[float], predicted: list[float], score: list[float] | None = None) -> Predictions:
    digests = tuple(f"{index:064x}" for index in range(len(labels)))
    scores = None if score is None else np.array(score, np.float32)
    return Predictions(digests, np.array(labels), np.array(predicted), scores)


def test_accuracy_is_the_share_of_right_answers() -> None:
    assert Quality("accuracy").of(answered([0, 1, 2, 3], [0, 1, 1, 3])) == 75.0


def test_over_groups_every_group_counts_alike_however_many_samples_it_gave() -> None:
    answers = answered([0, 0, 0, 0], [0, 0, 0, 1])
    assert Quality("accuracy").of(answers) == 75.0
    assert Quality("accuracy").of(answers, ("anna", "anna", "anna", "ben")) == 50.0
    values = answered([0.0, 0.0, 0.0], [0.0, 0.0, 0.5])
    assert Quality("skill", 1.0).of(values, ("anna", "anna", "ben")) == 75.0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=12, max_size=60))
@settings(deadline=None)
def test_the_figure_is_the_one_that_is_bounded(samples: list[tuple[int, int]]) -> None:
    groups = tuple(f"person {person}" for person, _ in samples)
    answers = answered([0] * len(samples), [right for _, right in samples])
    found = level_bounds(Quality("accuracy"), answers, groups, 50.0, 0.95)
    assert found.figure == pytest.approx(Quality("accuracy").of(answers, groups))


def test_balanced_accuracy_counts_a_rare_class_as_much_as_a_common_one() -> None:
    assert Quality("balanced_accuracy").of(answered([0, 0, 0, 0, 7, 7], [0, 0, 0, 1, 7, 0])) == (75 + 50) / 2


def test_auroc_counts_equal_scores_half() -> None:
    labels, score = [0, 0, 1, 1], [1.0, 2.0, 2.0, 3.0]
    assert Quality("auroc").of(answered(labels, [0] * 4, score)) == 100 * (1 + 0.5 + 1 + 1) / 4


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40))
@settings(deadline=None, max_examples=60)
def test_auroc_is_the_share_of_pairs_in_the_right_order(samples: list[tuple[bool, int]]) -> None:
    anomalous, score = np.array([a for a, _ in samples]), np.array([s for _, s in samples], np.float32)
    if anomalous.all() or not anomalous.any():
        return
    pairs = [(a > b) + (a == b) / 2 for a in score[anomalous] for b in score[~anomalous]]
    assert auroc(anomalous, score) == pytest.approx(float(np.mean(pairs)))


def test_skill_is_the_error_taken_away_from_the_best_constant() -> None:
    assert Quality("skill", 2.0).of(answered([1.0, 2.0, 3.0], [1.5, 2.5, 3.5])) == 75.0
    assert Quality("skill", 2.0).of(answered([1.0], [7.0])) == -200.0


@pytest.mark.parametrize(
    ("quality", "answers", "message"),
    [
        (Quality("accuracy"), answered([], []), "0 samples"),
        (Quality("accuracy"), answered([1.0], [1.0]), "the answers are values"),
        (Quality("skill", 1.0), answered([1], [1]), "the answers are classes"),
        (Quality("skill", 1.0), answered([1e308, 0.0], [-1e308, 0.0]), "an error of inf"),
        (Quality("auroc"), answered([0, 1], [0, 1]), "without scores"),
        (Quality("auroc"), answered([0, 0], [0, 1], [0.1, 0.2]), "found 2 and 0"),
        (Quality("auroc"), answered([0, 2], [0, 1], [0.1, 0.2]), "label 2"),
    ],
)
def test_a_figure_that_is_not_defined_is_refused_with_its_reason(
    quality: Quality, answers: Predictions, message: str
) -> None:
    assert message in (quality.obstacle(answers) or "")
    with pytest.raises(DataError, match=f"{quality.word}: .*{message}"):
        quality.of(answers)


@pytest.mark.parametrize("naive_error", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_skill_needs_an_error_to_be_better_than(naive_error: float | None) -> None:
    with pytest.raises(DataError, match="naive error"):
        Quality("skill", naive_error)
    if naive_error is not None:
        with pytest.raises(DataError, match="naive error"):
            Quality("accuracy", naive_error)


def test_names_for_people_and_for_metric_keys() -> None:
    names = [(Quality(m).word, Quality(m).key) for m in ("accuracy", "balanced_accuracy", "auroc")]
    assert names == [
        ("accuracy", "accuracy"),
        ("balanced accuracy", "balanced_accuracy"),
        ("AUROC", "auroc"),
    ]
    assert (Quality("skill", 1.0).word, Quality("skill", 1.0).key) == ("skill", "skill")
    with pytest.raises(DataError, match="no figure"):
        Quality("f1")  # type: ignore[arg-type]


def test_class_members_are_the_positions_of_each_class() -> None:
    assert [each.tolist() for each in class_members(np.array([5, 0, 5, 2]))] == [[1], [3], [0, 2]]
