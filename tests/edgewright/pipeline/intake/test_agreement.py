"""Labels that do not fit their samples are told by a linear model that fits known ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgewright.pipeline.datasets.dataset import Dataset
from edgewright.pipeline.intake.agreement import Agreement, label_agreement
from edgewright.pipeline.intake.stability import Chance

RISK = 0.05 / 3


def rows(count: int, seed: int, values: bool = False, rare: float = 0.5, groups: int | None = None) -> Dataset:
    """Two classes of rows that overlap, or values that follow from the rows, with some noise."""
    random = np.random.default_rng(seed)
    labels = (random.uniform(size=count) < rare).astype(np.int64)
    x = random.normal(size=(count, 4)) + 1.5 * labels[:, np.newaxis]
    answers: Any = labels
    if values:
        answers = x[:, 0] - 2 * x[:, 1] + random.normal(size=count)
    named = None if groups is None else tuple(f"g{seed}-{index % groups}" for index in range(count))
    return Dataset("own", x.astype(np.float32), answers, () if values else ("a", "b"), None, named, "own", "row")


def asked(known: Dataset, new: Dataset) -> Agreement:
    chance = Chance.of(len(new.labels), len(known.labels), new.groups, known.groups)
    found = label_agreement(known, new, chance, RISK)
    assert found is not None
    return found


@pytest.mark.parametrize("values", [False, True])
def test_new_labels_that_fit_are_agreed_with_as_often_as_known_ones(values: bool) -> None:
    known = rows(3000, 0, values)
    drops = [asked(known, rows(100, seed, values)) for seed in range(1, 60)]
    assert np.mean([each.drop_points > each.chance_points for each in drops]) < 0.08
    assert abs(np.mean([each.drop_points for each in drops])) < 2


@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("count", [30, 300])
def test_shuffled_labels_are_not(values: bool, count: int) -> None:
    new = rows(count, 1, values)
    shuffled = dataclasses.replace(new, labels=np.random.default_rng(0).permutation(new.labels))
    found = asked(rows(3000, 0, values), shuffled)
    assert found.drop_points > max(20, found.chance_points)


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    known, new = rows(3000, 0, rare=0.05), rows(400, 1, rare=0.05)
    assert asked(known, new).known_pct > 85
    all_frequent = dataclasses.replace(new, labels=np.roll(new.labels, 1))
    assert asked(known, all_frequent).drop_points > 25


def test_classes_that_did_not_arrive_count_on_neither_side() -> None:
    known, new = rows(3000, 0), rows(400, 1)
    only = np.flatnonzero(new.labels == 1)
    one = dataclasses.replace(new, images=new.images[only], labels=new.labels[only])
    assert abs(asked(known, one).drop_points) < 5


def test_where_samples_come_in_groups_chance_goes_by_groups() -> None:
    known = rows(3000, 0, groups=10)
    assert asked(known, rows(300, 1, groups=1)).chance_points > 0


@pytest.mark.parametrize("labels", [np.zeros(40, np.int64), np.arange(40) // 39])
def test_without_two_classes_in_each_half_nothing_is_said(labels: Any) -> None:
    known = dataclasses.replace(rows(40, 0), labels=labels)
    assert label_agreement(known, rows(10, 1), Chance(10, 40), RISK) is None


def test_it_depends_on_nothing_but_the_samples() -> None:
    known, new = rows(500, 0), rows(50, 1)
    order = np.random.default_rng(0).permutation(500)
    mixed = dataclasses.replace(known, images=known.images[order], labels=known.labels[order])
    assert asked(known, new) == asked(known, new)
    assert asked(mixed, new).new_pct == asked(known, new).new_pct
